"""Gaussian: a normal distribution over clouds, on the masked and centred (or free) subspace."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.noise import Noise
from coset.scales import CENTRED, FREE, Isotropic, Scale, Subspace


@dataclass(frozen=True)
class Gaussian:
    """mean + project(U eps), with one scale operator for positions and one for features."""

    mean: Cloud
    x_scale: Scale
    h_scale: Scale
    subspace: Subspace = CENTRED

    @classmethod
    def isotropic(cls, mean: Cloud, std: Float[Tensor, "b"], subspace: Subspace) -> Gaussian:
        return cls(mean, Isotropic(std), Isotropic(std), subspace)

    def at(self, eps: Cloud) -> Cloud:
        """The point with standardised coordinates eps."""
        x = self.subspace.project(self.x_scale.apply(eps.x), eps.mask)
        h = FREE.project(self.h_scale.apply(eps.h), eps.mask)
        return replace(self.mean, x=self.mean.x + x, h=self.mean.h + h)

    def sample(self, noise: Noise) -> Cloud:
        return self.at(standard_normal(self.mean, noise, self.subspace))

    def whiten(self, z: Cloud) -> Cloud:
        """The eps with at(eps) = z."""
        away = z - self.mean
        x = self.subspace.solve(self.x_scale, away.x, z.mask)
        h = FREE.solve(self.h_scale, away.h, z.mask)
        return replace(away, x=x, h=h)

    def score(self, z: Cloud) -> Cloud:
        """Gradient of log_prob in z, within the subspace."""
        return self.precision(z - self.mean).scale(-1.0)

    def score_at(self, eps: Cloud) -> Cloud:
        """The score at the point with standardised coordinates eps."""
        x = self.subspace.solve(self.x_scale.transpose(), eps.x, eps.mask)
        return replace(eps, x=-x, h=-FREE.solve(self.h_scale.transpose(), eps.h, eps.mask))

    def precision(self, away: Cloud) -> Cloud:
        """The inverse covariance times `away`, within the subspace."""
        x = self.subspace.solve(self.x_scale, away.x, away.mask)
        h = FREE.solve(self.h_scale, away.h, away.mask)
        x = self.subspace.solve(self.x_scale.transpose(), x, away.mask)
        return replace(away, x=x, h=FREE.solve(self.h_scale.transpose(), h, away.mask))

    def log_prob(self, z: Cloud) -> Float[Tensor, "b"]:
        """Log density (nats) with respect to the volume of the subspace."""
        logdet = self.subspace.logdet(self.x_scale, z.mask, z.x.shape[-1])
        logdet = logdet + FREE.logdet(self.h_scale, z.mask, z.h.shape[-1])
        return -0.5 * squared_norm(self.whiten(z)) - logdet - 0.5 * math.log(2 * math.pi) * self.dimension

    def kl(self, other: Gaussian) -> Float[Tensor, "b"]:
        """KL(self || other) in nats; both isotropic."""
        away = self.mean - other.mean
        mask = self.mean.mask
        total = torch.zeros_like(away.count)
        parts = (
            (away.x, self.x_scale, other.x_scale, self.subspace.dimension(mask, away.x.shape[-1])),
            (away.h, self.h_scale, other.h_scale, FREE.dimension(mask, away.h.shape[-1])),
        )
        for values, mine, theirs, dimension in parts:
            assert isinstance(mine, Isotropic) and isinstance(theirs, Isotropic), "kl is for isotropic Gaussians"
            ratio = (mine.std / theirs.std).square()
            distance = values.square().sum((1, 2)) / theirs.std.square()
            total = total + 0.5 * (distance + dimension * (ratio - 1 - ratio.log()))
        return total

    @property
    def dimension(self) -> Float[Tensor, "b"]:
        mask = self.mean.mask
        return self.subspace.dimension(mask, self.mean.x.shape[-1]) + FREE.dimension(mask, self.mean.h.shape[-1])


def standard_normal(like: Cloud, noise: Noise, subspace: Subspace) -> Cloud:
    """Standard normal on the subspace, in the shape of `like`."""
    x = noise.fork(0).normal(*like.x.shape[1:], dtype=like.x.dtype)
    h = noise.fork(1).normal(*like.h.shape[1:], dtype=like.h.dtype)
    return replace(like, x=subspace.project(x * like.mask, like.mask), h=h * like.mask)
