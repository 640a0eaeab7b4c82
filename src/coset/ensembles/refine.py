"""Work after the drawing: relaxation, windows of energy, duplicates, Boltzmann weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from rdkit import Chem

from coset.energies import Atoms, Limits, check_method, relax
from coset.energies.batch import enough, run
from coset.ensembles.methods import SECONDS, Positions
from coset.ensembles.mmff import minimised

LONGEST = 1.3  # times the sum of covalent radii: the longest bond, as RDKit's perception has it
_EACH = 8  # relaxations by GFN2-xTB for which a process of its own pays


@dataclass(frozen=True)
class AfterWork:
    """What is asked for beside positions; None leaves a step out.

    relax: "mmff" (MMFF94) or "xtb" (GFN2-xTB). prune: RMSD of heavy atoms in Angstrom up to which two conformers are
    one. window: kcal/mol above the lowest up to which conformers are kept. seconds: of relaxing, for all conformers of
    a molecule by MMFF94, for each of them by GFN2-xTB. workers: processes for GFN2-xTB; None for as many
    as there are cores, if that pays.

    Raises ValueError for what is not above 0, and for a window without energies.
    """

    relax: str | None = None
    prune: float | None = None
    window: float | None = None
    seconds: float = SECONDS
    workers: int | None = 1

    def __post_init__(self) -> None:
        if self.relax is not None:
            check_method(self.relax)
        for name in ("prune", "window", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value:g}.")
        if self.window is not None and self.relax is None:
            raise ValueError("A window of energies needs energies; relax with mmff or xtb too.")


@dataclass(frozen=True, eq=False)
class Relaxed:
    """positions: those relaxed (k, n, 3). energies: kcal/mol (k,). lost: why others are missing, and how many."""

    positions: Positions
    energies: Float[NDArray[np.float64], "k"]
    lost: dict[str, int]


def relaxed(
    mols: Sequence[Chem.Mol],
    conformers: Sequence[Positions],
    method: str,
    seconds: float = SECONDS,
    workers: int | None = 1,
) -> list[Relaxed]:
    """Conformers at the nearest minimum of "mmff" or "xtb"; those are left out that do not arrive.

    MMFF94 has the molecule's own bonds. GFN2-xTB may break them; such conformers are left out too. A single atom stays
    as it is, its energy 0.
    """
    check_method(method)
    single = [mol.GetNumAtoms() == 1 for mol in mols]
    if method == "mmff":
        return [
            _at_rest(x) if alone else _by_mmff(mol, x, seconds)
            for mol, x, alone in zip(mols, conformers, single, strict=True)
        ]
    atoms = [
        Atoms(np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()]), each, Chem.GetFormalCharge(mol))
        for mol, x, alone in zip(mols, conformers, single, strict=True)
        for each in (() if alone else x)
    ]
    task = partial(_by_xtb, limits=Limits(seconds=seconds))
    records = iter(run(task, f"conformers {version('tblite')}", atoms, workers or enough(len(atoms), _EACH)))
    return [
        _at_rest(x) if alone else _gathered(mol, [next(records) for _ in x])
        for mol, x, alone in zip(mols, conformers, single, strict=True)
    ]


def thinned(
    mol: Chem.Mol,
    positions: Positions,
    energies: Float[NDArray[np.float64], "k"] | None,
    prune: float | None = None,
    window: float | None = None,
) -> Int[NDArray[np.int64], "m"]:
    """Rows to keep, in rising order of energy where that is known: within the window, and no duplicate of one before.

    Duplicates: heavy atoms, the best of all maps that keep the graph (`metrics.rmsd`).
    """
    order = np.arange(len(positions)) if energies is None else np.argsort(energies, kind="stable")
    if window is not None and energies is not None and len(order):
        order = order[energies[order] <= energies.min() + window]
    if prune is None or len(order) < 2:
        return order
    from coset.metrics.rmsd import rmsd_matrix

    distances = rmsd_matrix(mol, positions[order], positions[order]).matrix
    kept: list[int] = []
    for row in range(len(order)):
        if not (distances[row, kept] <= prune).any():
            kept.append(row)
    return order[kept]


def whole(mol: Chem.Mol, positions: Positions) -> Bool[NDArray[np.bool_], "k"]:
    """Whether a conformer has the molecule's bonds: none is longer than `LONGEST`, and each hydrogen is nearest to the
    atom that it hangs from."""
    ends = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]).reshape(-1, 2)
    table = Chem.GetPeriodicTable()
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    radii = np.array([table.GetRcovalent(int(number)) for number in numbers])
    lengths = np.linalg.norm(positions[:, ends[:, 0]] - positions[:, ends[:, 1]], axis=-1)
    found = (lengths <= LONGEST * radii[ends].sum(1)).all(1)
    heavy = np.flatnonzero(numbers > 1)
    for first, second in [*ends.tolist(), *ends[:, ::-1].tolist()]:
        if numbers[first] == 1 and numbers[second] > 1 and mol.GetAtomWithIdx(first).GetDegree() == 1:
            others = np.linalg.norm(positions[:, heavy] - positions[:, [first]], axis=-1)
            # In proportion to the bond's usual length: a hydrogen bond to O is shorter than one to S is long.
            found &= heavy[(others / (radii[heavy] + radii[first])).argmin(1)] == second
    return found


def _at_rest(positions: Positions) -> Relaxed:
    return Relaxed(positions, np.zeros(len(positions)), {})


def _by_mmff(mol: Chem.Mol, positions: Positions, seconds: float) -> Relaxed:
    try:
        found, energies, arrived = minimised(mol, positions, seconds)
    except ValueError as error:
        return Relaxed(positions[:0], np.zeros(0), {str(error): len(positions)})
    lost = int((~arrived).sum())
    return Relaxed(found[arrived], energies[arrived], {f"not relaxed within {seconds:g} s": lost} if lost else {})


def _by_xtb(atoms: Atoms, limits: Limits) -> dict[str, Any]:
    return relax(atoms, "xtb", limits).to_dict()


def _gathered(mol: Chem.Mol, records: Sequence[dict[str, Any]]) -> Relaxed:
    lost: Counter[str] = Counter()
    positions, energies = [], []
    for record in records:
        if record.get("crashed") or record["failure"] is not None:
            lost["the calculation ended its process" if record.get("crashed") else record["sentence"]] += 1
            continue
        final = np.array(record["positions"], dtype=np.float64)
        if whole(mol, final[None])[0]:
            positions.append(final)
            energies.append(record["energy_after"])
        else:
            lost["bonds changed on the way"] += 1
    return Relaxed(np.array(positions).reshape(-1, mol.GetNumAtoms(), 3), np.array(energies), dict(lost))
