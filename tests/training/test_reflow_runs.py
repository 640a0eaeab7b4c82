"""Runs on a teacher's pairs: what the pairs are, that they are kept, and that students resume and refuse in words."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from coset.data.ensembles import Ensemble, Ensembles
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.graphs.graph import collated, read_smiles
from coset.recipes.registry import find_recipe
from coset.samplers.grids import power_grid
from coset.training import pairs as module
from coset.training.ensemble_run import EnsembleRun
from coset.training.ensemble_runs import with_pairs
from coset.training.ensemble_source import Source
from coset.training.folder import CHECKPOINT, MODEL
from coset.training.pairs import FOLDER, Pairing, sifted
from coset.training.start import carry_out, open_run
from example_ensembles import embedded

SMILES = ("CCO", "CC=O", "CNC", "C[C@H](F)O", "CCC", "C1CO1", "COC", "CC#N")
TINY = {
    "size": "xs", "width": 16, "depth": 2, "heads": 2, "batch": 4, "molecules": 200, "lr": 1e-2, "ema": [0.9],
    "warmup": 0, "validate_every": 100, "sample_molecules": 0, "precision": "fp32",
}  # fmt: skip
LEARNING = {**TINY, "lr": 1e-3, "teacher_conformers": 3, "teacher_steps": 4, "only_right": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two conformers of each molecule: six to train on, two to validate with."""
    numbers = [np.array([atom.GetAtomicNum() for atom in read_smiles(smiles).GetAtoms()]) for smiles in SMILES]
    path = tmp_path_factory.mktemp("ensembles") / "small.npz"
    molecules = [Ensemble(s, f"m{i}", n, embedded(s)) for i, (s, n) in enumerate(zip(SMILES, numbers, strict=True))]
    Ensembles.of(molecules, split=[0] * 6 + [1] * 2).save(path)
    return str(path)


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    settings = find_recipe("dit_conf_ts").resolve({**TINY, "data": data})
    carry_out(open_run("dit_conf_ts", settings, folder, "cpu"), folder, resume=False)
    return str(folder)


def opened(data, teacher, folder, recipe="dit_conf_reflow", listener=None, **others):
    settings = find_recipe(recipe).resolve({**LEARNING, "data": data, "teacher": teacher, **others})
    run = open_run(recipe, settings, folder, "cpu", listener)
    assert isinstance(run, EnsembleRun)
    return run


def trained(data, teacher, folder, resume=False, **others):
    return carry_out(opened(data, teacher, folder, **others), folder, resume)


def pairing(data, teacher, count=2, seed=0, steps=4, only_right=False):
    source = Source.of(data, Ensembles.load(data), 24)
    rows = np.array([4, 0, 3])
    model = load_conformer_model(teacher).having(steps=steps)
    return Pairing(model, source, rows, np.full(3, count), seed, only_right, {})


def of_row(pairs, row, source):
    atoms = int(source.sizes[row])
    return pairs.ends[pairs.first[row] :][: pairs.counts[row] * atoms].reshape(-1, atoms, 6)


def test_a_pair_is_the_noise_and_what_the_teacher_s_chain_makes_of_it(data, teacher, tmp_path):
    asked = pairing(data, teacher)
    pairs, diffusion = asked.made(tmp_path), load_conformer_model(teacher).diffusion
    like = collated([asked.source.graphs[3]] * 2)
    known = pairs.join(like, np.array([3, 3]), np.array([0.0, 0.6]))
    assert known.condition is not None and known.condition.end is not None
    z = replace(like, x=known.condition.end)
    with torch.no_grad():
        for t, s in pairwise(power_grid(4)[:, None].expand(-1, 2)):
            estimate = diffusion.denoiser(z, t)
            z = diffusion.process.reverse(z, t, s, estimate).mean if s[0] > 0 else estimate
    torch.testing.assert_close(z.x, known.x, atol=1e-4, rtol=0)
    assert (known.x[0] - known.x[1]).abs().max() > 0.05 and pairs.counts.tolist() == [2, 0, 0, 2, 2, 0, 0, 0]


