"""The packaged model and the Python API."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import coset
from coset.graphs.geometry import intact
from coset.graphs.stereo import Stereo
from coset.model import load
from coset.model_files import WEIGHTS
from coset.samplers.generate import Sampling


def test_packaged_models_are_small_and_say_what_they_are():
    assert sum(path.stat().st_size for path in WEIGHTS.glob("qm9*")) < 9_000_000
    card = coset.load("qm9").card
    assert card["parameters"] == coset.load("qm9").parameters
    assert card["data"] == {"name": "qm9", "train_molecules": 98_600}
    assert card["molecules_seen"] > 0 and card["metrics"]["rates"]["atom_stability"] > 0.5


def test_a_seed_repeats_and_another_does_not():
    model = coset.load("qm9")
    first, again, other = (
        model.sample(3, seed=1, steps=5),
        model.sample(3, seed=1, steps=5),
        model.sample(3, 2, steps=5),
    )
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.numbers, b.numbers) and np.array_equal(a.positions, b.positions)
    assert any(len(a) != len(b) or not np.allclose(a.positions, b.positions) for a, b in zip(first, other, strict=True))


def test_a_molecule_does_not_depend_on_how_many_are_drawn():
    model = coset.load("qm9")
    few, many = model.sample(2, seed=4, steps=60), model.sample(7, seed=4, steps=60, tokens=64)
    for a, b in zip(few, many, strict=False):
        assert np.array_equal(a.numbers, b.numbers)
        assert np.allclose(a.positions, b.positions, atol=1e-2)  # float32; kernels differ with shape


def test_sizes_given_by_hand_and_by_the_data():
    model = coset.load("qm9")
    assert {len(m) for m in model.sample(3, atoms=9, steps=2)} == {9}
    drawn = [len(m) for m in model.sample(200, steps=1)]
    assert set(drawn) <= set(model.sizes.counts) and np.mean(drawn) == pytest.approx(18.03, abs=0.8)


def test_deterministic_sampling_is_a_setting():
    model = coset.load("qm9")
    a, b = model.sample(2, eta=0.0, steps=4), model.sample(2, eta=1.0, steps=4)
    assert not np.allclose(a[0].positions, b[0].positions)


def test_save_and_load_are_inverse(tmp_path):
    model = load("qm9")
    model.save(tmp_path / "copy")
    again = load(tmp_path / "copy.safetensors")
    assert again.card == model.card
    for a, b in zip(model.diffusion.parameters(), again.diffusion.parameters(), strict=True):
        assert torch.equal(a, b)  # fp16 holds what came from fp16


def test_bad_calls_are_one_sentence(tmp_path):
    model = load("qm9")
    with pytest.raises(ValueError, match="unknown option stps; valid ones are steps"):
        model.sample(1, stps=3)
    with pytest.raises(ValueError, match="only 0 of"):
        model.sample(1, steps=1, keep=lambda molecule: False)
    with pytest.raises(FileNotFoundError, match="not packaged"):
        load(tmp_path / "none")
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        coset.lod  # noqa: B018


def test_weights_of_other_settings_are_refused(tmp_path):
    model = load("qm9")
    model.card["settings"]["width"] = 32
    model.save(tmp_path / "odd")
    with pytest.raises(ValueError, match="belong to other settings"):
        load(tmp_path / "odd.safetensors")


def test_a_card_says_how_its_model_draws_unless_the_sampler_is_named():
    model = load("qm9")
    own = replace(model, card={**model.card, "sampling": {"grid": "karras", "churn": 1.3}})
    assert own.sampling(steps=7) == Sampling(steps=7, grid="karras", churn=1.3)
    assert own.sampling(eta=0.5) == Sampling(eta=0.5) and own.sampling(churn=1.0) == Sampling()
    bare = replace(model, card={key: value for key, value in model.card.items() if key != "sampling"})
    assert bare.sampling() == Sampling()
    drawn, named = (own.sample(1, atoms=5, **options)[0] for options in ({"steps": 3}, {"steps": 3, "churn": 1.0}))
    assert drawn.properties["churn"] == 1.3 and drawn.properties["grid"] == "karras"
    assert "churn" not in named.properties and named.properties["grid_power"] == 1.5
    with pytest.raises(ValueError, match="unknown option shake"):
        replace(model, card={**model.card, "sampling": {"shake": 1}}).sampling()


def test_the_packaged_model_of_conformers_is_small_and_draws_whole_ones():
    assert (WEIGHTS / "conformers.safetensors").stat().st_size < 8_000_000
    card = coset.list_models()["conformers"]
    assert card["draws"] == "conformers" and card["metrics"]["coverage"]["cov_recall_mean_0.5"] > 0.5
    mol = coset.conformers("C[C@H](N)C(=O)O", n=2, seed=0)
    positions = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    assert positions.shape == (2, 13, 3) and Stereo.of(mol).right(positions).all() and intact(mol, positions).all()
    again = coset.conformers("C[C@H](N)C(=O)O", n=2, seed=0).GetConformer(0).GetPositions()
    assert np.array_equal(again, positions[0]) and np.abs(positions[1] - positions[0]).max() > 0.1
