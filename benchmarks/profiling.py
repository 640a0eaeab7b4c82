"""Where the time of training and of sampling goes, with throughput, the share of the peak, memory, and the data's part.

    OMP_NUM_THREADS=1 python benchmarks/profiling.py train  [--recipe dit] [--data qm9-sample] [--set tokens=1024 ...]
    OMP_NUM_THREADS=1 python benchmarks/profiling.py sample [--recipe dit] [-n 64] [--sampler-steps 4]

Runs the parts of the training loop as it does, first without a profiler for the rates, then under torch's for the
shares. On a CPU by processor time, which other processes do not add to; on a GPU by the clock, and shares are of the
device's time. The peak is a matrix product that the same machine is timed at, in the same precision. Weights are fresh.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from coset.networks.precision import set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.registry import find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.training.loop import backward
from coset.training.molecule_run import MoleculeRun
from coset.training.runs import prepare
from coset.training.state import State

KINDS = {
    "attention": ("attention", "softmax", "bmm"),  # written out it is batched products and their softmax
    "matrix products": ("mm", "matmul", "linear", "_mul_grouped"),
    "normalisation": ("norm",),
    "casts, copies, gathering": ("copy", "cat", "index", "gather", "scatter", "contiguous", "clone", "fill", "zero"),
    "bookkeeping (views, autograd)": (
        "view", "reshape", "transpose", "permute", "expand", "squeeze", "slice", "select", "split", "detach", "empty",
        "as_strided", "backward0", "evaluate_function", "accumulategrad", "unbind", "chunk", "aten::t", "aten::to",
        "alias", "resolve", "unflatten", "_unsafe",
    ),
}  # fmt: skip
SCOPES = ("data", "noise", "clipping", "optimiser", "average")
PYTHON, ELEMENTWISE = "Python between operations", "elementwise and sums"


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def clock(device: str) -> float:
    """Seconds of the processor, or of the clock after all work is done."""
    synchronise(device)
    return time.perf_counter() if device == "cuda" else time.process_time()


def peak_of(device: str, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP a second of the fastest of twenty large products."""
    size = 8192 if device == "cuda" else 2048
    matrix, taken = torch.randn(size, size, device=device).to(dtype), []
    for _ in range(20):
        begun = clock(device)
        torch.mm(matrix, matrix)
        taken.append(clock(device) - begun)
    value = 2 * size**3 / min(taken)
    kind = "bf16" if dtype == torch.bfloat16 else "fp32"
    return value, f"{value / 1e12:.3f} TFLOP/s ({kind}, fastest of 20 products of {size} x {size})"


class Training:
    """The steps of a run, one after the other, as `coset.training.loop.train` makes them."""

    def __init__(self, run: MoleculeRun) -> None:
        self.run, self.state = run, State.start(run.build(), run.settings)
        self.rows, self.flops = run.rows, run.flops(self.state.diffusion)
        self.stream, self.parameters = run.batches().stream(), list(self.state.diffusion.parameters())
        self.molecules, self.work, self.waited, self.step = 0, 0.0, 0.0, 0

    def __call__(self) -> None:
        run, state, waiting = self.run, self.state, time.perf_counter()
        with record_function("data"):
            rows = next(self.stream)[2]
        self.waited += time.perf_counter() - waiting
        state.optimiser.zero_grad(set_to_none=True)
        backward(run, state.diffusion, rows, self.rows.sizes, self.step)
        for name, job in {
            "clipping": partial(state.clipper, self.parameters),
            "optimiser": state.optimiser.step,
            "average": partial(state.ema.update, self.step),
        }.items():
            with record_function(name):
                job()
        self.molecules, self.step = self.molecules + len(rows), self.step + 1
        self.work += self.flops(len(rows), int(self.rows.sizes[rows].max()))

    def collated(self, collate: Callable[..., Any]) -> Callable[..., Any]:
        """`run.cloud` with the time that the step waits for it."""

        def cloud(_: MoleculeRun, *given: Any) -> Any:
            begun = time.perf_counter()
            with record_function("data"):
                found = collate(*given)
            self.waited += time.perf_counter() - begun
            return found

        return cloud


