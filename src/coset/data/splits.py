"""Splits that follow a hash of each molecule's key: the same whatever the order, equal keys together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray


def split_groups(group: Int[NDArray, "m"], valid: float, test: float, seed: int = 0) -> NDArray[np.uint8]:
    """Each molecule's part, 0 train, 1 valid, 2 test (m,): whole groups in the order of a hash of group and seed.

    valid, test: shares of the molecules; a part takes groups until it has its share, so it may have a little
    more, and at least one where the share is not 0. Raises ValueError for shares that are none, and where too
    few groups are there to leave one to train.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ValueError(f"valid and test are shares in [0, 1) that leave some to train, got {valid} and {test}.")
    groups, member, counts = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(mix(groups ^ mix(np.array([seed])).view(np.int64)), kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # molecules of the groups that come earlier
    part = np.zeros(len(groups), dtype=np.uint8)
    total, taken = len(group), 0
    for number, share in ((2, test), (1, valid)):
        chosen = (before >= taken) & (before < taken + share * total)
        part[order[chosen]] = number
        taken += counts[order[chosen]].sum()
    if taken == total:
        raise ValueError(
            f"{len(groups)} different molecules are too few to train on and hold {test:g} and {valid:g} out; "
            "give more molecules, or smaller shares (0 for none)."
        )
    return part[member]


def held_out(keys: NDArray, count: int) -> NDArray[np.bool_]:
    """Marks (m,) at most `count` entries by rank of a hash of their key (m,); equal keys share their fate."""
    if count >= len(keys):
        return np.ones(len(keys), dtype=bool)
    ranks = mix(keys)
    # Those strictly below the first hash left out: a key is taken with all its entries or not at all.
    return ranks < np.sort(ranks)[count]


def mix(keys: NDArray) -> NDArray[np.uint64]:
    """A 64-bit hash of integers: the output function of SplitMix64 (Steele et al. 2014)."""
    z = keys.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
