"""Training throughput with its share of the device's peak, and sampling of many molecules, on one GPU.

    python benchmarks/h200.py train  [--rows symdiff:+,symdiff:+++,edm:published] [--batch 1024] [--seconds 20]
    python benchmarks/h200.py sample [--rows coset:m,symdiff:+++] [-n 10000] [--steps 1000,100,10]

Weights are fresh: what a step costs does not depend on them. Molecules are the packaged sample of QM9's, repeated.
Runs on a CPU too, in minutes with --batch 16 --seconds 2 -n 8 --steps 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch

from coset.data.batches import Batches
from coset.data.catalog import open_dataset
from coset.diffusion import Diffusion
from coset.metrics.reference import load_reference
from coset.molecule import QM9
from coset.networks.precision import set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.recipes.settings import Training
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.training.ema import EMA
from coset.training.flops import Flops
from coset.training.optimisation import Clipper, make_optimiser

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 362e12}  # bf16, dense, as the maker states


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_of(device: str) -> tuple[float, str]:
    """FLOP a second of bf16 matrix products: the maker's where known, else of one large product."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
        for known, value in PEAKS.items():
            if known in name:
                return value, f"{name}, {value / 1e12:.0f} TFLOP/s by its maker"
    size = 8192 if device == "cuda" else 2048
    matrix = torch.randn(size, size, device=device).bfloat16()
    taken = []
    for _ in range(4):
        synchronise(device)
        begun = time.perf_counter()
        matrix @ matrix
        synchronise(device)
        taken.append(time.perf_counter() - begun)
    value = 2 * size**3 / min(taken)
    return value, f"{device}, {value / 1e12:.2f} TFLOP/s by one product of {size} x {size}"


def model_of(row: str, device: str) -> tuple[Diffusion, Training]:
    recipe, _, size = row.partition(":")
    settings = find_recipe(recipe).resolve({"size": size} if size else {})
    diffusion = build(recipe, settings, len(QM9)).to(device)
    set_trunk_precision(diffusion, usable_precision("bf16", device))
    return diffusion, settings


def clouds(batch: int, device: str):
    """Batches of like sizes, those that an epoch has, cut evenly from the smallest to the largest."""
    dataset = open_dataset("qm9-sample")
    rows = np.resize(dataset.train, max(len(dataset.train), 8 * batch))
    sizes = dataset.store.sizes[rows]
    found = Batches(sizes, molecules=batch, rows=rows).epoch(0)
    return [(QM9.cloud(*dataset.store.collate(each)).to(device), each) for each in found]


def train(row: str, batch: int, seconds: float, device: str, peak: float, compiled: bool) -> str:
    diffusion, settings = model_of(row, device)
    optimiser, clipper = make_optimiser(diffusion, settings), Clipper(2.0)
    average, flops = EMA(diffusion, (0.999,)), Flops.measure(diffusion, len(QM9))
    model, data = torch.compile(diffusion, dynamic=True) if compiled else diffusion, clouds(batch, device)
    parameters = list(diffusion.parameters())

    def step(number: int) -> tuple[int, float]:
        clean, rows = data[number % len(data)]
        optimiser.zero_grad(set_to_none=True)
        noise = Noise.from_seed(0, torch.as_tensor(rows, device=device)).at(torch.tensor(number))
        model(clean, noise).mean().backward()
        clipper(parameters)
        optimiser.step()
        average.update(number)
        return len(rows), flops(len(rows), clean.x.shape[1])

    for number in range(len(data) if compiled else 1):
        step(number)  # compiles, and finds what fits the shapes
    molecules, work, number = 0, 0.0, 0
    synchronise(device)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        more = step(number)
        molecules, work, number = molecules + more[0], work + more[1], number + 1
        synchronise(device)
    taken = time.perf_counter() - begun
    count = sum(p.numel() for p in parameters)
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if device == "cuda" else ""
    cells = f"{count:,}", f"{batch}", f"{molecules / taken:,.0f}", f"{work / taken / 1e12:.2f}"
    return f"| {row} | {' | '.join(cells)} | {100 * work / taken / peak:.1f} | {memory} |"


def draw(row: str, n: int, steps: int, device: str) -> str:
    diffusion, _ = model_of(row, device)
    sizes = SizeDistribution(dict(load_reference("qm9").sizes))

    def run(count: int, sampling: Sampling) -> float:
        generator = Generator(diffusion, QM9, sizes, sampling)
        synchronise(device)
        begun = time.perf_counter()
        drawn = sum(1 for _ in generator.draw(0, torch.arange(count)))
        assert drawn == count
        return time.perf_counter() - begun

    run(min(n, 64), Sampling(steps=1))  # what is made at first
    taken = run(n, Sampling(steps=steps))
    return f"| {row} | {n:,} | {steps} | {taken:.1f} | {n / taken:,.1f} |"


def table(heading: str, rows: Iterable[str], make: Callable[[str], list[str]]) -> None:
    names = [part.strip() for part in heading.split("|")]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        for line in make(row):
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "sample"))
    parser.add_argument("--rows", help="RECIPE:SIZE, parted by commas")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--steps", default="1000,100,10")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak, said = peak_of(device)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); {said}\n")
    if options.what == "train":
        rows = (options.rows or "symdiff:+,symdiff:+++,edm:published").split(",")
        heading = "model | parameters | batch | molecules/s | TFLOP/s | of the peak, % | GiB"
        given = options.batch, options.seconds, device, peak, not options.no_compile
        table(heading, rows, lambda row: [train(row, *given)])
    else:
        rows, steps = (options.rows or "coset:m,symdiff:+++").split(","), [int(k) for k in options.steps.split(",")]
        heading = "model | molecules | steps | seconds | molecules/s"
        table(heading, rows, lambda row: [draw(row, options.n, k, device) for k in steps])


if __name__ == "__main__":
    main()
