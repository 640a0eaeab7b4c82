"""Sampling and training speed of one network against the plain loop: random batches padded to the data's largest
molecule, float32. Ratios of one run on one thread, by processor time, in turns; --quality also counts what 1,000
molecules of the packaged model are worth either way, from the same noise.

    OMP_NUM_THREADS=1 python benchmarks/throughput.py [--data qm9-sample,drug-like] [--rounds 3] [--compile] [--quality]

drug-like needs COSET_DATA. The network is a plain transformer, 384 wide and 12 deep (28.9 million parameters).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coset.data.batches import Batches
from coset.data.catalog import Dataset, open_dataset
from coset.diffusion import Diffusion
from coset.molecule import Vocabulary
from coset.networks.precision import bf16_slowdown, set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.sizes import SizeDistribution
from equal_quality import quality

LARGEST = {"qm9-sample": 29, "drug-like": 181}  # of QM9 and of GEOM-Drugs, to which the public code pads
MOLECULES = {"qm9-sample": 64, "drug-like": 24}  # drawn, and seen in training, a round
BATCH = {"qm9-sample": 64, "drug-like": 8}  # of the plain loop
TOKENS = 1024  # of a training batch; sampling has the sampler's own budget
STEPS = 10  # of sampling, fewer than in use, where what is done once a batch (casting weights) counts less


def chosen_rows(dataset: Dataset, count: int) -> NDArray[np.int64]:
    """Training molecules evenly over the sizes, so that a few stand for all."""
    rows = dataset.train[np.argsort(dataset.store.sizes[dataset.train], kind="stable")]
    return rows[((2 * np.arange(count) + 1) * len(rows)) // (2 * count)]


def seconds(job: Callable[[], object]) -> float:
    """Processor time: other processes on the machine do not count."""
    begun = time.process_time()
    job()
    return time.process_time() - begun


class Loops:
    """The same molecules through the plain loop and through ours. forward: compiled or not."""

    def __init__(self, name: str, compiled: bool) -> None:
        dataset = open_dataset(name)
        self.store, self.vocabulary = dataset.store, Vocabulary(dataset.vocabulary)
        settings = find_recipe("dit").resolve({"kernels": 184})
        self.diffusion: Diffusion = build("dit", settings, len(self.vocabulary))
        self.rows, self.longest = chosen_rows(dataset, MOLECULES[name]), LARGEST[name]
        self.sizes, self.each = self.store.sizes[self.rows].astype(np.int64), BATCH[name]
        self.times = power_grid(STEPS, 1.5)
        self.fast = usable_precision("bf16", "cpu")
        self.compiled = torch.compile(self.diffusion, dynamic=True) if compiled else self.diffusion

    def shuffled(self) -> list[NDArray[np.int64]]:
        order = np.random.default_rng(0).permutation(len(self.rows))
        return [order[start : start + self.each] for start in range(0, len(order), self.each)]

    def plain_sampling(self) -> None:
        set_trunk_precision(self.diffusion, "fp32")
        for places in self.shuffled():
            sizes = torch.as_tensor(self.sizes[places])
            like = empty_cloud(sizes, self.diffusion.codec.width, self.longest)
            sample(self.diffusion, like, Noise.from_seed(0, torch.as_tensor(places)), self.times)

    def sampling(self) -> None:
        set_trunk_precision(self.diffusion, self.fast)
        sizes = SizeDistribution({int(size): 1 for size in self.sizes})
        generator = Generator(self.diffusion, self.vocabulary, sizes, Sampling(steps=STEPS))
        generator._sizes = lambda seed, numbers: torch.as_tensor(self.sizes)[numbers]  # the very same
        drawn = sum(1 for _ in generator.draw(0, torch.arange(len(self.rows))))
        assert drawn == len(self.rows)

    def plain_training(self) -> None:
        set_trunk_precision(self.diffusion, "fp32")
        for places in self.shuffled():
            clean = self.vocabulary.cloud(*self.store.collate(self.rows[places], self.longest))
            self.diffusion.zero_grad(set_to_none=True)
            self.diffusion(clean, Noise.from_seed(0, torch.as_tensor(places))).mean().backward()

    def training(self) -> None:
        set_trunk_precision(self.diffusion, self.fast)
        for rows in Batches(self.sizes, tokens=TOKENS, rows=self.rows).epoch(0):
            clean = self.vocabulary.cloud(*self.store.collate(rows))
            self.diffusion.zero_grad(set_to_none=True)
            self.compiled(clean, Noise.from_seed(0, torch.as_tensor(rows))).mean().backward()


def table(names: list[str], rounds: int, compiled: bool) -> None:
    print("| data | atoms: mean, largest | what | plain, s | ours, s | times as fast | molecules/s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        loops = Loops(name, compiled)
        pairs = {
            f"sampling, {STEPS} steps": (loops.plain_sampling, loops.sampling),
            "training, a step": (loops.plain_training, loops.training),
        }
        for what, jobs in pairs.items():
            for job in jobs:
                job()  # what is made at first
            taken = np.array([[seconds(job) for job in jobs] for _ in range(rounds)])
            plain, ours = np.median(taken, 0)
            ratio = statistics.median((taken[:, 0] / taken[:, 1]).tolist())
            about = f"{loops.sizes.mean():.1f}, {loops.longest}"
            print(
                f"| {name} | {about} | {what} | {plain:.2f} | {ours:.2f} | {ratio:.1f} | {len(loops.rows) / ours:.1f} |"
            )


def flags() -> str:
    """What the processor says it can do with short floats."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.is_file() else ""
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return ", ".join(flag for flag in known if flag in text) or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="qm9-sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="our training step compiled")
    parser.add_argument("--quality", action="store_true")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); processor: {flags()}; a matrix product in "
        f"bf16 takes {bf16_slowdown():.2f} of its time in float32; ours runs in {usable_precision('bf16', 'cpu')}\n"
    )
    table(options.data.split(","), options.rounds, options.compile)
    if options.quality:
        quality()


if __name__ == "__main__":
    main()
