"""Transforms F(eps, t, x0): how a clean cloud and its noise become the noisy cloud, as Gaussians in eps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, per_atom
from coset.gaussian import Gaussian
from coset.interfaces import Field, Schedule
from coset.processes.spreads import Spread
from coset.scales import CENTRED, Subspace


class Transform(nn.Module, ABC):
    """q(z_t | x0), differentiable in t by forward mode. Its schedule is what holds at both ends of time."""

    schedule: Schedule
    subspace: Subspace

    @abstractmethod
    def forward(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian: ...

    def prior(self, like: Cloud) -> Gaussian:
        _, sigma = self.schedule(torch.ones(len(like), dtype=torch.float64, device=like.x.device))
        return Gaussian.isotropic(like.scale(0.0), sigma.to(like.x.dtype), self.subspace)


class Fixed(Transform):
    """alpha(t) x0 + sigma(t) eps: nothing is learned."""

    def __init__(self, schedule: Schedule, subspace: Subspace | None = None) -> None:
        super().__init__()
        self.schedule, self.subspace = schedule, subspace or CENTRED

    def forward(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        alpha, sigma = (level.to(x0.x.dtype) for level in self.schedule(t))
        return Gaussian.isotropic(x0.scale(alpha), sigma, self.subspace)


class Learned(Transform):
    """alpha(t) (x0 + t^power a) + U eps, with a shift a and scales U read off the clean cloud (END, Cornet et al.).

    field: gives as many scalars and vectors an atom as `channels` says; scalars are the shift of the features, then
    what the spread takes; vectors the shift of the position, then those of the spread. END's schedule is `Geometric`.
    Equivariant where the field is and the spread's matrix has two sides. At t = 0 and t = 1 it is the schedule's, to
    the last bit, whatever the field says. power: above 1 the shift's rate vanishes at t = 0 as well, which
    `DirectDrift` needs. Raises ValueError where the field gives other numbers of channels.
    """

    def __init__(
        self, field: Field, schedule: Schedule, spread: Spread, power: int = 1, subspace: Subspace | None = None
    ) -> None:
        super().__init__()
        if power < 1:
            raise ValueError(f"the shift must vanish at t = 0: its power must be at least 1; got {power}")
        self.field, self.schedule, self.spread, self.power = field, schedule, spread, power
        self.subspace = subspace or CENTRED

    def forward(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        features, dtype = x0.h.shape[-1], x0.x.dtype
        scalars, vectors = self.field(x0, t)
        expected = channels(self.spread, features)
        if (scalars.shape[2], vectors.shape[2]) != expected:
            raise ValueError(
                f"with {features} features this process needs a field of {expected[0]} scalars and {expected[1]} "
                f"vectors an atom; got {scalars.shape[2]} and {vectors.shape[2]}; see channels(spread, features)"
            )
        scalars, vectors = scalars.to(dtype), vectors.to(dtype)
        (alpha, sigma), t = (level.to(dtype) for level in self.schedule(t)), t.to(dtype)
        early = per_atom(t**self.power)
        x = self.subspace.project(x0.x + early * vectors[:, :, 0], x0.mask)
        h = (x0.h + early * scalars[..., :features]) * x0.mask
        mean = replace(x0, x=per_atom(alpha) * x, h=per_atom(alpha) * h)
        scales = self.spread(sigma, t, scalars[..., features:], vectors[:, :, 1:], x0.mask)
        return Gaussian(mean, *scales, self.subspace)


def channels(spread: Spread, features: int) -> tuple[int, int]:
    """How many scalars and vectors an atom `Learned` takes from its field, for so many feature channels."""
    scalars, vectors = spread.channels(features)
    return features + scalars, 1 + vectors
