"""StoreWriter: writes a molecule store chunk by chunk, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from coset.data import columns
from coset.data.arrays import ArrayWriter
from coset.data.layout import BASE, DTYPES, FORMAT, MILLI, SPLITS, VERSION, array_file
from coset.data.store import Store

_LARGEST = 65_535  # atoms of one molecule


class StoreWriter:
    """Streams molecules into a new store; a context manager.

    Everything goes to a hidden folder beside the target, which takes the target's name when the block ends
    and is removed if it raises: a reader never sees half a store, and of two processes writing the same one
    the second gets FileExistsError. RAM does not grow with the store, but a packed one reads its three
    per-molecule columns (17 bytes a molecule) back once at the end.

    vocabulary: atomic numbers to name beside those that occur. units: of further columns, by name.

        with StoreWriter("molecules", source="...", licence="CC0-1.0") as writer:
            for chunk in chunks:
                writer.append(chunk.numbers, chunk.positions, chunk.sizes)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        source: str = "",
        licence: str = "",
        packed: bool = False,
        vocabulary: Iterable[int] = (),
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.packed = packed
        self.molecules = self.atoms = 0
        self._about = {"name": name or self.path.name, "source": source, "licence": licence}
        self._seen = np.zeros(256, dtype=bool)
        self._seen[[int(number) for number in vocabulary]] = True
        self._arrays: dict[str, ArrayWriter] = {}
        self._units = dict(units or {})
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists already; remove it or choose another name for the store.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = self.path.parent / f".{self.path.name}.{uuid.uuid4().hex}.tmp"
        self._folder.mkdir()

    def append(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        sizes: ArrayLike,
        *,
        ids: ArrayLike | None = None,
        split: ArrayLike = 0,
        **extra: ArrayLike,
    ) -> None:
        """Adds c molecules of a atoms in all.

        numbers (a,), positions (a, 3) in Angstrom, sizes (c,) atoms of each molecule. ids (c,), default the
        row. split (c,) or one for all: 0 train, 1 valid, 2 test. extra: further arrays (c, ...), the same
        names in every chunk. Raises ValueError, and writes nothing of the chunk, where they do not fit.
        """
        numbers, positions, sizes = np.asarray(numbers), np.asarray(positions), np.asarray(sizes)
        check_atoms(numbers, positions, sizes)
        count = len(sizes)
        if not count:
            return
        if ids is None:
            ids = np.arange(self.molecules, self.molecules + count)
        split = np.broadcast_to(split, (count,)) if np.ndim(split) == 0 else np.asarray(split)
        if split.min() < 0 or split.max() >= len(SPLITS):
            raise ValueError(f"split must be 0 (train), 1 (valid) or 2 (test), got {split.min()} to {split.max()}.")
        per_molecule = {"ids": np.asarray(ids), "split": split} | {k: np.asarray(v) for k, v in extra.items()}
        self._check_columns(per_molecule, count)
        offsets = self.atoms + np.cumsum(sizes, dtype=np.int64)
        if not self.molecules:
            offsets = np.concatenate([np.zeros(1, np.int64), offsets])
        self._write("positions", self._stored(positions), "<i2" if self.packed else "<f4")
        self._write("numbers", numbers, "|u1")
        self._write("offsets", offsets, "<i8")
        for name, values in per_molecule.items():
            self._write(name, values, {"ids": "<i8", "split": "|u1"}.get(name, values.dtype.newbyteorder("<")))
        self._seen[np.unique(numbers)] = True
        self.molecules += count
        self.atoms += len(numbers)

    def column(self, name: str) -> NDArray:
        """A column as written so far, (m, ...), mapped read-only."""
        return self._arrays[name].read()

    def replace(self, name: str, values: NDArray) -> None:
        """Puts other values (m,) in the place of a column, once every molecule is there."""
        self._check_columns({name: values}, self.molecules, partial=True)
        dtype = self._arrays[name].dtype
        self.drop(name)
        self._arrays[name] = ArrayWriter.of(array_file(self._folder, name), values.astype(dtype))

    def drop(self, name: str) -> None:
        """Leaves a column out after all."""
        array = self._arrays.pop(name)
        array.abandon()
        array.path.unlink()

    def finish(self) -> Store:
        """Completes the store under its name and opens it. Raises FileExistsError if the name got taken."""
        if not self.molecules:
            raise ValueError(f"no molecule was appended to the store {self.path}; a store holds at least one.")
        with _named(self.path):
            return self._finish()

    def abandon(self) -> None:
        """Removes what was written so far."""
        for array in self._arrays.values():
            array.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._folder.exists():
                self.finish()
        finally:
            self.abandon()  # after finish() the hidden folder is gone already

    def _finish(self) -> Store:
        for array in self._arrays.values():
            array.close()
        entries = {name: array.entry() for name, array in self._arrays.items()}
        if self.packed:
            entries |= {name: self._pack(name) for name in ("offsets", "ids", "split")}
        meta = {
            "format": FORMAT,
            "version": VERSION,
            **self._about,
            "molecules": self.molecules,
            "atoms": self.atoms,
            "vocabulary": np.flatnonzero(self._seen).tolist(),
            "arrays": entries,
        }
        if units := {name: unit for name, unit in self._units.items() if name in entries}:
            meta["units"] = units
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        try:
            os.rename(self._folder, self.path)
        except OSError as error:
            if self.path.exists():
                raise FileExistsError(f"{self.path} was made by another process meanwhile.") from error
            raise
        return Store.open(self.path)

    def _stored(self, positions: NDArray) -> NDArray:
        if not self.packed:
            return positions
        stored = np.rint(positions * float(MILLI))
        if np.abs(stored).max() > np.iinfo(np.int16).max:
            raise ValueError(
                f"a packed store holds positions within 32.767 Angstrom of the origin, got "
                f"{np.abs(positions).max():.3f}; centre the molecules or write an unpacked store."
            )
        return stored

    def _check_columns(self, values: dict[str, NDArray], count: int, partial: bool = False) -> None:
        for name, array in values.items():
            known = "iu" if name in BASE else "biuf"
            if len(array) != count or array.dtype.kind not in known or array.dtype.newbyteorder("<").str not in DTYPES:
                raise ValueError(
                    f"{name} has {len(array)} entries of {array.dtype}; "
                    f"expected {count} numbers, one a molecule (integers for ids and split)."
                )
            if name == "offsets":
                raise ValueError("'offsets' follows from the sizes; choose another name for the array.")
        if partial:
            return
        known = {name: array for name, array in self._arrays.items() if name not in BASE}
        if self.molecules and set(known) != set(values) - set(BASE):
            raise ValueError(
                f"this chunk has the further arrays {sorted(set(values) - set(BASE))}, "
                f"the ones before {sorted(known)}; give every chunk the same."
            )
        for name, array in known.items():
            dtype, tail = values[name].dtype, values[name].shape[1:]
            if array.tail != tail or not np.can_cast(dtype, array.dtype, "same_kind"):
                raise ValueError(
                    f"{name} has dtype {dtype} and row shape {tail}; "
                    f"the chunks before had {array.dtype} and {array.tail}."
                )

    def _write(self, name: str, values: NDArray, dtype: DTypeLike) -> None:
        if name not in self._arrays:
            self._arrays[name] = ArrayWriter(array_file(self._folder, name), np.dtype(dtype), values.shape[1:])
        with _named(self.path):
            self._arrays[name].append(values)

    def _pack(self, name: str) -> dict[str, Any]:
        """Replaces a column on disk by its short form."""
        values, encoding = columns.encode(name, np.array(self._arrays[name].read()))
        return ArrayWriter.of(array_file(self._folder, name), values, encoding).entry()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives an OSError the store's name where it has no file's: that of a full disk says nothing of its own."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def check_atoms(numbers: NDArray, positions: NDArray, sizes: NDArray) -> None:
    """Raises ValueError where concatenated numbers (a,), positions (a, 3), sizes (c,) make no molecules."""
    if numbers.ndim != 1 or sizes.ndim != 1 or positions.shape != (len(numbers), 3):
        raise ValueError(
            f"numbers, positions and sizes have shapes {numbers.shape}, {positions.shape} and {sizes.shape}; "
            "expected (a,), (a, 3) and (c,)."
        )
    if numbers.dtype.kind not in "iu" or sizes.dtype.kind not in "iu":
        raise ValueError(f"numbers and sizes must be integers, got {numbers.dtype} and {sizes.dtype}.")
    if sizes.sum() != len(numbers):
        raise ValueError(f"the sizes add up to {sizes.sum()} atoms, but {len(numbers)} atoms are given.")
    if sizes.size and (sizes.min() < 1 or sizes.max() > _LARGEST):
        raise ValueError(f"molecules have 1 to {_LARGEST} atoms, got {sizes.min()} to {sizes.max()}.")
    if numbers.size and (numbers.min() < 1 or numbers.max() > 118):
        raise ValueError(f"atomic numbers lie between 1 and 118, got {numbers.min()} to {numbers.max()}.")
    if not np.isfinite(positions).all():
        raise ValueError("positions must be finite numbers in Angstrom, got infinite or NaN ones.")


def copy(
    store: Store,
    target: str | Path,
    rows: ArrayLike | None = None,
    *,
    packed: bool = False,
    name: str | None = None,
    source: str | None = None,
) -> Store:
    """A new store of some rows of another (all without `rows`), in their order, packed or not."""
    rows = np.arange(len(store)) if rows is None else np.asarray(rows)
    about = {"source": source or store.meta.get("source", ""), "licence": store.meta.get("licence", "")}
    with StoreWriter(
        target, name=name, packed=packed, vocabulary=store.vocabulary, units=store.units, **about
    ) as writer:
        for start in range(0, len(rows), 4096):
            chunk = rows[start : start + 4096]
            numbers, positions = store.collate(chunk)
            extra = {key: values[chunk] for key, values in store.extra.items()}
            writer.append(
                numbers[numbers > 0],
                positions[numbers > 0],
                store.sizes[chunk],
                ids=store.ids[chunk],
                split=store.split[chunk],
                **extra,
            )
    return Store.open(target)
