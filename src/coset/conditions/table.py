"""Table: the conditions of a data set's molecules, as training asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from coset.conditions.fingerprints import fingerprints
from coset.conditions.layout import BITS, FINGERPRINTS, Layout, shares
from coset.molecule import Vocabulary

CHUNK = 4096


class Molecules(Protocol):
    """What a table reads: a store of molecules (`coset.data.store`)."""

    @property
    def extra(self) -> Mapping[str, NDArray]: ...

    @property
    def units(self) -> Mapping[str, str]: ...

    def __len__(self) -> int: ...

    def collate(self, rows: Any, length: int | None = None) -> tuple[NDArray, NDArray]: ...


@dataclass(frozen=True)
class Range:
    """Of a property over the training molecules: mean and deviation, by which it is standardised, and its ends."""

    mean: float
    deviation: float
    low: float
    high: float
    unit: str = ""

    def standardised(self, values: NDArray) -> NDArray:
        return (values - self.mean) / self.deviation


@dataclass(frozen=True)
class Table:
    """columns: of each kind a row a molecule of the store, fingerprints packed into bytes. known: which have it."""

    layout: Layout
    columns: Mapping[str, NDArray]
    known: Mapping[str, NDArray[np.bool_]]
    ranges: Mapping[str, Range]

    @classmethod
    def of(
        cls,
        store: Molecules,
        layout: Layout,
        vocabulary: Vocabulary,
        train: NDArray[np.int64],
        more: Mapping[str, NDArray] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> Table:
        """Reads and computes what the layout asks for. Raises ValueError for properties that are not there.

        train: rows that properties are standardised by. more: properties beside the store's, a number a molecule. One
        that is NaN is not known of its molecule. rows: those that will be asked for, all by default.
        """
        at_hand = {**store.extra, **(more or {})}
        missing = [name for name in layout.properties if name not in at_hand]
        if missing:
            have = ", ".join(name for name, values in at_hand.items() if values.ndim == 1) or "none"
            raise ValueError(
                f"the data has no property {', '.join(missing)} to be told of; its columns: {have}; make more with "
                "coset data properties (composition, pattern and morgan need none)"
            )
        columns: dict[str, NDArray] = {}
        known = {name: np.ones(len(store), bool) for name in layout.names}
        ranges = {}
        for name in layout.properties:
            values = np.asarray(at_hand[name], np.float64)
            known[name] = np.isfinite(values)
            ranges[name] = _range(name, values[train], store.units.get(name, ""))
            columns[name] = np.nan_to_num(ranges[name].standardised(values))[:, None].astype(np.float32)
        others = [name for name in layout.names if name not in columns]
        for name in others:
            bits = name in FINGERPRINTS
            columns[name] = np.zeros(
                (len(store), BITS // 8 if bits else layout.types), np.uint8 if bits else np.float32
            )
        used = np.arange(len(store)) if rows is None else np.sort(rows)
        for chunk in np.array_split(used, -(-len(used) // CHUNK)) if others else ():
            numbers, positions = store.collate(chunk)
            for name in others:
                if name in FINGERPRINTS:
                    bits, known[name][chunk] = fingerprints(name, numbers, positions)
                    columns[name][chunk] = np.packbits(bits, axis=1)
                else:
                    columns[name][chunk] = composition(numbers, vocabulary)
        return cls(layout, columns, known, ranges)

    def __call__(self, rows: NDArray[np.int64]) -> Float[Tensor, "b f"]:
        """`Condition.scalars` of these molecules."""
        scalars = torch.zeros(len(rows), self.layout.size)
        for name, place in self.layout.slices.items():
            values = self.columns[name][rows]
            values = np.unpackbits(values, axis=1) if name in FINGERPRINTS else values
            flag = torch.as_tensor(self.known[name][rows], dtype=torch.float32)[:, None]
            scalars[:, place] = torch.cat([flag, torch.as_tensor(values, dtype=torch.float32) * flag], 1)
        return scalars


def composition(numbers: NDArray, vocabulary: Vocabulary) -> NDArray[np.float32]:
    """`shares` of the elements (b, types) among the atoms of molecules padded with zeros."""
    return shares(np.stack([(numbers == element).sum(1) for element in vocabulary.numbers], 1))


def _range(name: str, values: NDArray, unit: str) -> Range:
    values = values[np.isfinite(values)]
    if len(values) < 2 or not values.std() > 0:
        raise ValueError(
            f"the property {name} cannot be told apart: it is known of {len(values)} molecules or constant"
        )
    return Range(float(values.mean()), float(values.std()), float(values.min()), float(values.max()), unit)
