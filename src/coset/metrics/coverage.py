"""Coverage: how many conformers of a reference ensemble are met (recall), and how many generated ones are right?

COV is the share of conformers with a partner of the other ensemble nearer than a threshold, AMR the mean distance to
the nearest partner; recall looks from the reference, precision from what was generated (Ganea et al. 2021). Published
numbers differ in what they count, and two conventions are about:

- Jing et al. (2022) count a molecule without conformers as coverage 0 and leave it out of AMR. A distance that could
  not be computed spoils the minima that it enters.
- Hassan et al. (2024) ignore such distances inside minima, and score only molecules with as many conformers as asked.

Here failures count as coverage 0 at every threshold and are left out of AMR, as in the first; distances that are NaN
are ignored inside minima, as in the second. A conformer of which every distance is NaN has no partner: COV counts it
as missed, AMR leaves it out. So no molecule is left out of COV, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from rdkit import Chem

from coset.metrics.rmsd import MOST_MAPS, RMSDs, rmsd_matrix


@dataclass(frozen=True, eq=False)
class Coverage:
    """Scores of m molecules at t thresholds (Angstrom), molecule by molecule.

    recall, precision: shares between 0 and 1. amr_recall, amr_precision: Angstrom, NaN for molecules that failed.
    failed: no conformer was generated, or none with a distance. capped: distances are upper bounds (`RMSDs.capped`).
    """

    thresholds: Float[NDArray[np.float64], "t"]
    recall: Float[NDArray[np.float64], "m t"]
    precision: Float[NDArray[np.float64], "m t"]
    amr_recall: Float[NDArray[np.float64], "m"]
    amr_precision: Float[NDArray[np.float64], "m"]
    failed: Bool[NDArray[np.bool_], "m"]
    capped: Bool[NDArray[np.bool_], "m"]

    def summary(self) -> dict[str, float]:
        """Counts, then means and medians over molecules: of COV as shares over all, of AMR over those scored.

        molecules = scored + failed. Keys: cov_recall_mean_0.5, cov_precision_median_0.5, amr_recall_mean and so on.
        NaN where there is no molecule to average over.
        """
        counts = {"molecules": self.failed.size, "scored": (~self.failed).sum(), "failed": self.failed.sum()}
        found = {name: float(count) for name, count in (counts | {"capped": self.capped.sum()}).items()}
        for side, cov, amr in (
            ("recall", self.recall, self.amr_recall),
            ("precision", self.precision, self.amr_precision),
        ):
            for threshold, shares in zip(self.thresholds, cov.T, strict=True):
                found[f"cov_{side}_mean_{threshold:g}"] = _over_known(np.mean, shares)
                found[f"cov_{side}_median_{threshold:g}"] = _over_known(np.median, shares)
            found[f"amr_{side}_mean"] = _over_known(np.mean, amr)
            found[f"amr_{side}_median"] = _over_known(np.median, amr)
        return found


def coverage(
    matrices: Sequence[RMSDs | Float[NDArray, "l k"] | None], thresholds: Sequence[float] | Float[NDArray, "t"]
) -> Coverage:
    """COV and AMR of molecules from the distances of l reference to k generated conformers, and None for a failure.

    thresholds: in Angstrom, any; a partner must be nearer, not as near. How many conformers were generated is for the
    caller to choose: k = 2 l is usual. Raises ValueError for a matrix without reference conformers or dimensions.
    """
    limits = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    tables = [each.matrix if isinstance(each, RMSDs) else each for each in matrices]
    nearest = [_nearest(table, place) for place, table in enumerate(tables)]
    return Coverage(
        thresholds=limits,
        recall=_shares([to_generated for to_generated, _ in nearest], limits),
        precision=_shares([to_reference for _, to_reference in nearest], limits),
        amr_recall=np.array([_over_known(np.mean, to_generated) for to_generated, _ in nearest], dtype=np.float64),
        amr_precision=np.array([_over_known(np.mean, to_reference) for _, to_reference in nearest], dtype=np.float64),
        failed=np.array([bool(np.isnan(to_generated).all()) for to_generated, _ in nearest], dtype=bool),
        capped=np.array([isinstance(each, RMSDs) and each.capped for each in matrices], dtype=bool),
    )


def ceiling(mol: Chem.Mol, reference: Float[NDArray, "l n 3"], seed: int = 0, most_maps: int = MOST_MAPS) -> RMSDs:
    """Distances of one random half of a reference ensemble to the other, for `coverage`: what the data say of itself.

    Of an odd number the second half, in the place of what is generated, has one more. Where duplicates were pruned from
    the ensemble no conformer is in both halves, and a method that finds them all scores higher than this.
    Raises ValueError for fewer than two conformers.
    """
    count = len(reference)
    if count < 2:
        raise ValueError(f"an ensemble of {count} has no two halves; leave out molecules with fewer than 2 conformers")
    order = np.random.default_rng(seed).permutation(count)
    positions = np.asarray(reference)
    return rmsd_matrix(mol, positions[order[: count // 2]], positions[order[count // 2 :]], most_maps)


def _nearest(
    table: Float[NDArray, "l k"] | None, place: int
) -> tuple[Float[NDArray[np.float64], "l"], Float[NDArray[np.float64], "k"]]:
    """Distances of reference conformers to the nearest generated one, and the reverse; NaN where there is none."""
    if table is None:
        return np.full(1, np.nan), np.full(1, np.nan)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(
            f"matrix {place} has shape {table.shape}; give (reference, generated) with 1 reference conformer or more, "
            "and leave out molecules without"
        )
    if table.shape[1] == 0:
        return np.full(len(table), np.nan), np.full(1, np.nan)
    return np.fmin.reduce(table, axis=1), np.fmin.reduce(table, axis=0)


def _shares(distances: Sequence[Float[NDArray, "_"]], limits: Float[NDArray, "t"]) -> Float[NDArray[np.float64], "m t"]:
    """Shares of distances below each limit; NaN is not."""
    shares = [(each[:, None] < limits).mean(0) for each in distances]
    return np.array(shares, dtype=np.float64).reshape(len(distances), len(limits))


def _over_known(statistic, values: Float[NDArray, "_"]) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known)) if known.size else float("nan")
