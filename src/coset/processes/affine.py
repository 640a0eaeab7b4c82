"""Affine: every process with z_t = alpha(t) x0 + sigma(t) eps. Variance preserving, exploding, flow matching."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Process, Schedule
from coset.scales import CENTRED, Subspace


class Affine(Process):
    """A schedule, the subspace of the positions and eta, the randomness of the reverse chain.

    eta = 1 is ancestral sampling (Ho et al. 2020), eta = 0 the deterministic chain (DDIM, Song et al. 2021); for a
    linear schedule the latter is flow matching's Euler step. The target is affine in x0, which makes this the one
    process for which averaging x0 over a group averages the training target.
    """

    def __init__(self, schedule: Schedule, eta: float = 1.0, subspace: Subspace | None = None) -> None:
        super().__init__()
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1] (0 deterministic, 1 ancestral); got {eta}")
        self.schedule, self.eta, self.subspace = schedule, eta, subspace or CENTRED

    def with_eta(self, eta: float) -> Affine:
        """The same process with another reverse chain."""
        return Affine(self.schedule, eta, self.subspace)

    def prior(self, like: Cloud) -> Gaussian:
        _, sigma = self.schedule(torch.ones(len(like), dtype=torch.float64, device=like.x.device))
        return Gaussian.isotropic(like.scale(0.0), sigma.to(like.x.dtype), self.subspace)

    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        alpha, sigma = (level.to(x0.x.dtype) for level in self.schedule(t))
        return Gaussian.isotropic(x0.scale(alpha), sigma, self.subspace)

    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule(t), self.schedule(s)
        keep, weight, std = backward(alpha_t, alpha_s, sigma_t, sigma_s, self.eta)
        dtype = z.x.dtype
        mean = z.scale(keep.to(dtype)) + x0.scale(weight.to(dtype))
        # The chain divides by alpha, and so would make rounding of the mean position grow.
        mean = replace(mean, x=self.subspace.project(mean.x, mean.mask))
        return Gaussian.isotropic(mean, std.to(dtype), self.subspace)

    def onward(self, z: Cloud, t: Float[Tensor, "b"], later: Float[Tensor, "b"]) -> Gaussian:
        """q(z_later | z_t) for later >= t: what the process itself does from t on."""
        (alpha_t, sigma_t), (alpha, sigma) = self.schedule(t), self.schedule(later)
        keep = torch.where(later == t, 1.0, alpha / alpha_t)
        std = (sigma.square() - (keep * sigma_t).square()).clamp_min(0).sqrt()
        return Gaussian.isotropic(z.scale(keep.to(z.x.dtype)), std.to(z.x.dtype), self.subspace)

    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        t = t.double()
        levels, slopes = torch.func.jvp(self.schedule.__call__, (t,), (torch.ones_like(t),))[:2]
        (alpha, sigma), (d_alpha, d_sigma) = levels, slopes
        ratio = d_sigma / sigma  # dz/dt = alpha' x0 + sigma' eps with eps = (z - alpha x0) / sigma
        dtype = z.x.dtype
        return z.scale(ratio.to(dtype)) + x0.scale((d_alpha - ratio * alpha).to(dtype))


def backward(
    alpha_t: Tensor, alpha_s: Tensor, sigma_t: Tensor, sigma_s: Tensor, eta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of z and x0 in the mean of q(z_s | z_t, x0), and its deviation, of one channel at these levels.

    Song et al. 2021, eq. 12 and 16; eta = 1 is the posterior of Ho et al. 2020, eq. 7.
    """
    variance_ts = (sigma_t.square() - (alpha_t / alpha_s * sigma_s).square()).clamp_min(0)
    std = eta * sigma_s / sigma_t * variance_ts.sqrt()
    keep = (sigma_s.square() - std.square()).clamp_min(0).sqrt() / sigma_t
    return keep, alpha_s - keep * alpha_t, std
