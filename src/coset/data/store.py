"""Store: molecules in one folder of memory-mapped arrays.

A folder NAME/ holds raw little-endian arrays, `<array>.bin`, and `meta.json`. Atoms of all molecules are
concatenated; molecule i owns atoms offsets[i] to offsets[i+1].

numbers    uint8 (atoms,)                        atomic numbers
positions  float32 (atoms, 3) in Angstrom, or int16 in milli-Angstrom ("packed")
offsets    int64 (molecules + 1,)
ids        int64 (molecules,)
split      uint8 (molecules,)                    0 train, 1 valid, 2 test
any other  (molecules, ...)                      energy, or `group`: the same for all conformers of one

A packed store keeps offsets, ids and split in fewer bytes (columns.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coset.data import columns
from coset.data.layout import BASE, MILLI, SPLITS, array_file, map_array, read_meta


@dataclass(frozen=True)
class Store:
    """Molecules on disk, read as they are asked for; `Store.open(path)` makes one.

    path: its folder. meta: what `meta.json` says. arrays: the stored form of each array, mapped read-only.
    Pickles as its path, so that handing it to worker processes copies nothing.
    """

    path: Path
    meta: dict[str, Any] = field(repr=False)
    arrays: dict[str, NDArray] = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Maps a store without reading its arrays; version and file lengths are checked.

        Raises FileNotFoundError where there is no store and ValueError where it is not whole.
        """
        path = Path(path)
        meta = read_meta(path)
        arrays = {name: map_array(path, name, entry) for name, entry in meta["arrays"].items()}
        store = cls(path, meta, arrays)
        if int(store.offsets[0]) != 0 or int(store.offsets[-1]) != meta["atoms"]:
            raise ValueError(f"the store {path} is damaged: its arrays count different atoms; build it again.")
        return store

    def __len__(self) -> int:
        return self.meta["molecules"]

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        return Store.open, (self.path,)

    @property
    def name(self) -> str:
        return self.meta["name"]

    @property
    def packed(self) -> bool:
        return self.arrays["positions"].dtype == np.int16

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Atomic numbers of a model of this data, rising: those named at building, else those that occur."""
        return tuple(self.meta["vocabulary"])

    @property
    def units(self) -> dict[str, str]:
        """Units of the further columns that have one, by name."""
        return self.meta.get("units", {})

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        return self._column("offsets")

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each molecule (m,). Raises ValueError where the store is damaged."""
        sizes = np.diff(self.offsets)
        if sizes.min() < 1:
            raise ValueError(
                f"the store {self.path} is damaged: {(sizes < 1).sum()} molecules have no atom; copy it again."
            )
        return sizes

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        return self._column("ids").astype(np.int64, copy=False)

    @cached_property
    def split(self) -> NDArray[np.uint8]:
        """0 train, 1 valid, 2 test (m,)."""
        return self._column("split")

    @property
    def extra(self) -> dict[str, NDArray]:
        """The further per-molecule arrays by name, such as energy or group."""
        return {name: values for name, values in self.arrays.items() if name not in BASE}

    def __getitem__(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Atomic numbers (n,) and positions (n, 3) in Angstrom of one molecule."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is outside the store's {len(self)} molecules.")
        row %= len(self)
        first = int(self.offsets[row])
        atoms = slice(first, first + int(self.sizes[row]))
        return self.arrays["numbers"][atoms].copy(), self._angstrom(self.arrays["positions"][atoms])

    def collate(self, rows: ArrayLike, length: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """A padded batch: numbers (b, n), 0 at padding, and positions (b, n, 3) in Angstrom, 0 at padding.

        n is the largest molecule among the rows, or `length` if given. Raises IndexError for rows outside
        the store, ValueError for a length too short.
        """
        rows = np.asarray(rows)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} reach outside the {len(self)} molecules.")
        first, sizes = self.offsets[rows], self.sizes[rows]
        largest = int(sizes.max(initial=0))
        if length is not None and length < largest:
            raise ValueError(f"length {length} is shorter than the largest molecule of the batch, {largest} atoms.")
        place = np.arange(largest if length is None else length)
        atoms, mask = first[:, None] + place, place < sizes[:, None]
        # Padding reads the atoms that follow (clipped at the end of the file) and is then zeroed.
        numbers = self.arrays["numbers"].take(atoms, mode="clip").astype(np.int64)
        positions = self._angstrom(self.arrays["positions"].take(atoms, axis=0, mode="clip"))
        return np.where(mask, numbers, 0), np.where(mask[..., None], positions, np.float32(0))

    def rows(
        self, split: str | None = None, max_atoms: int | None = None, min_atoms: int | None = None
    ) -> NDArray[np.int64]:
        """Rows (r,), rising, of one split ("train", "valid", "test"; all without one) and of these sizes."""
        keep = np.ones(len(self), dtype=bool)
        if split is not None:
            if split not in SPLITS:
                raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}.")
            keep &= self.split == SPLITS.index(split)
        if max_atoms is not None:
            keep &= self.sizes <= max_atoms
        if min_atoms is not None:
            keep &= self.sizes >= min_atoms
        return np.flatnonzero(keep)

    def select(self, keep: ArrayLike | Callable[[Store], ArrayLike]) -> NDArray[np.int64]:
        """Rows (r,) where a boolean mask (m,) holds; a function is called with the store to get the mask."""
        mask = np.asarray(keep(self) if callable(keep) else keep)
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise ValueError(
                f"the mask has shape {mask.shape} and dtype {mask.dtype}; "
                f"expected ({len(self)},) of bool, one entry a molecule."
            )
        return np.flatnonzero(mask)

    def verify(self) -> None:
        """Checks arrays against their checksums, columns and elements against each other; ValueError if damaged."""
        for name, entry in self.meta["arrays"].items():
            with array_file(self.path, name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != entry["sha256"]:
                raise ValueError(
                    f"the array {name} of the store {self.path} is damaged: its sha256 is {found[:16]}..., "
                    f"meta.json says {entry['sha256'][:16]}...; copy or build the store again."
                )
        lengths = {len(self.ids), len(self.split), *(len(values) for values in self.extra.values())}
        strange = np.bincount(self.arrays["numbers"], minlength=256).nonzero()[0].tolist()
        foreign = set(strange) - set(self.vocabulary)
        if lengths != {len(self)} or self.sizes.min() < 1 or self.split.max() >= len(SPLITS) or foreign:
            raise ValueError(f"the columns of the store {self.path} contradict each other; build it again.")

    def _column(self, name: str) -> NDArray:
        return columns.decode(self.arrays[name], self.meta["arrays"][name]["encoding"], len(self))

    def _angstrom(self, positions: NDArray) -> NDArray[np.float32]:
        if self.packed:
            return np.divide(positions, MILLI, dtype=np.float32)
        return positions.astype(np.float32)  # a copy: what is mapped is read-only
