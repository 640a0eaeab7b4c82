"""What is padding in batches of training and of sampling, and the speed of the store.

Run: COSET_DATA=... python benchmarks/batching.py [data set]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from coset.data import Batches, Dataset, Store, open_dataset
from coset.data.batches import PAIRS
from coset.samplers.batches import by_size


def padded(sizes: NDArray, batches: Sequence[NDArray], length: int | None = None) -> tuple[float, float]:
    """The shares (%) of atoms and of pairs of atoms that are padding, in batches of places in `sizes`.

    length: what all are padded to, else each batch to its largest.
    """
    long = np.array([length or int(sizes[places].max()) for places in batches])
    count, real = np.array([len(places) for places in batches]), sizes.astype(np.int64)
    return tuple(100 * float(1 - (real**power).sum() / (count * long**power).sum()) for power in (1, 2))  # type: ignore


def random_batches(sizes: NDArray, molecules: int) -> list[NDArray]:
    order = np.random.default_rng(0).permutation(len(sizes))
    return [order[start : start + molecules] for start in range(0, len(order), molecules)]


def padding(data: Dataset) -> None:
    sizes = data.store.sizes[data.train].astype(np.int64)
    print(
        f"{data.name}: {len(sizes):,} training molecules, {sizes.mean():.2f} atoms on average, {sizes.max()} at most\n"
    )
    print("| scheme | batches | molecules | padded atoms, % | padded pairs, % |")
    print("|---|---|---|---|---|")
    for molecules, length in ((64, int(sizes.max())), (64, None), (256, None)):
        name = f"training, random {molecules}, to " + (f"{length} atoms" if length else "the batch's largest")
        report(name, sizes, random_batches(sizes, molecules), length)
    for molecules in (64, 128, 256):
        report(f"training, {molecules} molecules of like size", sizes, Batches(sizes, molecules=molecules).epoch(0))
    for tokens in (1024, 4096, 16384):
        report(f"training, {tokens:,} atoms of like size", sizes, Batches(sizes, tokens).epoch(0))
    generator = np.random.default_rng(0)
    for count, tokens, device in ((1_000, 256, "CPU"), (10_000, 256, "CPU"), (10_000, 16384, "GPU")):
        drawn = generator.choice(sizes, count)
        batches = [places.numpy() for places in by_size(torch.as_tensor(drawn), tokens, PAIRS)]
        report(f"sampling {count:,}, {tokens:,} atoms ({device})", drawn, batches)


def report(name: str, sizes: NDArray, batches: Sequence[NDArray], length: int | None = None) -> None:
    atoms, pairs = padded(sizes, batches, length)
    print(f"| {name} | {len(batches):,} | {len(sizes) / len(batches):.1f} | {atoms:.2f} | {pairs:.2f} |")


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
    print(f"\nopen {opened * 1e3:.2f} ms; verify {best(store.verify, 3) * 1e3:.0f} ms")
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
