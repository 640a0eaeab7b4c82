"""Packing: histograms and hashes as arrays that compress well, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, UInt8, UInt64
from numpy.typing import NDArray


def columns(counts: Mapping[int, int]) -> Int[NDArray[np.int64], "k 2"]:
    return np.array(sorted(counts.items()), dtype=np.int64).reshape(-1, 2)


def counter(arrays: Mapping[str, NDArray], name: str) -> Counter[int]:
    return Counter(dict(arrays[name].tolist())) if name in arrays else Counter()


def packed(hashes: UInt64[NDArray[np.uint64], "m"]) -> UInt8[NDArray[np.uint8], "8 m"]:
    """Byte planes of the steps between sorted hashes: the high ones are zeros, which compress away."""
    steps = np.diff(hashes, prepend=np.uint64(0)).astype(">u8")
    return np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)


def unpacked(planes: UInt8[NDArray[np.uint8], "8 m"]) -> UInt64[NDArray[np.uint64], "m"]:
    return np.cumsum(np.ascontiguousarray(planes.T).view(">u8")[:, 0].astype(np.uint64), dtype=np.uint64)
