"""Forward and backward of the published networks: padded against bucketed batches, fp32 against bf16 trunks, and the
split first edge layer against the concatenation it replaces. Prints medians and ratios of one interleaved run.

    python benchmarks/networks.py [--threads 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.data.batches import Batches
from coset.data.catalog import open_dataset
from coset.molecule import QM9
from coset.networks.messages import PairLinear
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe

LARGEST, MOLECULES = 29, 16  # QM9's largest molecule, to which EDM's sampler pads; molecules a batch


Batch = tuple[Cloud, Tensor]


def batches(count: int) -> tuple[list[Batch], list[Batch]]:
    """The same molecules twice: in random batches padded to the largest size of all, and in batches of like size.

    The latter are drawn evenly from the sizes that occur, so a few of them stand for the whole data set.
    """
    dataset = open_dataset("qm9-sample")
    sizes = dataset.store.sizes
    ranked = sorted(
        Batches(sizes[dataset.train], molecules=MOLECULES, rows=dataset.train).epoch(0),
        key=lambda rows: sizes[rows].sum(),
    )
    bucketed = [ranked[(2 * i + 1) * len(ranked) // (2 * count)] for i in range(count)]
    padded = np.array_split(np.random.default_rng(0).permutation(np.concatenate(bucketed)), count)

    def batch(rows: NDArray, length: int | None) -> Batch:
        return QM9.cloud(*dataset.store.collate(rows, length)), torch.as_tensor(rows)

    return [batch(rows, LARGEST) for rows in padded], [batch(rows, None) for rows in bucketed]


def step(model: nn.Module, data: list[Batch], precision: str) -> Callable[[], None]:
    def run() -> None:
        set_trunk_precision(model, precision)
        for clean, rows in data:
            model.zero_grad(set_to_none=True)
            model(clean, Noise.from_seed(0, rows)).mean().backward()

    return run


def concatenated(self: PairLinear, h: Tensor, edges: Tensor | None) -> Tensor:
    """What `PairLinear` computes, with the (b, n, n, 2 w + e) tensor made."""
    n = h.shape[1]
    parts = [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1)]
    return nn.Linear.forward(self, torch.cat(parts if edges is None else [*parts, edges], -1))


def with_concatenation(run: Callable[[], None]) -> Callable[[], None]:
    def swapped() -> None:
        split, PairLinear.forward = PairLinear.forward, concatenated
        try:
            run()
        finally:
            PairLinear.forward = split

    return swapped


def compare(title: str, runs: dict[str, Callable[[], None]], molecules: int, rounds: int) -> None:
    """Times the runs in turn, A B C A B C ..., and prints each median and its speed relative to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        spread = f"{molecules / high:.1f} - {molecules / low:.1f}"
        print(f"| {title} | {name} | {molecules / median:.1f} | {spread} | {first / median:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} thread(s), {arguments.rounds} rounds, torch {torch.__version__}\n")
    print("| forward + backward | variant | molecules/s | lowest - highest | ratio |\n|---|---|---|---|---|")
    for name, size, count in (("edm", "published", 3), ("symdiff", "+++", 3)):
        model = build(name, find_recipe(name).resolve({"size": size}), types=5)
        padded, bucketed = batches(count)
        runs = {
            "padded to 29, fp32": step(model, padded, "fp32"),
            "bucketed, fp32": step(model, bucketed, "fp32"),
            "bucketed, bf16 trunk": step(model, bucketed, "bf16"),
        }
        if name == "edm":
            runs["bucketed, fp32, concatenated edges"] = with_concatenation(step(model, bucketed, "fp32"))
        molecules = sum(len(rows) for _, rows in bucketed)
        compare(f"{name} {size}", runs, molecules, arguments.rounds)


if __name__ == "__main__":
    main()
