"""Wasserstein: how far must values be moved to turn the histograms of a sample into those of the data?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from coset.metrics.geometry import Scale

RAREST = 1e-3  # of the data's bonds, angles or torsions; kinds with a smaller share are not compared


class KindDistances(NamedTuple):
    """A sample beside the data for each of k kinds that are common in the data.

    weight: share of the kind in the data, 1 in all. distance: 1-Wasserstein, and shift: mean of the sample less mean of
    the data, in the unit of the scale; NaN for kinds that the sample lacks. other: share of the sample in kinds that
    are not common in the data; NaN for an empty sample.
    """

    kind: Int[NDArray[np.int64], "k"]
    weight: Float[NDArray[np.float64], "k"]
    distance: Float[NDArray[np.float64], "k"]
    shift: Float[NDArray[np.float64], "k"]
    other: float

    def mean_distance(self) -> float:
        """Mean over the kinds that the sample has, by their shares in the data; NaN without any."""
        return self._mean(self.distance)

    def mean_shift(self) -> float:
        """As `mean_distance`, with signs: above zero where the sample's values are too large."""
        return self._mean(self.shift)

    def missing(self) -> float:
        """Share of the data in common kinds that the sample lacks."""
        return float(self.weight[np.isnan(self.distance)].sum())

    def _mean(self, values: Float[NDArray, "k"]) -> float:
        known = ~np.isnan(values)
        return float(np.average(values[known], weights=self.weight[known])) if known.any() else float("nan")


def common_kinds(data: Mapping[int, int], scale: Scale) -> Counter[int]:
    """A joint histogram without the kinds whose share is below `RAREST`."""
    totals: Counter[int] = Counter()
    for key, count in data.items():
        totals[key // scale.bins] += count
    least = RAREST * totals.total()
    return Counter({key: count for key, count in data.items() if totals[key // scale.bins] >= least})


def compare_kinds(sample: Mapping[int, int], data: Mapping[int, int], scale: Scale) -> KindDistances:
    """Compares joint histograms over kind and value (see `Geometry`), kind by kind.

    Between histograms the 1-Wasserstein distance is the area between their cumulative shares, exact to a bin.
    data: not empty; its kinds below `RAREST` are left out.
    """
    common = common_kinds(data, scale)
    kind = np.unique(np.fromiter(common, dtype=np.int64, count=len(common)) // scale.bins)
    known, drawn = _table(common, kind, scale), _table(sample, kind, scale)
    total = sum(sample.values())
    other = 1 - drawn.sum() / total if total else np.nan
    with np.errstate(invalid="ignore"):  # kinds that the sample lacks give 0 / 0
        difference = drawn / drawn.sum(1, keepdims=True) - known / known.sum(1, keepdims=True)
    distance = scale.width * np.abs(np.cumsum(difference, 1)).sum(1)
    shift = scale.width * difference @ np.arange(scale.bins)
    return KindDistances(kind, known.sum(1) / known.sum(), distance, shift, float(other))


def _table(counts: Mapping[int, int], kind: Int[NDArray, "k"], scale: Scale) -> Float[NDArray[np.float64], "k n"]:
    """A joint histogram as one row a kind, other kinds aside. kind: sorted."""
    table = np.zeros((len(kind), scale.bins))
    if not len(kind):
        return table
    keys = np.fromiter(counts, dtype=np.int64, count=len(counts))
    values = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
    row = np.minimum(np.searchsorted(kind, keys // scale.bins), len(kind) - 1)
    here = kind[row] == keys // scale.bins
    table[row[here], keys[here] % scale.bins] = values[here]
    return table
