"""Molecules for the tests of energies, and what they share."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from coset.files import read
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
needs_tblite = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite (coset[eval]) is not installed")
METHODS = ["mmff", pytest.param("xtb", marks=needs_tblite)]

WATER = Molecule(np.array([8, 1, 1]), np.array([[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]]))
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
METHANE = Molecule(np.array([6, 1, 1, 1, 1]), np.vstack([np.zeros(3), 1.087 * TETRAHEDRON]))
METHYL = Molecule(np.array([6, 1, 1, 1]), np.array([[0, 0, 0], [1.08, 0, 0], [-0.54, 0.935, 0], [-0.54, -0.935, 0]]))
BORANE = Molecule(np.array([5, 1, 1, 1]), 1.1 * METHYL.positions)
HEAP = Molecule(np.array([6, 6, 1]), np.array([[0, 0, 0], [0, 0, 0.02], [1.1, 0, 0]]))
ATOM = Molecule(np.array([6]), np.zeros((1, 3)))
URANIUM = Molecule(np.array([92, 9]), np.array([[0, 0, 0], [0, 0, 2.0]]))


@cache
def some() -> Molecule:
    """Ten atoms or so of QM9 with several elements."""
    return next(each for each in read(DATA / "qm9_200.npz") if len(set(each.numbers.tolist())) == 4 and len(each) < 14)


def shaken(molecule: Molecule, size: float = 0.05) -> Molecule:
    """With every coordinate moved a little."""
    noise = np.random.default_rng(0).normal(size=molecule.positions.shape)
    return Molecule(molecule.numbers, molecule.positions + size * noise)


def moved(molecule: Molecule) -> tuple[Molecule, np.ndarray]:
    """Turned, shifted, its atoms in another order; and that order."""
    rotation = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    order = np.random.default_rng(2).permutation(len(molecule))
    positions = molecule.positions @ rotation.T + np.array([3.0, -1.0, 7.0])
    return Molecule(molecule.numbers[order], positions[order]), order
