"""Electronic properties of generated ensembles beside those of the reference, by GFN2-xTB for both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from rdkit import Chem

from coset.energies import Atoms
from coset.energies.batch import Progress, run
from coset.energies.electronic import electronic_or_failure
from coset.energies.potentials import HARTREE_EV, HARTREE_KCAL
from coset.ensembles.measure import References
from coset.ensembles.methods import Method, Positions, seed_of
from coset.ensembles.refine import relaxed
from coset.graphs.graph import read_smiles
from coset.graphs.stereo import Stereo, repaired
from coset.metrics.ensemble_properties import ensemble_errors, median_errors

_COLUMNS = {"energy": "energy_per_atom_ev", "dipole": "dipole_debye", "gap": "gap_ev"}

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Work:
    """How the calculations are run: processes, and a file that keeps results, so that a stopped run goes on."""

    workers: int = 1
    kept: str | os.PathLike[str] | None = None
    progress: Progress | None = None


def property_errors(
    method: Method, references: References, seed: int, relax: str | None = None, work: Work | None = None
) -> dict[str, float]:
    """Medians over molecules of the errors of Boltzmann-averaged properties (`PROPERTIES`, Jing et al. 2022, 4.3).

    2 L conformers of every molecule, repaired as `measure` does, and relaxed first where `relax` is "mmff" or "xtb".
    Energies, dipoles and gaps of both ensembles are GFN2-xTB's at the positions as they are. A molecule without a
    conformer of the right stereo counts as failed.
    """
    mols = [read_smiles(each.smiles) for each in references.ensembles]
    counts = [2 * len(each.positions) for each in references.ensembles]
    drawn = method.positions(mols, counts, [seed_of(mol, seed) for mol in mols])
    good = [_right(mol, positions) for mol, positions in zip(mols, drawn, strict=True)]
    if relax is not None:
        workers = work.workers if work else 1
        good = [each.positions for each in relaxed(mols, good, relax, workers=workers)]
    found = values_of(mols, good, work)
    known = values_of(mols, [each.positions for each in references.ensembles], work)
    return median_errors([_errors(*pair) for pair in zip(known, found, strict=True)])


def halves_errors(references: References, work: Work | None = None) -> dict[str, float]:
    """The same of one half of each reference ensemble against the other: what a perfect method's chance would leave."""
    halved = [each for each in references.ensembles if len(each.positions) > 1]
    mols = [read_smiles(each.smiles) for each in halved]
    every = values_of(mols, [each.positions for each in halved], work)
    parts = [[{name: column[half::2] for name, column in each.items()} for half in (0, 1)] for each in every]
    return median_errors([_errors(*pair) for pair in parts])


def values_of(mols: Sequence[Chem.Mol], conformers: Sequence[Positions], work: Work | None = None) -> list[Values]:
    """Energy in kcal/mol less that of free atoms, dipole in debye and gap in eV of each conformer; NaN where it fails.

    Raises ValueError without tblite.
    """
    work = work or Work()
    atoms = [
        Atoms(np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()]), each, Chem.GetFormalCharge(mol))
        for mol, positions in zip(mols, conformers, strict=True)
        for each in positions
    ]
    label = f"electronic 1 tblite {version('tblite')}"
    results = iter(run(electronic_or_failure, label, atoms, work.workers, work.kept, work.progress))
    pairs = zip(mols, conformers, strict=True)
    return [_table([next(results) for _ in positions], mol.GetNumAtoms()) for mol, positions in pairs]


def _table(results: Sequence[dict[str, Any]], atoms: int) -> Values:
    table = {name: np.array([each.get(key, np.nan) for each in results], float) for name, key in _COLUMNS.items()}
    return table | {"energy": table["energy"] * atoms * (HARTREE_KCAL / HARTREE_EV)}


def _right(mol: Chem.Mol, positions: Positions) -> Positions:
    mended, good = repaired(mol, Stereo.of(mol), positions)
    return mended[good]


def _errors(reference: Values, generated: Values) -> dict[str, float] | None:
    return ensemble_errors(reference, generated) if np.isfinite(generated["energy"]).any() else None
