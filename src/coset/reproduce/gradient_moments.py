"""Bias and variance, apart, of training targets and of the gradients that they give, at fixed noisy clouds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser, Draw, Process, Target
from coset.noise import Noise
from coset.objectives.denoising import Weight
from coset.processes.affine import Affine
from coset.symmetry.groups import Group
from coset.symmetry.posterior_draws import draw_behind

CHUNK = 256  # molecules whose K poses stand in memory at a time


@dataclass(frozen=True)
class Redrawn:
    """Noisy clouds z, the exact target at each, and J posterior draws of what else may lie behind each of them.

    draws: of every z the J pairs (x0, eps) that give it, one after the other: J rows a z.
    """

    fixed: Draw
    exact: Cloud
    draws: Draw

    @property
    def repeats(self) -> int:
        return len(self.draws.x0) // len(self.fixed.x0)


def redrawn(group: Group, process: Affine, exact: Target, x0: Cloud, t: Tensor, repeats: int, noise: Noise) -> Redrawn:
    """x0: one clean cloud for each z, which is made from it after a Haar draw of the group."""
    x0 = replace(group.sample(x0, noise.fork(0)).act(x0), condition=x0.condition)
    eps = standard_normal(x0, noise.fork(1), process.subspace)
    fixed = Draw(x0, eps, process.noised(x0, t).at(eps), t)
    many = Noise.from_seed(0, noise.seeds.repeat_interleave(repeats) + torch.arange(repeats).repeat(len(x0)))
    wide = Draw(repeated(x0, repeats), repeated(eps, repeats), repeated(fixed.z, repeats), t.repeat_interleave(repeats))
    behind = draw_behind(group, process, wide, many.fork(0))
    eps = process.noised(behind, wide.t).whiten(wide.z)
    return Redrawn(fixed, exact(process, fixed), replace(wide, x0=behind, eps=eps, noise=many.fork(1)))


def targets(target: Target, process: Process, found: Redrawn) -> Float[Tensor, "z j k"]:
    """The target's positions for every draw, flat."""
    rows = torch.arange(len(found.draws.x0)).split(CHUNK)
    parts = [target(process, _rows(found.draws, part)).x.flatten(1).double() for part in rows]
    return torch.cat(parts).unflatten(0, (-1, found.repeats))


@dataclass(frozen=True)
class Moments:
    """Squared bias and variance, each a sum over coordinates; mean over the noisy clouds. Both are unbiased."""

    bias2: float
    variance: float

    @property
    def error(self) -> float:
        """Mean squared distance to the exact mean."""
        return self.bias2 + self.variance


def moments(
    values: Float[Tensor, "z j k"], exact: Float[Tensor, "z k"], metric: Float[Tensor, "z k k"] | None = None
) -> Moments:
    """Of estimates of `exact`, in the inner product of `metric` (the Euclidean one without it).

    What the mean of J values scatters by itself is taken off the squared bias, which may so turn out below zero.
    """
    mean = values.mean(1)
    variance = _square(values - mean[:, None], metric).sum(1) / (values.shape[1] - 1)
    bias2 = _square((mean - exact)[:, None], metric)[:, 0] - variance / values.shape[1]
    return Moments(float(bias2.mean()), float(variance.mean()))


def _square(values: Float[Tensor, "z j k"], metric: Float[Tensor, "z k k"] | None) -> Float[Tensor, "z j"]:
    if metric is None:
        return values.square().sum(-1)
    return torch.einsum("zjk,zkl,zjl->zj", values, metric, values)


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss in the parameters: of each noisy cloud with its exact target, and their answer to others.

    The gradient is affine in the target, so that a target off by d turns it by A d: `metric` is A^T A.
    """

    exact: Float[Tensor, "z p"]
    metric: Float[Tensor, "z k k"]

    @property
    def scatter(self) -> float:
        """Variance of the exact gradient from one noisy cloud to the next, which no target takes away."""
        return float(self.exact.double().var(0).sum())


def gradients(denoiser: Denoiser, weight: Weight, found: Redrawn) -> Gradients:
    """Of the loss 1/2 w |target - D(z)|^2 / size of `Denoising`, one noisy cloud at a time."""
    parameters = [p for p in denoiser.parameters() if p.requires_grad]
    rows = [_one(denoiser, parameters, weight, found, row) for row in range(len(found.exact))]
    exact, metric = zip(*rows, strict=True)
    return Gradients(torch.stack(exact), torch.stack(metric))


def _one(
    denoiser: Denoiser, parameters: Sequence[Tensor], weight: Weight, found: Redrawn, row: int
) -> tuple[Tensor, Tensor]:
    here = slice(row, row + 1)
    z, target = (Cloud(c.x[here], c.h[here], c.mask[here]).to(torch.float32) for c in (found.fixed.z, found.exact))
    estimate = denoiser(z, found.fixed.t[here])
    scale = float(weight(found.fixed.t[here])) / (float(z.count) * (z.x.shape[-1] + z.h.shape[-1]))

    loss, x = 0.5 * scale * squared_norm(target - estimate).sum(), estimate.x.flatten()
    exact = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    # Parameters that only the features depend on have no part in what a target's positions change.
    answers = torch.autograd.grad(x, parameters, torch.eye(len(x)), is_grads_batched=True, allow_unused=True)
    jacobian = torch.cat([each.flatten(1) for each in answers if each is not None], 1).double() * scale
    return torch.cat([each.flatten() for each in exact]).detach(), jacobian @ jacobian.mT


def repeated(cloud: Cloud, times: int) -> Cloud:
    """Each cloud so many times, one after the other."""
    x, h, mask = (value.repeat_interleave(times, 0) for value in (cloud.x, cloud.h, cloud.mask))
    return Cloud(x, h, mask)


def _rows(draw: Draw, rows: Tensor) -> Draw:
    def some(cloud: Cloud) -> Cloud:
        return Cloud(cloud.x[rows], cloud.h[rows], cloud.mask[rows])

    assert draw.noise is not None
    noise = replace(draw.noise, seeds=draw.noise.seeds[rows])
    return Draw(some(draw.x0), some(draw.eps), some(draw.z), draw.t[rows], noise)
