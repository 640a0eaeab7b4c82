"""Training of toys: many small steps of one loop, that differ in nothing but the model's parts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.noise import Noise
from coset.objectives.denoising import Denoising
from coset.training.ema import EMA

OnIteration = Callable[[int], None]
BLOCK = 50  # iterations whose noise and targets are made at once: one by one they would cost more than the network


@dataclass(frozen=True)
class Schooling:
    """How a toy is trained: Adam, the rate times 0.8 after every 8 % of the run, as TS's released code has it.

    window: iterations between points of the loss curve and between validations. average: decay of the weights' moving
    average, which takes the place of the last weights; 0 for none.
    """

    iterations: int
    batch: int
    lr: float = 1e-3
    window: int = 500
    average: float = 0.0

    def rate(self, iteration: int) -> float:
        return self.lr * 0.8 ** (iteration * 100 // (8 * self.iterations))


@dataclass
class Curve:
    """Training loss a window of iterations and seed: its mean, and its standard deviation from batch to batch."""

    iteration: list[int] = field(default_factory=list)
    loss: list[list[float]] = field(default_factory=list)
    spread: list[list[float]] = field(default_factory=list)

    def add(self, iteration: int, losses: Float[Tensor, "k s"]) -> None:
        self.iteration.append(iteration)
        self.loss.append([significant(value) for value in losses.mean(0).tolist()])
        self.spread.append([significant(value) for value in losses.std(0, correction=0).tolist()])


def chosen(arms: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Names of models in the table's order. Raises ValueError for unknown ones."""
    unknown = [arm for arm in arms if arm not in known]
    if unknown:
        raise ValueError(f"unknown row {unknown[0]!r}; choose from {', '.join(known)}")
    return [arm for arm in known if arm in arms]


def budget(iterations: int, published: int) -> str:
    """In words, and by how much less than the paper's."""
    less = f", a budget {iterations / published:.2g} x of the paper's" if iterations < published else ""
    return f"{iterations:,} iterations{less}"


def fingerprint(points: Tensor) -> str:
    """Of data that stand in the code."""
    return f"sha256 {hashlib.sha256(points.numpy().tobytes()).hexdigest()[:16]}"


def significant(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def train(
    diffusion: Diffusion,
    data: Cloud,
    schooling: Schooling,
    seeds: Sequence[int],
    validate: Callable[[Diffusion], Float[Tensor, "s"]] | None = None,
    on_iteration: OnIteration = lambda done: None,
) -> Curve:
    """Trains in place on the one clean cloud `data`, a batch of 1; its networks are one a seed.

    Keeps the weights of each for which `validate` is least. The same numbers for the same seeds. Raises
    FloatingPointError where the loss ceases to be finite.
    """
    curve, window, best = Curve(), [], Best(diffusion)
    optimiser = torch.optim.Adam(diffusion.parameters(), schooling.lr, fused=True)
    ema = EMA(diffusion, [schooling.average]) if schooling.average else None
    for done, loss in enumerate(losses(diffusion, data, schooling, seeds), start=1):
        optimiser.param_groups[0]["lr"] = schooling.rate(done - 1)
        optimiser.zero_grad()
        loss.sum().backward()  # the gradient of each seed's weights is that of its own loss
        optimiser.step()
        if ema is not None:
            ema.update(done)
        window.append(loss.detach())
        if len(window) == schooling.window or done == schooling.iterations:
            curve.add(done, torch.stack(window))
            window = []
            if not torch.tensor(curve.loss[-1]).isfinite().all():
                raise FloatingPointError(f"the loss is not finite after {done} iterations; lower the learning rate")
            with nullcontext() if ema is None else ema.applied(schooling.average):
                best.consider(torch.zeros(len(seeds)) if validate is None else validate(diffusion))
            on_iteration(done)
    best.restore()
    return curve


class Best:
    """The weights of each seed for which something was least; the latest of equals."""

    def __init__(self, diffusion: Diffusion) -> None:
        self.parameters = list(diffusion.parameters())
        self.kept, self.least = [p.detach().clone() for p in self.parameters], torch.tensor(math.inf)

    @torch.no_grad()
    def consider(self, values: Float[Tensor, "s"]) -> None:
        better = values <= self.least
        self.least = torch.where(better, values, self.least)
        for kept, p in zip(self.kept, self.parameters, strict=True):  # the first axis is that of the seeds, if many
            kept.copy_(torch.where(better.view(-1, *[1] * (p.ndim - 1)), p, kept))

    @torch.no_grad()
    def restore(self) -> None:
        for kept, p in zip(self.kept, self.parameters, strict=True):
            p.copy_(kept)


def losses(
    diffusion: Diffusion, data: Cloud, schooling: Schooling, seeds: Sequence[int]
) -> Iterator[Float[Tensor, "s"]]:
    """The loss of every iteration in turn, of each seed, at the weights of the moment.

    It is that of `Diffusion.forward`; noise and targets, which do not depend on the weights, are made for many
    iterations at once: one by one they would cost more than the network.
    """
    objective, process = diffusion.objective, diffusion.process
    assert isinstance(objective, Denoising)
    batch = schooling.batch * len(seeds)
    for start in range(0, schooling.iterations, BLOCK):
        count = min(BLOCK, schooling.iterations - start)
        noise = noise_of(seeds, range(start, start + count), schooling.batch)
        with torch.no_grad():
            x0 = diffusion.codec.encode(repeated(data, count * batch), noise.fork(1))
            x0 = x0 if diffusion.augment is None else diffusion.augment(x0, noise.fork(2))
            draw = objective.draw(process, x0, noise.fork(0))
            target = objective.target(process, draw)
        for index in range(count):
            rows = slice(index * batch, (index + 1) * batch)
            own = replace(noise, seeds=noise.seeds[rows]).fork(0).fork(2)
            estimate = diffusion.denoiser(some(draw.z, rows), draw.t[rows], own)
            yield objective.loss(draw.t[rows], some(target, rows), estimate).unflatten(0, (len(seeds), -1)).mean(1)


def noise_of(seeds: Sequence[int], iterations: range, batch: int) -> Noise:
    """Noise of so many iterations, one after the other; in each, a batch of every seed."""
    index = torch.arange(iterations.start * batch, iterations.stop * batch)
    each = [Noise.from_seed(seed, index).seeds.unflatten(0, (len(iterations), batch)) for seed in seeds]
    return Noise(torch.stack(each, 1).flatten())


def repeated(cloud: Cloud, copies: int) -> Cloud:
    """A batch of one cloud as a batch of many."""
    x, h, mask = (values.expand(copies, -1, -1) for values in (cloud.x, cloud.h, cloud.mask))
    return Cloud(x, h, mask)


def some(cloud: Cloud, rows: slice) -> Cloud:
    """Rows of a batch."""
    return Cloud(cloud.x[rows], cloud.h[rows], cloud.mask[rows])