def test_pairs_come_back_for_the_same_seed_and_more_begin_with_the_same(data, teacher, tmp_path):
    few, many, other = (
        pairing(data, teacher, count, seed).made(tmp_path / f"{count} {seed}")
        for count, seed in ((2, 0), (3, 0), (2, 1))
    )
    source = Ensembles.load(data)
    for row in (0, 3, 4):
        first = of_row(few, row, source)
        torch.testing.assert_close(first, of_row(many, row, source)[:2], atol=1e-4, rtol=0)
        assert (first - of_row(other, row, source)).abs().max() > 0.1
    again = pairing(data, teacher).made(tmp_path / "2 0")
    assert torch.equal(again.ends, few.ends) and again.left_out == few.left_out


def test_a_broken_off_drawing_goes_on_where_it_was(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 1)
    whole = pairing(data, teacher).made(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "00001.safetensors").unlink()
    (tmp_path / "parts" / ".00001.safetensors.abc.tmp").mkdir()
    kept = (tmp_path / "parts" / "00000.safetensors").stat().st_mtime_ns
    parts = pairing(data, teacher).made(tmp_path / "parts")
    assert torch.equal(whole.ends, parts.ends) and (whole.first == parts.first).all()
    assert (tmp_path / "parts" / "00000.safetensors").stat().st_mtime_ns == kept
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [f"0000{i}.safetensors" for i in range(3)]


def test_what_is_broken_or_of_the_wrong_hand_is_left_out_and_a_mirror_image_turns_both_ends():
    mol, right = read_smiles("C[C@H](F)O"), embedded("C[C@H](F)O")[0]
    noise = np.random.default_rng(0).normal(size=right.shape)
    torn, lost = right * 2, np.full_like(right, np.nan)
    flat = right * [1, 1, 1e-3]
    ends = np.stack([np.concatenate([noise, x], -1) for x in (right, -right, torn, lost, flat)])
    kept, left_out = sifted(mol, ends, only_right=True)
    np.testing.assert_array_equal(kept, np.stack([ends[0], -ends[1]]))
    assert left_out == {"broken": 3, "wrong_stereo": 0}
    cis, trans = "C/C=C\\C", embedded("C/C=C/C")[0]
    kept, left_out = sifted(read_smiles(cis), np.concatenate([trans, trans], -1)[None], only_right=True)
    assert not len(kept) and left_out == {"broken": 0, "wrong_stereo": 1}
    kept, left_out = sifted(mol, ends, only_right=False)
    np.testing.assert_array_equal(kept, ends[[0, 1, 2, 4]])
    assert left_out == {"broken": 1}


def test_a_student_begins_with_its_teacher_and_resumed_equals_uninterrupted(data, teacher, tmp_path):
    def interrupt(record):
        if record["kind"] == "train" and record["step"] == 50:
            os.kill(os.getpid(), signal.SIGINT)

    longer: dict[str, Any] = {"molecules": 240}
    start = opened(data, teacher, tmp_path / "none")
    same = zip(load_conformer_model(teacher).diffusion.parameters(), start.trained(teacher).parameters(), strict=True)
    assert start.settings.init == teacher and all(torch.equal(a, b) for a, b in same)
    whole = trained(data, teacher, tmp_path / "whole", **longer)
    with pytest.raises(KeyboardInterrupt):
        trained(data, teacher, tmp_path / "parts", listener=interrupt, **longer)
    shutil.rmtree(tmp_path / "parts" / FOLDER)  # is made anew, the same
    resumed = trained(data, teacher, tmp_path / "parts", resume=True, **longer)
    assert whole.counters.step == resumed.counters.step > 50
    for a, b in zip(whole.diffusion.parameters(), resumed.diffusion.parameters(), strict=True):
        assert torch.equal(a, b)
    model = load_conformer_model(tmp_path / "whole")
    assert model.drawing.steps == 4 and model.positions([read_smiles("CCO")], [2], [0])[0].shape == (2, 9, 3)
    assert model.card["data"]["train_conformers"] == 18 and model.card["data"]["left_out"] == {"broken": 0}