def train(run: MoleculeRun, steps: int, peak: float) -> None:
    training, device = Training(run), run.device
    set_trunk_precision(training.state.diffusion, usable_precision(run.settings.precision, device))
    with patch.object(MoleculeRun, "cloud", training.collated(run.cloud)):
        for _ in range(2):
            training()  # what is made at first
        training.molecules, training.work, training.waited = 0, 0.0, 0.0
        begun, wall = clock(device), time.perf_counter()
        for _ in range(steps):
            training()
        taken, wall = clock(device) - begun, time.perf_counter() - wall
        told(training.molecules, taken, training.work, peak, device)
        print(f"waiting for data: {100 * training.waited / wall:.2f} % of the time, all of it work of this process")
        shares(training, steps, device)


def sample(run: MoleculeRun, n: int, steps: int, peak: float) -> None:
    diffusion, device = run.build(), run.device
    set_trunk_precision(diffusion, usable_precision(run.settings.precision, device))
    sizes = SizeDistribution(run.dataset.size_histogram())
    generator = Generator(diffusion, run.vocabulary, sizes, Sampling(steps=steps))

    def draw() -> None:
        assert sum(1 for _ in generator.draw(0, torch.arange(n))) == n

    draw()  # what is made at first
    begun = clock(device)
    draw()
    taken = clock(device) - begun
    # The fused kernels of attention are not counted on every device; its plain form is.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        draw()
    told(n, taken, float(counter.get_total_flops()), peak, device)
    shares(draw, 1, device)


def told(molecules: int, taken: float, work: float, peak: float, device: str) -> None:
    if device == "cuda":
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the device at most"
    else:
        memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of the process at most"
    rate, used = f"{molecules / taken:,.1f} molecules/s", f"{work / taken / 1e12:.3f} TFLOP/s"
    print(f"{molecules:,} molecules in {taken:.2f} s: {rate}, {used}, {100 * work / taken / peak:.1f} % of the peak")
    print(f"memory: {memory}")


def shares(job: Callable[[], None], repeats: int, device: str) -> None:
    """Prints the part of each kind of work in `repeats` calls."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    normal, uniform = marked(Noise.normal), marked(Noise.uniform)
    with (
        patch.object(Noise, "normal", normal),
        patch.object(Noise, "uniform", uniform),
        profile(activities=activities, acc_events=True) as found,
    ):
        for _ in range(repeats):
            with record_function("whole"):
                job()
                synchronise(device)
    totals: Counter[str] = Counter()
    for event in found.events() or []:
        totals[kind_of(event)] += event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
    whole = sum(totals.values())
    print("\n| what | % of the time |\n|---|---|")
    for name, spent in totals.most_common():
        if spent > 0:
            print(f"| {name} | {100 * spent / whole:.1f} |")


def marked(draw: Callable[..., Any]) -> Callable[..., Any]:
    def drawn(*given: Any, **named: Any) -> Any:
        with record_function("noise"):
            return draw(*given, **named)

    return drawn


def kind_of(event: FunctionEvent) -> str:
    """By the part of the step around an operation, else by the operation's name."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.name in SCOPES:
            return around.name
        around = around.cpu_parent
    name = event.name.lower()
    if name == "whole":
        return PYTHON
    found = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
    return next(found, ELEMENTWISE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "sample"))
    parser.add_argument("--recipe", default="dit")
    parser.add_argument("--data", default="qm9-sample")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the recipe")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--steps", type=int, default=8, help="of training, to be timed and again to be profiled")
    parser.add_argument("-n", type=int, default=64, help="molecules to draw")
    parser.add_argument("--sampler-steps", type=int, default=4)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = dict(each.split("=", 1) for each in options.set)
    settings = find_recipe(options.recipe).resolve(
        {"data": options.data, "precision": options.precision, "tokens": 1024, **named}
    )
    precision = usable_precision(settings.precision, device)
    peak, said = peak_of(device, torch.bfloat16 if precision == "bf16" else torch.float32)
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__}, {machine}, trunks in {precision}; the peak is {said}")
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng() if device == "cpu" else nullcontext():
        run = prepare(options.recipe, settings, Path(folder), device)
        count = sum(p.numel() for p in run.build().parameters())
        print(f"{options.recipe}, {count:,} parameters, {options.what}, {options.data}\n")
        if options.what == "train":
            train(run, options.steps, peak)
        else:
            sample(run, options.n, options.sampler_steps, peak)


if __name__ == "__main__":
    main()
