"""Molecules, vocabularies and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.molecule import QM9, Molecule, Vocabulary, pad


def random_molecules(sizes: list[int], seed: int = 0) -> list[Molecule]:
    rng = np.random.default_rng(seed)
    return [Molecule(rng.choice(QM9.numbers, size), 3 * rng.normal(size=(size, 3))) for size in sizes]


def test_formula_follows_hill():
    zeros = np.random.default_rng(0).normal(size=(6, 3))
    assert Molecule(np.array([8, 1, 6, 1, 7, 1]), zeros).formula == "CH3NO"
    assert Molecule(np.array([8, 1, 1]), zeros[:3]).formula == "H2O"
    assert Molecule(np.array([17, 1]), zeros[:2]).formula == "ClH"


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), charge=st.booleans())
def test_a_batch_gives_its_molecules_back_centred(sizes: list[int], charge: bool):
    molecules = random_molecules(sizes)
    cloud = QM9.cloud(*pad(molecules, width=10), charge=charge)
    assert cloud.h.shape == (len(sizes), 10, 5 + charge)
    back = QM9.molecules(cloud, properties=[{"place": i} for i in range(len(sizes))])
    for i, (before, after) in enumerate(zip(molecules, back, strict=True)):
        assert after.numbers.tolist() == before.numbers.tolist()
        np.testing.assert_allclose(after.positions, before.positions - before.positions.mean(0), atol=1e-5)
        assert after.properties == {"place": i}


def test_padding_is_zero_and_the_charge_is_the_atomic_number():
    molecules = random_molecules([2, 4])
    cloud = QM9.cloud(*pad(molecules))
    assert cloud.x.dtype == cloud.h.dtype == cloud.mask.dtype == torch.float32
    assert cloud.count.tolist() == [2, 4]
    assert not cloud.x[0, 2:].any() and not cloud.h[0, 2:].any()
    assert cloud.h[1, :, 5].tolist() == molecules[1].numbers.tolist()
    assert (cloud.h[..., :5].sum(-1, keepdim=True) == cloud.mask).all()


def test_the_last_class_can_be_generated():
    assert QM9.molecules(QM9.cloud(np.array([[9, 9]]), np.eye(3)[None, :2]))[0].formula == "F2"


@pytest.mark.parametrize(
    ("numbers", "positions", "message"),
    [
        ([6, 1], np.zeros((3, 3)), r"shape \(2, 3\)"),
        ([6, 0], np.zeros((2, 3)), "between 1 and 118"),
        ([], np.zeros((0, 3)), "non-empty"),
        ([6.0], np.zeros((1, 3)), "integers"),
        ([6], np.full((1, 3), np.nan), "not finite"),
    ],
)
def test_a_molecule_refuses_what_is_none(numbers, positions, message: str):
    with pytest.raises(ValueError, match=message):
        Molecule(np.array(numbers), positions)


def test_elements_outside_the_vocabulary_are_named():
    with pytest.raises(ValueError, match="H/C/N/O/F: S, Cl"):
        QM9.index([6, 17, 16])
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary((1, 1))
    with pytest.raises(ValueError, match="5 or 6 feature channels, got 9"):
        cloud = Vocabulary((1, 2, 3, 4, 5, 6, 7, 8)).cloud(np.array([[1]]), np.zeros((1, 1, 3)))
        QM9.molecules(cloud)
    with pytest.raises(ValueError, match="Row 1"):
        QM9.cloud(np.array([[1], [0]]), np.zeros((2, 1, 3)))
