"""References of data sets: measured of all molecules, or of a sample where there are millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from coset.data.catalog import Dataset
from coset.data.store import Store
from coset.metrics.protocol import protocol_of
from coset.metrics.reference import Reference
from coset.metrics.reference_building import build_reference
from coset.molecule import Molecule

TRAIN, TEST = 300_000, 30_000  # rows at most that are measured; QM9 stays whole


@dataclass(frozen=True, eq=False)
class Stored(Sequence[Molecule]):
    """Molecules of a store, read when they are asked for: a million of them take no memory."""

    store: Store
    chosen: Int[NDArray[np.int64], "m"]

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, place: int) -> Molecule: ...
    @overload
    def __getitem__(self, place: slice) -> list[Molecule]: ...
    def __getitem__(self, place: int | slice) -> Molecule | list[Molecule]:
        if isinstance(place, slice):
            return [self._read(row) for row in self.chosen[place]]
        return self._read(self.chosen[place])

    def __iter__(self) -> Iterator[Molecule]:
        return map(self._read, self.chosen)

    def _read(self, row: np.int64) -> Molecule:
        numbers, positions = self.store[int(row)]
        return Molecule(numbers.astype(np.int64), positions.astype(np.float64))


def reference_of(
    dataset: Dataset,
    protocol: str | None = None,
    workers: int = 1,
    most: tuple[int, int] = (TRAIN, TEST),
) -> Reference:
    """Measures the train and test rows of a data set, its validation rows where it has no others.

    protocol: a name of `PROTOCOLS`; by the vocabulary without (`protocol_of`). most: of either part so many rows, drawn
    by seed 0, as conformers come, so that histograms and sizes are those of the set. Novelty is told from all of the
    training set even so: of one row of each `group`, or of every row where there are none. Holds the SMILES of what is
    measured, and no more than a few molecules at a time. Raises ValueError where a part is empty.
    """
    held = dataset.test if len(dataset.test) else dataset.valid
    train, test = _some(dataset.train, most[0]), _some(held, most[1])
    more = dataset.train[:0] if len(train) == len(dataset.train) else _one_each(dataset)
    known, own, rest = (Stored(dataset.store, rows) for rows in (train, test, more))
    return build_reference(dataset.name, known, own, protocol or protocol_of(dataset.vocabulary), rest, workers)


def _some(rows: Int[NDArray[np.int64], "m"], most: int) -> Int[NDArray[np.int64], "k"]:
    """All rows, or so many of them in their order."""
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _one_each(dataset: Dataset) -> Int[NDArray[np.int64], "g"]:
    """The first training row of each group."""
    groups = dataset.store.extra.get("group")
    return dataset.train if groups is None else dataset.train[np.unique(groups[dataset.train], return_index=True)[1]]
