"""Padding waste of batching schemes, and the speed of the store.

Run: COSET_DATA=... python benchmarks/batching.py [data set]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from coset.data import Batches, Dataset, Store, open_dataset


def random_padding(sizes: NDArray, molecules: int, length: int | None) -> float:
    """Padded over real atoms of random batches, each padded to its largest molecule or to a fixed length."""
    order = np.random.default_rng(0).permutation(len(sizes))
    starts = range(0, len(sizes), molecules)
    chunks = [sizes[order[start : start + molecules]] for start in starts]
    return sum(len(chunk) * (length or chunk.max()) for chunk in chunks) / sizes.sum()


def padding(data: Dataset) -> None:
    sizes = data.store.sizes[data.train]
    print(f"{data.name}: {len(sizes):,} training molecules, {sizes.mean():.2f} atoms on average")
    print(f"{'scheme':<44}{'batches':>8}{'molecules':>11}{'padded/real':>13}{'fill':>8}")
    for molecules in (64, 256):
        for length in (None, int(sizes.max())):
            name = f"random {molecules}, padded to " + (f"{length}" if length else "the batch's largest")
            waste, count = random_padding(sizes, molecules, length), -(-len(sizes) // molecules)
            print(f"{name:<44}{count:>8}{molecules:>11}{waste:>13.4f}")
        report(f"like sizes, {molecules} molecules", Batches(sizes, molecules=molecules), None)
    for tokens in (512, 1024, 2048, 4096, 16384):
        report(f"like sizes, {tokens} tokens", Batches(sizes, tokens), tokens)


def report(name: str, batches: Batches, tokens: int | None) -> None:
    real = batches.sizes.sum()
    fill = f"{batches.padding * real / len(batches) / tokens:.1%}" if tokens else ""
    each = len(batches.sizes) / len(batches)
    print(f"{name:<44}{len(batches):>8}{each:>11.1f}{batches.padding:>13.4f}{fill:>8}")


def best(job: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        job()
        times.append(perf_counter() - start)
    return min(times)


def speed(data: Dataset) -> None:
    store = data.store
    opened = best(lambda: Store.open(store.path))
    print(f"open {opened * 1e3:.2f} ms; verify {best(store.verify, 3) * 1e3:.0f} ms")
    for tokens in (1024, 4096, 16384):
        batches = Batches(store.sizes[data.train], tokens, rows=data.train)
        chosen = batches.epoch(0)[:200]
        seconds = best(lambda chosen=chosen: [store.collate(rows) for rows in chosen]) / len(chosen)
        rate = len(data.train) / len(batches) / seconds / 1e6
        order = best(lambda batches=batches: batches.epoch(1))
        print(
            f"{tokens} tokens: collate {seconds * 1e6:.0f} us a batch, {rate:.2f} M molecules/s; "
            f"order of an epoch {order * 1e3:.1f} ms"
        )


if __name__ == "__main__":
    dataset = open_dataset(sys.argv[1] if len(sys.argv) > 1 else "qm9")
    padding(dataset)
    speed(dataset)
