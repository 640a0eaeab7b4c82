"""Batches of what is drawn: like sizes together, as many as memory has room for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor


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


def _most(size: int, tokens: int, pairs: int | None) -> int:
    """Molecules of a batch whose largest has so many atoms."""
    most = tokens // size
    return max(1, most if pairs is None else min(most, pairs // size**2))
