"""Terms of a loss: each compares an estimate with what was drawn, a number a molecule, averaged over its own atoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Draw, Schedule

Term = Callable[[Draw, Cloud, Cloud], Float[Tensor, "b"]]
"""(draw, target, estimate) to a loss a molecule; the target may be symmetrised, draw.x0 is the clean cloud."""


@dataclass(frozen=True)
class KarrasWeight:
    """1 / c_out^2 = (alpha^2 spread^2 + sigma^2) / (sigma spread)^2 (Karras et al. 2022, table 1).

    It makes the error of x0 that of the network's own output. At low noise it is 1 / sigma^2 (at alpha = 1).
    """

    schedule: Schedule
    spread: float

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        alpha, sigma = self.schedule(t)
        return (alpha.square() * self.spread**2 + sigma.square()) / (sigma * self.spread).square()


@dataclass(frozen=True)
class PositionError:
    """w(t) |T - D|^2 / (3 N), the squared error of a coordinate."""

    weight: Callable[[Float[Tensor, "b"]], Float[Tensor, "b"]]

    def __call__(self, draw: Draw, target: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        error = (target.x - estimate.x).square().sum((1, 2)) / (target.x.shape[-1] * target.count)
        return self.weight(draw.t).to(error.dtype) * error


@dataclass(frozen=True)
class DistanceError:
    """w(t) g(sigma) times half the mean over pairs of (d_ij - the clean d_ij)^2, weighted by exp(-d_ij / reach).

    Blind to the pose, so none of its gradient is spent on the rotation that noise hides; bonds and angles have 84 % of
    the weight at a reach of 1 Angstrom. For independent errors it equals `PositionError`.
    g = 1 / (1 + (sigma / alpha / fade)^2): at much noise distances say nothing of the mean.
    """

    weight: Callable[[Float[Tensor, "b"]], Float[Tensor, "b"]]
    schedule: Schedule
    reach: float = 1.0
    fade: float = 1.0

    def __call__(self, draw: Draw, target: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        clean, there = pairwise(draw.x0.x), pairwise(estimate.x)
        mask = draw.x0.mask @ draw.x0.mask.mT
        weight = torch.exp(-clean / self.reach) * mask * (1 - torch.eye(mask.shape[1], device=mask.device))
        error = (weight * (there - clean).square()).sum((1, 2)) / (2 * weight.sum((1, 2)).clamp_min(1e-12))
        level = self.weight(draw.t) / (1 + torch.exp(-self.schedule.log_snr(draw.t)) / self.fade**2)
        return level.to(error.dtype) * error


@dataclass(frozen=True)
class CrossEntropy:
    """-log of the probability that the estimate, `scale` times probabilities, gives to an atom's type; nats an atom."""

    scale: float

    def __call__(self, draw: Draw, target: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        log_p = (estimate.h / self.scale).clamp_min(1e-20).log()
        return -(draw.x0.h / self.scale * log_p).sum((1, 2)) / draw.x0.count


@dataclass(frozen=True)
class BondEntropy:
    """-log of the probability of each pair's bond order by the distance rule, nats, summed over pairs, an atom.

    limits (k, f, f): for two types the distance in Angstrom below which their bond has order 1, 2, ... k, as
    `coset.bonds.thresholds` has them. scale: of the one-hot types. The estimate's `condition.edges` are the logits of
    order 0 to k. A model trained with this has bonds used in its training.
    """

    limits: Float[Tensor, "k f f"]
    scale: float

    def __call__(self, draw: Draw, target: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        assert estimate.condition is not None and estimate.condition.edges is not None
        mask = (draw.x0.mask @ draw.x0.mask.mT).triu(1)
        logits = estimate.condition.edges.movedim(-1, 1)
        error = torch.nn.functional.cross_entropy(logits, self.orders(draw.x0), reduction="none")
        return (error * mask).sum((1, 2)) / draw.x0.count

    def orders(self, x0: Cloud) -> Int[Tensor, "b n n"]:
        """Bond orders of clean clouds; each is tested within the one before it (EDM)."""
        types = x0.h.argmax(-1)
        limits = self.limits.to(x0.x.device)[:, types[:, :, None], types[:, None]]
        return (pairwise(x0.x.double()) < limits).long().cumprod(0).sum(0)


def pairwise(x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n n"]:
    """Distances, with a bounded gradient at 0."""
    return ((x[:, :, None] - x[:, None]).square().sum(-1) + 1e-8).sqrt()
