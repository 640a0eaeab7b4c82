"""Distributions: do sizes, elements and bond lengths come as often as in the data?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

_BIN = 2.0  # pm


def total_variation(p: Mapping[int, int], q: Mapping[int, int]) -> float:
    """Half the sum of |p - q| over normalised histograms: 0 for equal ones, 1 for disjoint ones.

    END prints the sum without the half (Cornet et al. 2024). NaN where a histogram is empty.
    """
    total_p, total_q = sum(p.values()), sum(q.values())
    if not total_p or not total_q:
        return float("nan")
    return sum(abs(p.get(key, 0) / total_p - q.get(key, 0) / total_q) for key in {*p, *q}) / 2


def count_values(values: Int[NDArray, "..."]) -> Counter[int]:
    """Histogram of integers."""
    keys, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(keys.tolist(), counts.tolist(), strict=True)))


def count_bond_lengths(
    numbers: Int[NDArray, "b n"], positions: Float[NDArray, "b n 3"], orders: Int[NDArray, "b n n"]
) -> Counter[int]:
    """Joint histogram of bonds over elements, order and length in bins of 2 pm, each bin one integer key."""
    batch, first, second = np.nonzero(np.triu(orders))
    length = 100 * np.linalg.norm(positions[batch, first] - positions[batch, second], axis=-1)
    pair = np.sort([numbers[batch, first], numbers[batch, second]], axis=0)
    kind = (pair[0] * 119 + pair[1]) * 4 + orders[batch, first, second]
    return count_values(kind.astype(np.int64) * 256 + np.minimum(length / _BIN, 255).astype(np.int64))
