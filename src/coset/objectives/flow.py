"""Matching the velocity of the paths between noise and data, of independent or of coupled ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian, standard_normal
from coset.interfaces import Denoiser, Draw, Process, Target
from coset.noise import Noise
from coset.objectives.denoising import Times, draw_noisy
from coset.scales import Subspace

Coupling = Callable[[Cloud, Cloud], Cloud]


class Bridged(Protocol):
    """A schedule of a straight line with a bridge beside it: `processes.schedules.Bridge`."""

    noise: float
    sigma_min: float

    def parts(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]: ...


@dataclass(frozen=True)
class InsideTimes:
    """t between `margin` and 1 - margin, where no velocity is infinite: uniform, or of density exp(lean t).

    lean: above 0 for more of the training near the noise.
    """

    margin: float = 1e-4
    lean: float = 0.0

    def __call__(self, noise: Noise) -> Float[Tensor, "b"]:
        share = noise.uniform(dtype=torch.float64)
        if self.lean:
            share = torch.log1p(share * math.expm1(self.lean)) / self.lean
        return self.margin + (1 - 2 * self.margin) * share


@dataclass(frozen=True)
class Flow:
    """|u - v(z_t, t, D(z_t, t))|^2 / (3 N), with v the process's probability-flow drift and u the velocity to match.

    Without a coupling u = v(z_t, t, target): the drift that the target has. As v is affine in it, a target that is a
    mean over poses gives the mean over poses of u, and the minimiser stays what it was. With a coupling of noise and
    clean cloud (`processes.couplings`) the path's own derivative is matched, which no function of x0 and z_t gives
    (ETFlow, Hassan et al. 2024, eq. 5), and the target is the plain one.
    per_atom: the distance |u_i - v_i| of each atom and not its square, as ETFlow's released code has it: its minimiser
    is a geometric median, so that averaged targets change it.
    Other conformers of a molecule (`Condition.siblings`) are shown to the target, the noise that it is paired with
    (`Condition.end`) to the coupling; the network sees neither.
    """

    target: Target
    coupling: Coupling | None = None
    times: Times = InsideTimes()
    per_atom: bool = False

    def __call__(self, process: Process, denoiser: Denoiser, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        draw, velocity = self.draw(process, x0, noise)
        estimate = denoiser(draw.z, draw.t, noise.fork(2))
        if velocity is None:
            velocity = process.velocity(draw.z, draw.t, self.target(process, draw))
        return self.loss(velocity, process.velocity(draw.z, draw.t, estimate))

    def draw(self, process: Process, x0: Cloud, noise: Noise) -> tuple[Draw, Cloud | None]:
        """A noisy cloud for each clean one, and its velocity where the ends are coupled."""
        told, subspace = x0, cast(Subspace, cast(Any, process).subspace)
        x0 = replace(x0, condition=x0.condition and replace(x0.condition, siblings=None, end=None))
        draw = replace(draw_noisy(self.times, subspace, process, x0, noise), siblings=_siblings(told))
        if self.coupling is None:
            return draw, None
        schedule: Bridged = cast(Any, process).schedule
        t, end = draw.t, self.coupling(told, process.prior(x0).at(draw.eps))
        sway = standard_normal(x0, noise.fork(4), subspace)
        (line, bridge), s, dtype = schedule.parts(t), schedule.sigma_min, x0.x.dtype
        slope = 0.5 * schedule.noise**2 * (1 - 2 * t) / bridge.clamp_min(1e-12)
        mean = x0.scale((1 - t).to(dtype)) + end.scale(line.to(dtype))
        z = Gaussian.isotropic(mean, bridge.to(dtype), subspace).at(sway)
        velocity = end.scale(1 - s) - x0 + sway.scale(slope.to(dtype))
        return replace(draw, z=z), velocity

    def loss(self, velocity: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        """The error of an estimated velocity."""
        error, dimension = (velocity.x - estimate.x).square().sum(-1), velocity.x.shape[-1]
        # The root's gradient at 0 is kept finite.
        each = (error + 1e-12).sqrt() * velocity.mask[..., 0] if self.per_atom else error / dimension
        return each.sum(1) / velocity.count


def _siblings(x0: Cloud) -> Cloud | None:
    """A molecule's other conformers, one after the other, without a condition."""
    others = None if x0.condition is None else x0.condition.siblings
    if others is None:
        return None
    many = Cloud(x0.x, x0.h, x0.mask).take(torch.arange(len(x0), device=x0.x.device).repeat_interleave(others.shape[1]))
    return replace(many, x=others.flatten(0, 1))
