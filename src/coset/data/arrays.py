"""ArrayWriter: one array file of a store while it grows."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from coset.data import columns


class ArrayWriter:
    """Appends rows to a raw little-endian file, hashed on the way.

    path: the file. dtype: of its numbers. tail: shape of a row. encoding: how columns.py stored them.
    """

    def __init__(self, path: Path, dtype: np.dtype, tail: tuple[int, ...], encoding: str = columns.RAW) -> None:
        self.path = path
        self.file: BinaryIO = path.open("wb")
        self.dtype, self.tail, self.encoding = dtype, tail, encoding
        self.hash, self.count = hashlib.sha256(), 0

    @classmethod
    def of(cls, path: Path, values: NDArray, encoding: str = columns.RAW) -> ArrayWriter:
        """The file with just these values, closed; it replaces one that was there."""
        array = cls(path, values.dtype.newbyteorder("<"), values.shape[1:], encoding)
        array.append(values)
        array.close()
        return array

    def append(self, values: NDArray) -> None:
        data = np.ascontiguousarray(values, dtype=self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.count += len(values)

    def read(self) -> NDArray:
        """What was written so far, mapped read-only."""
        if not self.file.closed:
            self.file.flush()
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(self.count, *self.tail)).view(np.ndarray)

    def close(self) -> None:
        """Completes the file on disk, so that a store that took its name is whole after a power cut, too."""
        if not self.file.closed:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()

    def abandon(self) -> None:
        """Closes the file whatever is left to write: on a full disk the last flush fails again."""
        with contextlib.suppress(OSError):
            self.file.close()

    def entry(self) -> dict[str, Any]:
        """What meta.json says of it."""
        return {
            "dtype": self.dtype.str,
            "shape": [self.count, *self.tail],
            "encoding": self.encoding,
            "sha256": self.hash.hexdigest(),
        }
