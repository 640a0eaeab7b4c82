"""MMFF94 on the bonds that a molecule is known to have, which `energies` would perceive anew."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers

from coset.ensembles.methods import Positions, positions_of, with_conformers

_BLOCK, _MOST = 200, 10_000  # steps of RDKit's BFGS between two looks at the clock, and in all
_PAIRS, _FEWEST = 100_000, 4  # atoms squared times conformers of one call, about a second, and conformers at least
_HOLD = 100.0  # kcal/mol/A^2 between an atom of a core and its place


def lacks_parameters(mol: Chem.Mol) -> str | None:
    """A sentence where MMFF94 cannot treat the molecule."""
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(Chem.Mol(mol)):
            return None
    return "MMFF94 has no parameters for one of its atom types"


def minimised(
    mol: Chem.Mol, positions: Positions, seconds: float
) -> tuple[Positions, Float[NDArray[np.float64], "k"], Bool[NDArray[np.bool_], "k"]]:
    """Conformers at the nearest minimum, their energies in kcal/mol, and which arrived within the time.

    Those that it was too late for stay as they were, their energies NaN; the first few are always treated. On all
    cores. Raises ValueError where there are no parameters.
    """
    if reason := lacks_parameters(mol):
        raise ValueError(reason)
    positions, until = np.array(positions, dtype=np.float64), time.monotonic() + seconds
    energies, arrived = np.full(len(positions), np.nan), np.zeros(len(positions), dtype=bool)
    together = max(_FEWEST, _PAIRS // mol.GetNumAtoms() ** 2)
    for _ in range(_MOST // _BLOCK):
        left = np.flatnonzero(~arrived)
        for some in (left[first : first + together] for first in range(0, len(left), together)):
            if time.monotonic() > until and np.isfinite(energies).any():
                return positions, energies, arrived
            moving = with_conformers(mol, positions[some])
            with rdBase.BlockLogs():
                found = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(moving, numThreads=0, maxIters=_BLOCK)
            positions[some] = positions_of(moving)
            arrived[some] = [state == 0 for state, _ in found]
            energies[some] = [energy for _, energy in found]
    return positions, energies, arrived


def held(
    mol: Chem.Mol, positions: Positions, atoms: Sequence[int], places: Float[NDArray, "c 3"], until: float
) -> Positions:
    """Conformers relaxed with some atoms drawn to places of their own, by MMFF94, or UFF where that lacks parameters.

    As they were where neither has them. until: of `time.monotonic`; those that it is too late for stay as they were.
    """
    moving = with_conformers(mol, positions)
    with rdBase.BlockLogs():
        types = rdForceFieldHelpers.MMFFGetMoleculeProperties(moving)
        if types is None and not rdForceFieldHelpers.UFFHasAllMoleculeParams(moving):
            return positions
        for number in range(len(positions)):
            if time.monotonic() > until:
                break
            if types is not None:
                field = rdForceFieldHelpers.MMFFGetMoleculeForceField(moving, types, confId=number)
            else:
                field = rdForceFieldHelpers.UFFGetMoleculeForceField(moving, confId=number)
            for atom, place in zip(atoms, places.tolist(), strict=True):
                point = field.AddExtraPoint(*place, fixed=True) - 1
                field.AddDistanceConstraint(point, atom, 0, 0, _HOLD)
            field.Initialize()
            for _ in range(_MOST // _BLOCK):
                if not field.Minimize(maxIts=_BLOCK) or time.monotonic() > until:
                    break
    return positions_of(moving)