def test_molecules_without_a_pair_are_not_trained_on(data, teacher, tmp_path):
    run = with_pairs(opened(data, teacher, tmp_path), tmp_path)
    assert isinstance(run, EnsembleRun) and run.pairs is not None
    run.pairs.counts[2] = 0
    assert run.rows.train.tolist() == [0, 1, 3, 4, 5] and run.rows.valid.tolist() == [6, 7]
    with pytest.raises(
        ValueError, match="draws nothing whole and of the right stereo of these molecules; give a better"
    ):
        trained(data, teacher, tmp_path / "right", only_right=True, teacher_steps=1)


def test_stale_and_damaged_pairs_are_named(data, teacher, tmp_path):
    trained(data, teacher, tmp_path / "run", molecules=8)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    (tmp_path / "other" / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"00000.safetensors holds pairs of another teacher, other settings or other"):
        trained(data, teacher, tmp_path / "other", molecules=8, teacher_steps=3)
    with pytest.raises(ValueError, match=r"00000.safetensors holds pairs of another teacher, other settings or other"):
        trained(data, teacher, tmp_path / "other", molecules=8, seen_stereo=False)
    path = tmp_path / "run" / FOLDER / "00000.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"00000.safetensors is not a whole.*, or remove it to have its pairs made"):
        trained(data, teacher, tmp_path / "run", resume=True, molecules=8)


def test_a_teacher_that_changed_under_a_run_is_named(data, teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "teacher")
    where = str(tmp_path / "teacher")
    trained(data, where, tmp_path / "run", molecules=8)
    model = load_conformer_model(where)
    next(model.diffusion.parameters()).data += 1
    ConformerModel(model.diffusion, model.card).save(tmp_path / "teacher" / MODEL)
    shutil.rmtree(tmp_path / "run" / FOLDER)
    with pytest.raises(ValueError, match=r"was trained on pairs of another teacher than teacher=.* is now"):
        trained(data, where, tmp_path / "run", resume=True, molecules=8)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"width": 32}, "the teacher teacher has width=16, and this run asks for width=32; set width to the former"),
        ({"prior": "isotropic"}, "the teacher teacher has prior=harmonic, and this run asks for prior=isotropic"),
        ({"recipe": "etflow_reflow"}, "is of recipe dit_conf_ts, whose network is of another kind than the student's"),
        ({"teacher": "qm9"}, "draws molecules, not conformers of a given one"),
        ({"teacher": "nowhere"}, "no model 'nowhere'"),
    ],
)
def test_a_teacher_that_does_not_fit_is_named_and_nothing_is_left(data, teacher, tmp_path, others, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        trained(data, others.pop("teacher", teacher), tmp_path / "run", **others)
    assert not (tmp_path / "run").exists()


def test_a_teacher_must_know_the_elements(data, teacher, tmp_path):
    numbers = np.array([atom.GetAtomicNum() for atom in read_smiles("CS").GetAtoms()])
    path = tmp_path / "sulphur.npz"
    Ensembles.of([Ensemble("CS", f"m{i}", numbers, embedded("CS")) for i in range(2)], split=[0, 1]).save(path)
    with pytest.raises(ValueError, match=r"the teacher teacher has never seen S, which .*sulphur.npz has; give data"):
        opened(str(path), teacher, tmp_path / "run")


def test_a_target_of_pairs_has_no_other_pose():
    with pytest.raises(ValueError, match="setting target"):
        find_recipe("dit_conf_reflow").resolve({"target": "exact"})
