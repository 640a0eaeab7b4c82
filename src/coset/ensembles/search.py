"""The conformers of one molecule that GFN2-xTB finds from many embeddings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolAlign

from coset.data.atom_order import atomic_numbers, intact, isomer, leaves_open, perceived, stereo_kept
from coset.energies import Atoms, Limits, relax
from coset.ensembles.methods import Positions, with_conformers
from coset.ensembles.mmff import minimised
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.graphs.reading import read_smiles

_MOST_MAPS = 1000  # of equivalent atoms, that are tried for the RMSD of a pair


@dataclass(frozen=True)
class Search:
    """How long and how far is searched.

    seeds: embeddings by ETKDGv3. most: conformers that GFN2-xTB relaxes, the lowest by MMFF94. window: kcal/mol above
    the lowest that are kept. same_energy, same_rmsd: kcal/mol and Angstrom within which two conformers are one.
    seconds: of CPU time for each relaxation, and of time for all embeddings and for MMFF94. seed: of the embeddings.
    Raises ValueError for what is not above 0.
    """

    seeds: int = 50
    most: int = 20
    window: float = 6.0
    same_energy: float = 0.1
    same_rmsd: float = 0.125
    seconds: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds", "most", "window", "same_energy", "same_rmsd", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}.")


def searched(text: str, search: Search) -> dict[str, Any]:
    """The ensemble of a SMILES as plain values, or why there is none under "reason".

    smiles: as given, or where it leaves stereo open, that of the isomer that the first embedding happens to be; all
    conformers are this isomer. positions (k, n, 3) in Angstrom and energies (k,) in kcal/mol above the lowest, rising,
    atoms in the order of the SMILES. left_out: relaxed conformers that are not among them, by reason.
    """
    try:
        mol = read_smiles(text)
        smiles, mol, start = _embedded(text, mol, search)
    except (ValueError, RuntimeError) as error:
        return {"reason": " ".join(str(error).split()).rstrip(".")}
    left_out: Counter[str] = Counter()
    positions, energies = _relaxed(mol, start, search, left_out)
    if not len(positions):
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        return {"reason": f"no conformer is left ({told})", "left_out": dict(left_out)}
    rows = distinct(mol, positions, energies, search)
    left_out["duplicate"] += len(positions) - len(rows)
    kept = rows[energies[rows] <= energies.min() + search.window]
    left_out["above the window"] += len(rows) - len(kept)
    return {
        "smiles": smiles,
        "numbers": atomic_numbers(mol).tolist(),
        "positions": np.round(positions[kept], 6).tolist(),
        "energies": np.round(energies[kept] - energies.min(), 6).tolist(),
        "left_out": dict(+left_out),
    }


def distinct(
    mol: Chem.Mol, positions: Positions, energies: Float[NDArray[np.float64], "k"], search: Search
) -> Int[NDArray[np.int64], "m"]:
    """Rows in rising order of energy without duplicates of those before: near in energy and in RMSD, both.

    The RMSD is that of heavy atoms and of hydrogens on others than carbon, the best over equivalent atoms; mirror
    images are not the same.
    """
    order = np.argsort(energies, kind="stable")
    compared = _without_carbons_hydrogens(with_conformers(mol, positions))
    kept: list[int] = []
    for row in order.tolist():
        near = (other for other in reversed(kept) if energies[row] - energies[other] <= search.same_energy)
        if not any(_rmsd(compared, row, other) <= search.same_rmsd for other in near):
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _embedded(text: str, mol: Chem.Mol, search: Search) -> tuple[str, Chem.Mol, Positions]:
    """The isomer's SMILES, its molecule, and its embeddings at rest by MMFF94, the lowest `most` that differ."""
    method = DistanceGeometry(seconds=search.seconds)
    smiles = text.split()[0]
    if mol.GetNumAtoms() == 1:
        return smiles, mol, np.zeros((1, 1, 3))
    if leaves_open(mol) or smiles != text.strip():
        first = method.positions([mol], [1], [search.seed])[0]
        if not len(first):
            raise ValueError("no embedding succeeded")
        smiles = isomer(perceived(mol, first[0]))
        mol = read_smiles(smiles)
    found = method.positions([mol], [search.seeds], [search.seed])[0]
    if not len(found):
        raise ValueError("no embedding succeeded")
    try:
        found, energies, _ = minimised(mol, found, search.seconds)
    except ValueError:  # no parameters: GFN2-xTB starts from the embeddings then
        return smiles, mol, found[: search.most]
    finite = np.isfinite(energies)
    rows = distinct(mol, found[finite], energies[finite], search)
    return smiles, mol, found[finite][rows[: search.most]]


def _relaxed(
    mol: Chem.Mol, start: Positions, search: Search, left_out: Counter[str]
) -> tuple[Positions, Float[NDArray[np.float64], "k"]]:
    """Those that GFN2-xTB brings to rest with the bonds and the stereo of the molecule."""
    numbers, charge = atomic_numbers(mol), Chem.GetFormalCharge(mol)
    if len(numbers) == 1:
        return start, np.zeros(1)
    positions, energies = [], []
    for each in start:
        found = relax(Atoms(numbers, each, charge), "xtb", Limits(seconds=search.seconds))
        if found.failure is not None:
            left_out[found.failure] += 1
        elif not intact(mol, found.positions[None])[0]:
            left_out["bonds changed"] += 1
        else:
            positions.append(found.positions)
            energies.append(found.energy_after)
    whole = np.array(positions).reshape(-1, len(numbers), 3)
    right = stereo_kept(mol, whole)
    left_out["stereo changed"] += int((~right).sum())
    return whole[right], np.array(energies)[right]


def _rmsd(mol: Chem.Mol, first: int, second: int) -> float:
    with rdBase.BlockLogs():
        return rdMolAlign.GetBestRMS(mol, mol, first, second, maxMatches=_MOST_MAPS)


def _without_carbons_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    graph = Chem.RWMol(mol)
    Chem.RemoveStereochemistry(graph)  # else an E or Z that a hydrogen defines would be lost on the way
    for atom in sorted((atom.GetIdx() for atom in mol.GetAtoms() if _on_carbon(atom)), reverse=True):
        graph.RemoveAtom(atom)
    return graph.GetMol()


def _on_carbon(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() == 1 and atom.GetDegree() == 1 and atom.GetNeighbors()[0].GetAtomicNum() == 6
