"""Geometry: whether positions are those of the molecule at all, bond by bond and pair by pair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from rdkit import Chem

# Of the sum of two covalent radii. GFN2-xTB's and DFT's bonds of 1,400 molecules lie between 0.77 and 1.14 of it, atoms
# that share no bond beyond 1.17.
SHORTEST, LONGEST, NEAREST = 0.7, 1.25, 1.05


def intact(mol: Chem.Mol, positions: Float[NDArray, "k n 3"]) -> Bool[NDArray[np.bool_], "k"]:
    """Which conformers have every bond at a bond's length, and no other pair of atoms as near as one.

    By RDKit's covalent radii, with wide margins: it finds what is broken, not what is strained. Positions in Angstrom;
    those that are not finite are not intact.
    """
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(atom.GetAtomicNum()) for atom in mol.GetAtoms()])
    bonded = Chem.GetAdjacencyMatrix(mol) > 0
    first, second = np.triu_indices(len(radii), 1)
    arms = np.asarray(positions, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        ratio = np.linalg.norm(arms[:, first] - arms[:, second], axis=-1) / (radii[first] + radii[second])
        bond = (ratio > SHORTEST) & (ratio < LONGEST)
        return np.where(bonded[first, second], bond, ratio > NEAREST).all(1)
