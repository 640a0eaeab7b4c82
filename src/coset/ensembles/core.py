"""A core: a part of molecules whose place in space is given, such as a ligand's scaffold in a crystal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.ensembles.requests import records, text_of

MOST_MATCHES = 100  # ways of finding a core in a molecule that are looked at
NEAR = 0.1  # Angstrom: nearer than that, atoms are put where the core has them
_LEAST = 3  # atoms that fix a pose

Match = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Core:
    """query: the heavy atoms and their bonds. positions: theirs (c, 3) in Angstrom. key: a hash of both."""

    query: Chem.Mol
    positions: Float[NDArray[np.float64], "c 3"]
    key: str

    def matches(self, mol: Chem.Mol) -> Sequence[Match]:
        """Atoms of the molecule for the core's, in all ways that keep elements, charges and bonds; those found first.

        Hands of the core's centres are heeded where that leaves a way.
        """
        options = {"uniquify": False, "maxMatches": MOST_MATCHES}
        return mol.GetSubstructMatches(self.query, useChirality=True, **options) or mol.GetSubstructMatches(
            self.query, useChirality=False, **options
        )


@dataclass(frozen=True, eq=False)
class Laid:
    """Conformers laid onto a core.

    positions: (k, n, 3). deviation: the farthest that an atom of the core is from its place (k,), in Angstrom. exact:
    whether the atoms were put right there (k,). moved: how far that took the farthest of them (k,).
    """

    positions: Float[NDArray[np.float64], "k n 3"]
    deviation: Float[NDArray[np.float64], "k"]
    exact: Bool[NDArray[np.bool_], "k"]
    moved: Float[NDArray[np.float64], "k"]


def read_core(path: str | os.PathLike[str]) -> Core:
    """The core in an SD or MOL file of one molecule; hydrogens and dummy atoms are dropped.

    Raises FileNotFoundError, and ValueError for more molecules than one, a drawing, or fewer than three heavy atoms.
    """
    path = Path(path)
    found = list(records(text_of(path)))
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} molecules; a core is one.")
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock("\n".join(found[0][1]), sanitize=True, removeHs=False)
    if mol is None:
        raise ValueError(f"RDKit cannot read the molecule in {path}; check its bonds and valences.")
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    if len(heavy) < _LEAST:
        raise ValueError(f"{path} holds {len(heavy)} heavy atoms; a core needs {_LEAST} at least, to fix a pose.")
    if not mol.GetConformer().Is3D():
        raise ValueError(f"{path} holds a drawing, not positions in space; give the core in 3D.")
    positions = mol.GetConformer().GetPositions()[heavy]
    query = Chem.RWMol(mol)
    for index in sorted(set(range(mol.GetNumAtoms())) - set(heavy), reverse=True):
        query.RemoveAtom(index)
    for atom in query.GetAtoms():
        atom.SetNumRadicalElectrons(0)  # where a bond was cut
    key = hashlib.sha256(Chem.MolToSmiles(query).encode() + positions.tobytes()).hexdigest()[:16]
    return Core(query.GetMol(), positions, key)


def laid_onto(
    core: Core, matches: Sequence[Match], positions: Float[NDArray[np.float64], "k n 3"], exactly: bool
) -> Laid:
    """Each conformer turned and shifted, never mirrored, onto the core in the way of least RMSD (Kabsch 1976).

    exactly: puts the core's atoms where the core has them, in conformers in which none is farther away than `NEAR`.
    """
    ways = [_superimposed(positions, match, core.positions) for match in matches]
    pairs = zip(ways, matches, strict=True)
    squares = np.stack([np.square(way[:, match] - core.positions).sum((1, 2)) for way, match in pairs])
    best, rows = squares.argmin(0), np.arange(len(positions))
    found = np.stack(ways)[best, rows]
    columns = np.array(matches)[best]
    away = np.linalg.norm(found[rows[:, None], columns] - core.positions, axis=-1).max(-1)
    exact = (away <= NEAR) & exactly
    found[rows[exact, None], columns[exact]] = core.positions
    return Laid(found, np.where(exact, 0.0, away), exact, np.where(exact, away, 0.0))


def _superimposed(
    positions: Float[NDArray, "k n 3"], match: Match, onto: Float[NDArray, "c 3"]
) -> Float[NDArray, "k n 3"]:
    matched = positions[:, match]
    centre = matched.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd((matched - centre).transpose(0, 2, 1) @ (onto - onto.mean(0)))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return (positions - centre) @ (u @ vt) + onto.mean(0)
