"""Batches of like-sized molecules under a budget of memory, in an order that seed and epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIRS = 2**19  # padded pairs of atoms for passes without gradients: half a gigabyte for every 256 channels of them


class Batches:
    """Cuts an epoch into batches of molecules of nearly equal size.

    Molecules are ranked by size, those of one size in random order, and the ranking is cut from the small
    end into the fullest batches that keep to all limits, so rare sizes share a batch with their neighbours
    and padding is rare. Every molecule comes once an epoch; the order of the batches is random. The last
    cut is shared evenly with the one before, so no batch of an epoch is a tiny remainder.

    sizes (m,): atoms of each molecule. tokens: most atoms of a batch, padding included. molecules: most
    molecules of a batch; alone it gives the fixed batch size of published recipes. pairs: most pairs of
    atoms, padding included, which is what networks of pairs need memory for. At least one of the three.
    rows (m,): what is yielded for each molecule; its index into sizes by default. Raises ValueError where
    a molecule alone exceeds `tokens` or `pairs`.

        batches = Batches(store.sizes[train], tokens=4096, seed=0, rows=train)
        for epoch, batch, rows in batches.stream(epoch=2, batch=17):
            numbers, positions = store.collate(rows)
    """

    def __init__(
        self,
        sizes: ArrayLike,
        tokens: int | None = None,
        seed: int = 0,
        molecules: int | None = None,
        rows: ArrayLike | None = None,
        pairs: int | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes)
        self.tokens, self.molecules, self.pairs, self.seed = tokens, molecules, pairs, seed
        self.rows = np.arange(len(self.sizes)) if rows is None else np.asarray(rows)
        if not len(self.sizes) or len(self.rows) != len(self.sizes):
            raise ValueError(
                f"{len(self.sizes)} sizes and {len(self.rows)} rows make no batches; give one of each a molecule."
            )
        if tokens is None and molecules is None and pairs is None:
            raise ValueError("batches need a limit: tokens (padded atoms), pairs (of them) or molecules.")
        if molecules is not None and molecules < 1:
            raise ValueError(f"a batch holds at least 1 molecule, got molecules={molecules}.")
        largest = int(self.sizes.max())
        for name, limit, needed in (("tokens", tokens, largest), ("pairs", pairs, largest**2)):
            if limit is not None and needed > limit:
                raise ValueError(
                    f"a molecule of {largest} atoms exceeds the budget of {limit} {name} a batch; raise it to {needed} "
                    "or leave such molecules out."
                )
        # Ranked sizes are the same in every epoch, and so are the cuts.
        ranked = np.sort(self.sizes)
        self._cuts = _cuts(ranked, tokens, molecules, pairs)
        self._largest = ranked[self._cuts[1:] - 1]

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._cuts) - 1

    @property
    def padding(self) -> float:
        """Padded over real atoms of an epoch; 1 is no waste."""
        return float((np.diff(self._cuts) * self._largest).sum() / self.sizes.sum())

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of one epoch, each the rows of its molecules."""
        # Raw output of a counter-based generator: the same in every version of NumPy.
        bits = np.random.Philox(np.random.SeedSequence([self.seed, epoch]))
        keys = bits.random_raw(len(self.sizes))  # in place from here on: there may be millions
        keys >>= np.uint64(16)
        keys |= self.sizes.astype(np.uint64) << np.uint64(48)
        ranking = np.argsort(keys, kind="stable")
        batches = np.split(self.rows[ranking], self._cuts[1:-1])
        return [batches[i] for i in np.argsort(bits.random_raw(len(batches)), kind="stable")]

    def stream(self, epoch: int = 0, batch: int = 0) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Yields (epoch, batch, rows) for ever, beginning with that batch of that epoch.

        To go on after (e, k, rows), ask for `stream(e, k + 1)`; k + 1 may be the number of batches.
        """
        if not 0 <= batch <= len(self) or epoch < 0:
            raise ValueError(f"there is no batch {batch} of epoch {epoch}; an epoch has batches 0 to {len(self) - 1}.")
        return self._stream(epoch, batch)

    def _stream(self, epoch: int, batch: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        while True:
            for number, rows in enumerate(self.epoch(epoch)[batch:], start=batch):
                yield epoch, number, rows
            epoch, batch = epoch + 1, 0


def passes(sizes: ArrayLike, molecules: int, rows: ArrayLike) -> list[NDArray[np.int64]]:
    """Rows in batches of at most so many molecules for passes without gradients: within `PAIRS`, whatever comes."""
    largest = int(np.max(sizes, initial=1))
    return Batches(sizes, molecules=molecules, rows=rows, pairs=max(PAIRS, largest**2)).epoch(0)


def _cuts(ranked: NDArray, tokens: int | None, molecules: int | None, pairs: int | None) -> NDArray[np.int64]:
    """Where to cut rising sizes (m,): 0, ..., m. The padded length of a batch is its last size."""
    # How many molecules a batch may have whose largest is a given one; it falls as they grow.
    most = np.full(len(ranked), len(ranked) if molecules is None else molecules)
    long = ranked.astype(np.int64)
    for limit, each in ((tokens, long), (pairs, long**2)):
        if limit is not None:
            most = np.minimum(most, limit // each)
    cuts = [0]
    while cuts[-1] < len(ranked):
        start = cuts[-1]
        within = most[start : start + most[start]]
        cuts.append(start + int(np.searchsorted(np.arange(1, len(within) + 1) - within, 0, side="right")))
    if len(cuts) > 2:
        both = cuts[-1] - cuts[-3]
        cuts[-2] = cuts[-1] - max(min(both // 2, int(most[-1])), cuts[-1] - cuts[-2])
    return np.array(cuts)
