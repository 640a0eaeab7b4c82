"""How a packed store keeps its per-molecule columns in few bytes, and back.

offsets as sizes (one or two bytes a molecule for eight), rising ids as a bitmap, a split that is the same
everywhere as one value. Exact: `decode(*encode(name, values), len)` gives the values back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RAW, SIZES, BITMAP, CONSTANT = "raw", "sizes", "bitmap", "constant"
ENCODINGS = (RAW, SIZES, BITMAP, CONSTANT)


def encode(name: str, values: NDArray) -> tuple[NDArray, str]:
    """The stored form of column `name` ("offsets", "ids" or "split") and the name of its encoding."""
    if name == "offsets":
        return _narrow(np.diff(values)), SIZES
    if name == "split" and (values == values[0]).all():
        return values[:1], CONSTANT
    narrow = _narrow(values)
    # A bitmap costs one bit for every id up to the largest, so it pays for dense sets only.
    if name == "ids" and values[0] >= 0 and values[-1] // 8 + 1 < narrow.nbytes and (np.diff(values) > 0).all():
        members = np.zeros(values[-1] + 1, dtype=bool)
        members[values] = True
        return np.packbits(members), BITMAP
    return narrow, RAW


def decode(stored: NDArray, encoding: str, molecules: int) -> NDArray:
    """The column behind its stored form; a raw one is returned as it is, still mapped."""
    if encoding == SIZES:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(stored, dtype=np.int64)])
    if encoding == BITMAP:
        return np.flatnonzero(np.unpackbits(stored)).astype(np.int64)
    if encoding == CONSTANT:
        return np.broadcast_to(stored[0], (molecules,))
    return stored


def _narrow(values: NDArray) -> NDArray:
    """The same integers in the smallest of uint8, uint16, int32, int64 that holds them."""
    low, high = values.min(), values.max()
    kinds: tuple[Any, ...] = (np.uint8, np.uint16, np.int32, np.int64)
    fits = next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(fits)
