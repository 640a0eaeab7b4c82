"""What targets cost: microseconds a molecule, and the exact one beside a training step of ten million parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from coset.data import open_dataset
from coset.gaussian import standard_normal
from coset.interfaces import Draw
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.outputs import FromNoise
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.groups import Rotations
from coset.symmetry.targets import OrbitMean, plain

BATCH = 64
DRAWS = (8, 64, 200, 1000)  # K of Algorithm 1
TRANSFORMER: dict[str, Any] = {"width": 276, "depth": 8, "heads": 6, "kernels": 132}


def cost(process: Affine, rounds: int) -> dict[str, Any]:
    """Medians over rounds in which all take turns, on 64 molecules of 18 atoms each, on one CPU."""
    store = open_dataset("qm9-sample").store
    rows = (store.sizes == 18).nonzero()[0][:BATCH]
    x0 = QM9.cloud(*store.collate(rows))
    noise = Noise.from_seed(0, torch.arange(len(x0)))
    t = noise.uniform(dtype=torch.float64)
    eps = standard_normal(x0, noise.fork(0), process.subspace)
    draw = Draw(x0, eps, process.noised(x0, t).at(eps), t, noise.fork(1))
    estimators = {"exact": OrbitMean(Rotations())} | {
        f"Algorithm 1, K = {k}": OrbitMean(Rotations(), HaarDraws(k)) for k in DRAWS
    }
    work: dict[str, Callable[[], object]] = {
        name: (lambda target=target: target(process, draw)) for name, target in estimators.items()
    }
    steps, parameters = _steps(process, draw)
    seconds = _medians(work | steps, rounds)
    each = {name: 1e6 * seconds[name] / len(x0) for name in seconds}
    share = {name: each["exact"] / each[name] for name in steps}
    return {"microseconds": each, "parameters": parameters, "exact over a training step": share, "molecules": len(x0)}


def _steps(process: Affine, draw: Draw) -> tuple[dict[str, Callable[[], object]], int]:
    """Whole training steps with the plain target, in full precision and in bf16."""
    found, count = {}, 0
    for precision in ("fp32", "bf16"):
        denoiser = FromNoise(DiT(draw.x0.h.shape[-1], **TRANSFORMER), process.schedule)
        set_trunk_precision(denoiser, precision)
        count = sum(p.numel() for p in denoiser.parameters())
        optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-4)
        objective = Denoising(NoiseWeight(process.schedule), plain)

        def step(denoiser=denoiser, optimiser=optimiser, objective=objective) -> None:
            assert draw.noise is not None
            optimiser.zero_grad()
            objective(process, denoiser, draw.x0, draw.noise).mean().backward()
            optimiser.step()

        found[f"training step, {precision}"] = step
    return found, count


def _medians(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, the first round not counted."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, each in work.items():
            begin = time.perf_counter()
            each()
            if turn:
                taken[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in taken.items()}
