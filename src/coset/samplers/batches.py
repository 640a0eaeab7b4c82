"""Batches of what is drawn: like sizes together, as many as memory has room for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

PARTS = (1, 2, 4, 8)  # of a full batch


def by_size(sizes: Int[Tensor, "m"], tokens: int, pairs: int | None = None) -> Iterator[Int[Tensor, "b"]]:
    """Places in `sizes` from the smallest size up, each batch as full as its budgets allow.

    tokens: padded atoms. pairs: padded pairs of atoms, without a limit if None. A molecule above either is alone.
    """
    order = torch.sort(sizes, stable=True).indices
    ranked, start = sizes[order].tolist(), 0
    for stop in range(1, len(ranked) + 1):
        if stop == len(ranked) or stop + 1 - start > _most(ranked[stop], tokens, pairs):
            yield order[start:stop]
            start = stop


def rounded(sizes: Int[Tensor, "m"], grain: int) -> Int[Tensor, "m"]:
    """Each rounded up to a multiple of the grain."""
    return -(-sizes // grain) * grain


def shape_of(count: int, size: int, tokens: int, pairs: int | None, grain: int) -> tuple[int, int]:
    """Molecules and atoms that a batch of `count`, the largest of `size` atoms, is padded to: one of few shapes.

    Atoms are a multiple of the grain, molecules as many as the budgets allow of that length, or half, a quarter or an
    eighth of it: four shapes a length at most. A grain of 1 pads nothing.
    """
    if grain == 1:
        return count, size
    atoms = -(-size // grain) * grain
    full = _most(atoms, tokens, pairs)
    return min(room for part in PARTS if (room := -(-full // part)) >= count), atoms


def _most(size: int, tokens: int, pairs: int | None) -> int:
    """Molecules of a batch whose largest has so many atoms."""
    most = tokens // size
    return max(1, most if pairs is None else min(most, pairs // size**2))
