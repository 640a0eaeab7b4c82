"""Distributions: do sizes, elements, bond lengths and valences come as often as in the data?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

BIN = 2.0  # pm
_BINS, _ORDERS, _ELEMENTS, _VALENCES = 256, 4, 119, 32  # how many values each part of a key can take


class BondKind(NamedTuple):
    """Two atomic numbers, the smaller first, and a bond order."""

    first: int
    second: int
    order: int


def total_variation(p: Mapping[int, int], q: Mapping[int, int]) -> float:
    """Half the sum of |p - q| over normalised histograms: 0 for equal ones, 1 for disjoint ones.

    END prints the sum without the half (Cornet et al. 2024). NaN where a histogram is empty.
    """
    total_p, total_q = sum(p.values()), sum(q.values())
    if not total_p or not total_q:
        return float("nan")
    return sum(abs(p.get(key, 0) / total_p - q.get(key, 0) / total_q) for key in {*p, *q}) / 2


def wasserstein(p: Mapping[int, int], q: Mapping[int, int], width: float = 1.0) -> float:
    """1-Wasserstein distance of two histograms over bins of `width`: the area between their cumulative shares."""
    total_p, total_q = sum(p.values()), sum(q.values())
    if not total_p or not total_q:
        return float("nan")
    low, high = min({*p, *q}), max({*p, *q})
    apart = [p.get(key, 0) / total_p - q.get(key, 0) / total_q for key in range(low, high + 1)]
    return width * float(np.abs(np.cumsum(apart)).sum())


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
    kind = (pair[0] * _ELEMENTS + pair[1]) * _ORDERS + orders[batch, first, second]
    return count_values(kind.astype(np.int64) * _BINS + np.minimum(length / BIN, _BINS - 1).astype(np.int64))


def count_valences(numbers: Int[NDArray, "b n"], orders: Int[NDArray, "b n n"]) -> Counter[int]:
    """Joint histogram of atoms over element and sum of bond orders (31 for more), each bin one integer key."""
    real = numbers != 0
    sums = np.minimum(orders.sum(-1, dtype=np.int64), _VALENCES - 1)
    return count_values(numbers[real] * _VALENCES + sums[real])


def bond_lengths_by_kind(counts: Mapping[int, int]) -> dict[BondKind, Counter[int]]:
    """`count_bond_lengths` taken apart: for each kind of bond, bonds by bin; bin k spans 2 k to 2 k + 2 pm."""
    kinds: dict[BondKind, Counter[int]] = {}
    for key, count in counts.items():
        pair, order = divmod(key // _BINS, _ORDERS)
        kinds.setdefault(BondKind(*divmod(pair, _ELEMENTS), order), Counter())[key % _BINS] += count
    return kinds


def valences_by_element(counts: Mapping[int, int]) -> dict[int, Counter[int]]:
    """`count_valences` taken apart: for each atomic number, atoms by their sum of bond orders."""
    elements: dict[int, Counter[int]] = {}
    for key, count in counts.items():
        elements.setdefault(key // _VALENCES, Counter())[key % _VALENCES] += count
    return elements
