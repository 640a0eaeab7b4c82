"""How good a method's conformers are: against the reference ensembles of molecules that no model was trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coset.data.ensembles import Ensemble, open_ensembles
from coset.ensembles.methods import Method, seed_of
from coset.graphs.geometry import intact
from coset.graphs.graph import read_smiles
from coset.graphs.stereo import Stereo, repaired
from coset.metrics.coverage import coverage
from coset.metrics.rmsd import RMSDs, rmsd_matrix

THRESHOLDS = (0.1, 0.5)  # Angstrom
PORTION = 50  # molecules drawn at a time


@dataclass(frozen=True)
class References:
    """Test molecules with their reference ensembles."""

    ensembles: list[Ensemble]

    @classmethod
    def of(cls, data: str, most: int) -> References:
        """The first so many of the test split."""
        found = open_ensembles(data)
        return cls([found[row] for row in found.rows(2)[:most]])

    @property
    def conformers(self) -> int:
        return sum(len(each.positions) for each in self.ensembles)


def measure(
    method: Method, references: References, seed: int, progress: Callable[[float], None] = lambda done: None
) -> dict[str, Any]:
    """2 L conformers of every molecule: coverage of the repaired ones, how often stereo was right before and after,
    and how often no bond was broken and no atoms clashed.

    coverage: as `Coverage.summary` has it. seconds: a conformer, of this process's own time, drawing alone. progress:
    told how many molecules are done.
    """
    matrices: list[RMSDs | None] = []
    spent, asked, made, right, kept, whole = 0.0, 0, 0, 0, 0, 0
    for first in range(0, len(references.ensembles), PORTION):
        some = references.ensembles[first : first + PORTION]
        mols = [read_smiles(each.smiles) for each in some]
        counts = [2 * len(each.positions) for each in some]
        begun = time.process_time()
        drawn = method.positions(mols, counts, [seed_of(mol, seed) for mol in mols])
        spent += time.process_time() - begun
        asked += sum(counts)
        for ensemble, mol, positions in zip(some, mols, drawn, strict=True):
            stereo = Stereo.of(mol)
            made += len(positions)
            right += int(stereo.right(positions).all(1).sum())
            mended, good = repaired(mol, stereo, positions)
            kept += int(good.sum())
            whole += int(intact(mol, positions).sum())
            matrices.append(rmsd_matrix(mol, ensemble.positions, mended[good]) if good.any() else None)
        progress(first + len(some))
    return {
        "coverage": coverage(matrices, THRESHOLDS).summary(),
        "asked": asked,
        "made": made,
        "stereo_right": right / max(made, 1),
        "stereo_repaired": kept / max(made, 1),
        "intact": whole / max(made, 1),
        "seconds": spent / max(asked, 1),
    }
