"""The plane: four points in any pose and order, one experiment of TS (Tong et al. 2025, Figure 3a-c).

What is measured: the RMSD of samples to the four points, the best over rotations and the 24 orders, by the number of
sampling steps. A perfect denoiser, the posterior mean itself, has none at any of these numbers: all of it is the
network's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from coset.noise import Noise
from coset.recipes.ts import PLANE, PLANE_POINTS, points
from coset.reproduce.record import Record
from coset.reproduce.toy_plane_report import write_plane_report
from coset.reproduce.toy_training import OnIteration, Schooling, chosen, significant, train
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample

NAME = "ts-toy-2d"
STEPS = (10, 15, 20, 30, 40, 50)
SAMPLING_SEED = 1_000_000


@dataclass(frozen=True)
class Settings:
    """iterations, batch, lr, average of the training (`Schooling`); samples: drawn for each number of steps."""

    iterations: int = 4_000
    batch: int = 100
    lr: float = 4e-3
    average: float = 0.99
    samples: int = 1_000


def run(
    folder: Path,
    settings: Settings,
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[str] = tuple(PLANE),
    begin: Callable[[str], OnIteration] = lambda row: lambda done: None,
) -> Record:
    """Trains and measures the rows that are not there yet, seed by seed, and writes the report anew after each.

    Raises ValueError where the folder holds rows of other settings.
    """
    record = Record.open(NAME, folder, {**asdict(settings), "points": PLANE_POINTS.tolist()})
    for seed in seeds:
        for arm in chosen(arms, PLANE):
            row = f"{arm}, seed {seed}"
            if row not in record.rows:
                record.add(row, run_row(arm, settings, seed, begin(f"{PLANE[arm].name}, seed {seed}")))
            write_plane_report(record)
    return record


def run_row(arm: str, settings: Settings, seed: int, on_iteration: OnIteration = lambda done: None) -> dict[str, Any]:
    """Trains one model with one seed and measures it; every model of a seed starts its samples from the same noise."""
    diffusion = PLANE[arm].build([seed])
    window = max(1, settings.iterations // 100)
    schooling = Schooling(settings.iterations, settings.batch, settings.lr, window, settings.average)
    curve = train(diffusion, points(PLANE_POINTS, 1), schooling, [seed], on_iteration=on_iteration)
    like = points(torch.zeros_like(PLANE_POINTS), settings.samples)
    found: dict[str, Any] = {"rmsd": {}, "error": {}}
    for steps in STEPS:
        noise = Noise.from_seed(SAMPLING_SEED + seed, torch.arange(settings.samples))
        rmsd = best_rmsd(sample(diffusion, like, noise, power_grid(steps - 1)).x, PLANE_POINTS)
        found["rmsd"][str(steps)] = significant(float(rmsd.mean()))
        found["error"][str(steps)] = significant(float(rmsd.std() / len(rmsd) ** 0.5))
    return {**found, "curve": asdict(curve)}


def best_rmsd(x: Float[Tensor, "b n 2"], points: Float[Tensor, "n 2"]) -> Float[Tensor, "b"]:
    """Root mean squared distance a point, the least over rotations and orders of `points`; both centred. float64."""
    x, points = x.double(), points.double()
    orders = torch.tensor(list(permutations(range(len(points)))))
    # |x - R p|^2 = |x|^2 + |p|^2 - 2 tr(R^T H) with H = x^T p; in the plane tr(R^T H) is at most hypot.
    cross = torch.einsum("bni,gnj->bgij", x, points[orders])
    overlap = torch.hypot(cross[..., 0, 0] + cross[..., 1, 1], cross[..., 1, 0] - cross[..., 0, 1]).amax(1)
    squared = x.square().sum((1, 2)) + points.square().sum() - 2 * overlap
    return (squared.clamp_min(0) / len(points)).sqrt()
