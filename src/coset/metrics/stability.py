"""Stability: does each atom have the sum of bond orders that its element allows?"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from coset.bonds import allowed_valences

_MOST = 20  # sums of bond orders beyond this are stable for no element


def stable_atoms(numbers: Int[NDArray, "b n"], orders: Int[NDArray, "b n n"]) -> Bool[NDArray[np.bool_], "b n"]:
    """Atoms whose bond orders sum to an allowed valence (Hoogeboom et al. 2022). False where padded."""
    sums = np.minimum(orders.sum(-1, dtype=np.int64), _MOST)
    return _stable()[numbers, sums]


def stable_molecules(numbers: Int[NDArray, "b n"], orders: Int[NDArray, "b n n"]) -> Bool[NDArray[np.bool_], "b"]:
    """Molecules of which every atom is stable."""
    return (stable_atoms(numbers, orders) | (numbers == 0)).all(-1)


@cache
def _stable() -> Bool[NDArray[np.bool_], "119 s"]:
    table = np.zeros((119, _MOST + 1), dtype=bool)
    for number in range(1, 119):
        table[number, list(allowed_valences(number))] = True
    return table
