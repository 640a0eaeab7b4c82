"""Symptoms: each is near nothing for the data and for healthy models, and tells of the failure it is named after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from coset.data import open_dataset
from coset.diffusion import Diffusion
from coset.metrics.evaluate import evaluate
from coset.molecule import QM9, Molecule
from coset.noise import Noise
from coset.processes.neural import Neural
from coset.processes.spreads import Columns, Matrix
from coset.processes.transforms import Learned
from coset.recipes.registry import build, find_recipe
from coset.training.symptoms import Extent, diagnose, sample_symptoms, turning_symptoms
from example_clouds import small_molecules
from example_fields import SmallField

HEALTHY = {"exploded": 0.0, "alike": 0.0, "types_apart": 0.0, "noising_turned": 0.0}


@pytest.fixture(scope="module")
def data():
    return QM9.molecules(QM9.cloud(*open_dataset("qm9-sample").store.collate(np.arange(200))))


def symptoms(molecules, data, redrawn=()):
    return sample_symptoms(molecules, redrawn, evaluate(molecules, reference=None), Extent.of(data))


def test_the_data_has_none(data):
    found = symptoms(data[:100], data[100:])
    assert found["exploded"] == found["alike"] == 0 and found["types_apart"] < 0.05
    assert not diagnose(found | {"noising_turned": 0.0})


def test_explosions_are_those_drawn_again_and_those_too_large(data):
    large = [Molecule(m.numbers, 30 * m.positions) for m in data[:10]]
    assert symptoms(large + data[10:100], data)["exploded"] == pytest.approx(0.1)
    assert symptoms(data[:100], data, redrawn=[3, 3, 5])["exploded"] == pytest.approx(0.02)  # two of them


def test_collapse_of_modes_is_the_share_of_valid_molecules_that_are_another(data):
    found = symptoms([data[0]] * 30, data)
    assert found["alike"] == pytest.approx(29 / 30) and "alike" not in symptoms([data[0]] * 5, data)


def test_collapse_of_types_is_the_share_that_would_have_to_change(data):
    carbon = [Molecule(np.full_like(m.numbers, 6), m.positions) for m in data[:50]]
    share = np.mean(np.concatenate([m.numbers for m in data]) == 6)
    assert symptoms(carbon, data)["types_apart"] == pytest.approx(1 - share)


def turning(diffusion):
    clean = small_molecules(4)
    return turning_symptoms(diffusion, clean, Noise.from_seed(0, torch.arange(4)))


def tiny(name):
    recipe = find_recipe(name)
    sizes = {"width": 16, "depth": 1, "vector_width": 8, "edge_width": 8, "heads": 2, "kernels": 4}
    sizes = {key: value for key, value in sizes.items() if key in recipe.settings.model_fields}
    return build(name, recipe.resolve(sizes), 5)


@pytest.mark.parametrize("name", ["edm", "end"])
def test_what_is_equivariant_turns_with_the_molecule(name):
    found = turning(tiny(name))
    assert found["noising_turned"] < 1e-4 and found["denoiser_turned"] < 1e-4


def test_a_plain_network_does_not():
    diffusion: Any = tiny("dit")
    torch.nn.init.normal_(diffusion.denoiser.network.head.weight)
    found = turning(diffusion)
    assert found["noising_turned"] < 1e-4 and found["denoiser_turned"] > 0.1


def test_matrices_of_columns_break_the_symmetry_of_the_noising():
    diffusion = tiny("end")
    process, spread = diffusion.process, Matrix(form=Columns(), share=1.0)
    assert isinstance(process, Neural) and isinstance(process.transform, Learned)
    learned = Learned(SmallField(5, 11, 4).float(), process.transform.schedule, spread)
    spoilt = Diffusion(diffusion.codec, Neural(learned, process.volatility), diffusion.denoiser, diffusion.objective)
    found = turning(spoilt)
    assert found["noising_turned"] > 0.02
    (told,) = diagnose(HEALTHY | found)
    assert told.startswith("symmetry is broken: noise differs by ")


@pytest.mark.parametrize(
    ("name", "level", "told"),
    [
        ("exploded", 0.12, "coordinates explode in 12% of the molecules drawn"),
        ("alike", 0.5, "modes collapse: 50% of the valid molecules equal another"),
        ("types_apart", 0.3, "types collapse: 30% of the atoms would have to be of another element"),
        ("noising_turned", math.nan, "symmetry is broken: noise differs by nan% in turned molecules"),
    ],
)
def test_each_has_its_sentence(name, level, told):
    assert diagnose(HEALTHY | {name: level}) == [told]
    assert not diagnose(HEALTHY)
