"""The line: the point +1 and its mirror image, one experiment of TS (Tong et al. 2025, section 5.1, Figure 2).

What is measured: how far samples lie from the nearer of the two points, and W2^2 between samples and both points at
one half each. Independent starts put uneven numbers on the two sides, which alone costs W2^2 = 4 E|B/n - 1/2|: the
sampling floor. Starts in pairs z, -z are even by construction and show what the model adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.noise import Noise
from coset.recipes.ts import LINE, LINE_POINT, points
from coset.reproduce.record import Record
from coset.reproduce.toy_line_report import write_line_report
from coset.reproduce.toy_training import OnIteration, Schooling, chosen, significant, train
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample

NAME = "ts-toy-1d"
ITERATIONS = 100_000  # as published
VALIDATION_STARTS = 200
VALIDATION_SEED, SAMPLING_SEED = 2_000_000, 1_000_000


@dataclass(frozen=True)
class Settings:
    """iterations, batch of the training; steps: network calls of a sample; samples: drawn for each kind of starts."""

    iterations: int = ITERATIONS
    batch: int = 100
    steps: int = 100
    samples: int = 100_000


@dataclass(frozen=True)
class Antithetic(Noise):
    """Normal numbers in pairs, z for one molecule and -z for the next."""

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b *shape"]:
        first = super().normal(*shape, dtype=dtype)[::2]
        return torch.stack([first, -first], 1).flatten(0, 1)[: len(self.seeds)]


def run(
    folder: Path,
    settings: Settings,
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[str] = tuple(LINE),
    begin: Callable[[str], OnIteration] = lambda row: lambda done: None,
) -> Record:
    """Trains and measures the rows that are not there yet, and writes the report anew after each.

    The seeds of a row are trained side by side. Raises ValueError where the folder holds rows of other settings.
    """
    if settings.samples % 2 or settings.steps < 2:
        raise ValueError(f"samples must be even and steps at least 2; got {settings.samples} and {settings.steps}")
    record = Record.open(NAME, folder, {**asdict(settings), "seeds": list(seeds), "points": [1.0]})
    for arm in chosen(arms, LINE):
        if arm not in record.rows:
            record.add(arm, run_row(arm, settings, seeds, begin(LINE[arm].name)))
        write_line_report(record)
    return record


def run_row(
    arm: str, settings: Settings, seeds: Sequence[int], on_iteration: OnIteration = lambda done: None
) -> dict[str, Any]:
    """Trains one model with each seed and measures it; lists have one value a seed."""
    diffusion = LINE[arm].build(seeds)
    schooling = Schooling(settings.iterations, settings.batch, window=max(1, settings.iterations // 50))

    def validate(trained: Diffusion) -> Float[Tensor, "s"]:
        drawn = drawn_points(trained, [VALIDATION_SEED] * len(seeds), VALIDATION_STARTS, settings.steps)
        return mean_distance(drawn)

    curve = train(diffusion, points(LINE_POINT, 1), schooling, seeds, validate, on_iteration)
    return {**measured(diffusion, settings, seeds), "curve": asdict(curve)}


def measured(diffusion: Diffusion, settings: Settings, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Distances to the nearer point and W2^2, for independent and for antithetic starts."""
    found = {}
    for starts, kind in (("independent", Noise), ("antithetic", Antithetic)):
        fresh = [SAMPLING_SEED + seed for seed in seeds]  # other noise than that of the training
        drawn = drawn_points(diffusion, fresh, settings.samples, settings.steps, kind)
        for name, measure in MEASURES.items():
            found[f"{name}_{starts}"] = [significant(value) for value in measure(drawn).tolist()]
    return found


def drawn_points(
    diffusion: Diffusion, seeds: Sequence[int], samples: int, steps: int, kind: type[Noise] = Noise
) -> Float[Tensor, "s n"]:
    """Samples of the networks of each seed."""
    x = torch.zeros(len(seeds) * samples, 1, 1)
    noises = [Noise.from_seed(seed, torch.arange(samples)).seeds for seed in seeds]
    like, noise = Cloud(x, x[..., :0], torch.ones_like(x)), kind(torch.cat(noises))
    return sample(diffusion, like, noise, power_grid(steps - 1)).x.flatten().double().unflatten(0, (len(seeds), -1))


def root_mean_square_distance(x: Float[Tensor, "s n"]) -> Float[Tensor, "s"]:
    """Of samples to the nearer of +1 and -1."""
    return (x.abs() - 1).square().mean(1).sqrt()


def mean_distance(x: Float[Tensor, "s n"]) -> Float[Tensor, "s"]:
    """What TS's released code prints as RMSD."""
    return (x.abs() - 1).abs().mean(1)


def w2_squared(x: Float[Tensor, "s n"]) -> Float[Tensor, "s"]:
    """Squared Wasserstein-2 distance between n samples (n even) and the points -1 and +1 at one half each."""
    lower, upper = x.sort(1).values.chunk(2, 1)
    return torch.cat([lower + 1, upper - 1], 1).square().mean(1)


MEASURES = {"rmsd": root_mean_square_distance, "distance": mean_distance, "w2_squared": w2_squared}
