"""Cost of a learned noising process: a training step and a sampling step of END's variants against EDM with the same
network at equal widths. Prints medians and ratios of one interleaved run, with the network passes that explain them.

    python benchmarks/learned_process.py [--threads 1] [--rounds 3] [--sizes published,small]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from coset.cloud import Cloud
from coset.data.catalog import open_dataset
from coset.diffusion import Diffusion
from coset.molecule import QM9
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe

MOLECULES = 16  # a batch, of like sizes around the middle of the packaged sample
WIDTHS = {
    "published": {"width": 256, "vector_width": 256, "edge_width": 64, "depth": 5},
    "small": {"width": 64, "vector_width": 32, "edge_width": 32, "depth": 4},
}
# Variant: recipe, its settings, and what a step costs in forward passes of one network: a pass with its derivative in
# time counts 2, a backward pass twice what it goes back through. (training, sampling)
VARIANTS = {
    "edm_eqgat": ("edm_eqgat", {}, ("1 + 2 = 3", "1")),
    "end_fixed": ("end_fixed", {}, ("1 + 2 = 3", "1")),
    "end, renewal": ("end", {}, ("5 + 10 = 15", "1 + 2 x 1 = 3")),
    "end, Euler-Maruyama": ("end", {"step": "euler"}, ("5 + 10 = 15", "1 + 2 = 3")),
    "end_mu_only, renewal": ("end_mu_only", {}, ("5 + 10 = 15", "1 + 2 x 1 = 3")),
    "end_direct": ("end_direct", {}, ("3 + 6 = 9", "1")),
}
Variants = dict[str, Diffusion]


def batch() -> tuple[Cloud, Noise]:
    store = open_dataset("qm9-sample").store
    ranked = store.sizes.argsort(kind="stable")
    rows = ranked[(len(ranked) - MOLECULES) // 2 :][:MOLECULES]
    return QM9.cloud(*store.collate(rows)), Noise.from_seed(0, torch.as_tensor(rows))


def training(model: Diffusion) -> Callable[[], None]:
    """Forward and backward, without the optimiser's step."""
    clean, noise = batch()

    def run() -> None:
        model.zero_grad(set_to_none=True)
        model(clean, noise).mean().backward()

    return run


def sampling(model: Diffusion) -> Callable[[], None]:
    """From the middle of time one hundredth down."""
    clean, noise = batch()
    process, x0 = model.process, model.codec.encode(clean)
    t, s = (torch.full((len(x0),), time, dtype=torch.float64) for time in (0.5, 0.49))
    z = process.noised(x0, t).sample(noise)

    @torch.no_grad()
    def run() -> None:
        process.reverse(z, t, s, model.denoiser(z, t)).sample(noise)

    return run


def medians(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, sorted; they take turns, A B C A B C ..., after one that is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: sorted(values) for name, values in seconds.items()}


def compare(size: str, models: Variants, rounds: int) -> None:
    for place, (what, prepare) in enumerate({"training": training, "sampling": sampling}.items()):
        repeats = rounds if what == "training" else 3 * rounds
        found = medians({name: prepare(model) for name, model in models.items()}, repeats)
        first = statistics.median(next(iter(found.values())))
        for name, seconds in found.items():
            median, passes = statistics.median(seconds), VARIANTS[name][2][place]
            spread = f"{1000 * seconds[0]:.1f} - {1000 * seconds[-1]:.1f}"
            print(
                f"| {size} | {what} | {name} | {passes} | {1000 * median:.1f} | {spread} | {median / first:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default=",".join(WIDTHS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    atoms = batch()[0].x.shape[1]
    print(f"{MOLECULES} molecules of up to {atoms} atoms, {arguments.threads} thread(s), torch {torch.__version__}\n")
    print("| size | step | variant | passes | ms, median | lowest - highest | ratio |\n|---|---|---|---|---|---|---|")
    for size in arguments.sizes.split(","):
        models = {
            name: build(recipe, find_recipe(recipe).resolve(WIDTHS[size] | settings), types=5).train()
            for name, (recipe, settings, _) in VARIANTS.items()
        }
        compare(size, models, arguments.rounds)


if __name__ == "__main__":
    main()
