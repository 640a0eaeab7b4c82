"""Why molecules fail, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coset.files import read
from coset.metrics.failures import failures, worst
from coset.metrics.measurement import measure
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
CENTRE = np.zeros((1, 3))
CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 1.9]]) * 0.62


def hydride(number: int, count: int, *others: tuple[int, float]) -> Molecule:
    """An atom with hydrogens around it, and further atoms far away."""
    far = [[place, 0.0, 0.0] for _, place in others]
    positions = np.concatenate([CENTRE, CORNERS[:count], np.reshape(far, (-1, 3))])
    return Molecule(np.array([number, *[1] * count, *[z for z, _ in others]]), positions)


def test_sentences():
    assert failures(hydride(6, 4)) == []
    assert failures(hydride(6, 3)) == ["C1: valence 3, expected 4"]
    assert failures(hydride(6, 4, (2, 30.0))) == ["He6: the protocol knows no valence of He", "2 fragments"]
    assert failures(hydride(6, 4, (8, 30.0))) == ["O6: no bonds, expected 2", "2 fragments"]
    assert "expected 3 or 5" in failures(hydride(15, 2))[0]
    pair = Molecule(np.array([1, 1, 1]), np.array([[0, 0, 0], [0.7, 0, 0], [-0.7, 0, 0]]))
    assert failures(pair) == ["H1: valence 2, expected 1", "RDKit: more bonds than possible at H1"]


def test_the_worst_come_first_and_none_that_passes():
    good, one, pieces = hydride(6, 4), hydride(6, 3), hydride(6, 4, (1, 30.0))
    pair = Molecule(np.array([1, 1, 1]), np.array([[0, 0, 0], [0.7, 0, 0], [-0.7, 0, 0]]))
    lone = hydride(6, 1, (6, 30.0))
    molecules = [good, one, pieces, pair, lone, one]
    assert worst(measure(molecules), 10) == [4, 3, 2, 1, 5]
    assert worst(measure(molecules), 2) == [4, 3]
    assert worst(measure([good]), 3) == []


def test_every_molecule_that_fails_is_told_why():
    molecules = read(DATA / "gschnet_samples.npz")[:300]
    measured = measure(molecules)
    failing = set(worst(measured, len(molecules)))
    assert 0 < len(failing) < 300
    assert failing == {place for place, molecule in enumerate(molecules) if failures(molecule)}


def test_a_heap_of_atoms_is_told_without_rdkit():
    heap = Molecule(np.full(40, 6), np.random.default_rng(0).normal(scale=0.1, size=(40, 3)))
    assert failures(heap)[-1].endswith("RDKit was not asked")
