"""Runs on ensembles: resumed bit for bit, what a molecule's conformers do in training, cards and the command."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from coset.data.ensembles import Ensemble, Ensembles
from coset.ensembles.model import load_conformer_model
from coset.graphs.graph import read_smiles
from coset.noise import Noise
from coset.recipes.registry import find_recipe
from coset.training.ensemble_run import EnsembleRun
from coset.training.ensemble_source import Source
from coset.training.start import carry_out, open_run
from example_ensembles import embedded

SMILES = ("CCO", "CC=O", "CNC", "C[C@H](F)O", "CCC", "C1CO1", "COC", "OCC", "CC#N", "NC=O")
TINY = {
    "width": 16, "depth": 2, "heads": 2, "radial": 8, "batch": 4, "molecules": 240, "lr": 1e-3, "ema": [0.9, 0.99],
    "validate_every": 100, "sample_molecules": 1, "sample_steps": 2, "size": "xs", "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two conformers of each molecule: six to train on, two to validate with, two to test on."""
    numbers = [np.array([atom.GetAtomicNum() for atom in read_smiles(smiles).GetAtoms()]) for smiles in SMILES]
    path = tmp_path_factory.mktemp("ensembles") / "small.npz"
    molecules = [Ensemble(s, f"m{i}", n, embedded(s)) for i, (s, n) in enumerate(zip(SMILES, numbers, strict=True))]
    Ensembles.of(molecules, split=[0] * 6 + [1] * 2 + [2] * 2).save(path)
    return path


def trained(data, folder, recipe="etflow_ts", listener=None, resume=False, **others):
    known = {key: value for key, value in TINY.items() if key in {"size", *find_recipe(recipe).settings.model_fields}}
    settings = find_recipe(recipe).resolve({**known, "data": str(data), **others})
    return carry_out(open_run(recipe, settings, folder, "cpu", listener), folder, resume)


def test_resumed_equals_uninterrupted(data, tmp_path):
    def interrupt(record):
        if record["kind"] == "train" and record["step"] == 50:
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained(data, tmp_path / "whole", conformers=2)
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "parts", listener=interrupt, conformers=2)
    resumed = trained(data, tmp_path / "parts", resume=True, conformers=2)
    assert resumed.counters.step == whole.counters.step == 80
    for a, b in zip(whole.diffusion.parameters(), resumed.diffusion.parameters(), strict=True):
        assert torch.equal(a, b)
    records = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    valid = [record for record in records if record["kind"] == "valid"]
    assert valid and {"cov_recall_mean_0.5", "amr_precision_mean", "symptom_denoiser_turned"} <= valid[-1].keys()
    assert valid[-1]["symptom_denoiser_turned"] < 1e-3 and whole.counters.flops > 0
    model = load_conformer_model(tmp_path / "whole")
    assert model.card["elements"] == [1, 6, 7, 8, 9] and model.card["largest"] == 11
    assert model.card["data"]["train_molecules"] == 6 and model.card["molecules_seen"] == 240


def test_each_conformer_comes_as_often_and_the_same_at_every_call(data):
    source = Source.of("small", Ensembles.load(data), 24)
    rows = np.zeros(2000, dtype=np.int64)
    noise = Noise.from_seed(0, torch.arange(2000))
    cloud = source.cloud(rows, noise, siblings=1)
    first = torch.from_numpy(embedded("CCO")[0]).float()
    chosen = (cloud.x - first).abs().amax((1, 2)) < 1e-5
    other = (cloud.condition.siblings[:, 0] - first).abs().amax((1, 2)) < 1e-5
    assert 900 < int(chosen.sum()) < 1100 and 900 < int(other.sum()) < 1100
    assert 900 < int((chosen == other).sum()) < 1100  # drawn with replacement
    assert torch.equal(cloud.x, source.cloud(rows, noise, siblings=0).x)


def test_half_of_the_molecules_are_mirror_images_told_as_such(data, tmp_path):
    def run(**settings):
        resolved = find_recipe("dit_conf").resolve({"size": "xs", "data": str(data), **settings})
        return open_run("dit_conf", resolved, tmp_path, "cpu")

    rows, plain, one = np.array([3, 0, 3]), run(mirrored=False), run()
    plain, found, again = ([each.cloud(rows, step) for step in range(200)] for each in (plain, one, one))
    signs = torch.stack([(one.x[:, 0] / other.x[:, 0])[:, 0].round() for one, other in zip(found, plain, strict=True)])
    assert (signs.abs() == 1).all() and ((signs < 0).sum(0) > 80).all() and ((signs < 0).sum(0) < 120).all()
    as_it_is = [
        torch.equal(one.condition.edges[0], other.condition.edges[0]) for one, other in zip(found, plain, strict=True)
    ]
    assert as_it_is == (signs[:, 0] > 0).tolist()
    assert all(torch.equal(one.x, other.x) for one, other in zip(found, again, strict=True))


def test_atoms_in_another_order_are_refused(data, tmp_path):
    first = Ensembles.load(data)[0]
    Ensembles.of([Ensemble("OCC", "other", first.numbers, first.positions)]).save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="are not in the order of its SMILES"):
        Source.of("other", Ensembles.load(tmp_path / "other.npz"), 24)


def test_aligned_ends_have_no_orbit_mean():
    with pytest.raises(ValueError, match="aligned ends have no orbit mean"):
        find_recipe("etflow").resolve({"target": "exact"})


def test_a_run_of_ensembles_is_one(data, tmp_path):
    settings = find_recipe("mcf").resolve({"size": "xs", "data": str(data)})
    assert isinstance(open_run("mcf", settings, tmp_path, "cpu"), EnsembleRun)
