"""Posteriors over a group: which poses and orders of the atoms of a clean cloud may lie behind a noisy one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.gaussian import Gaussian
from coset.interfaces import Draw, Process
from coset.scales import Graph, Isotropic, Modal
from coset.symmetry.fisher import mean_and_log_normalizer
from coset.symmetry.groups import Group

LEAST_STD = 1e-6  # noise below it says no more of the pose than float64 can hold


@dataclass(frozen=True)
class Candidates:
    """Clean clouds that may lie behind z, k a molecule, each in the mean of the poses that it may have there.

    log_weight (b, k): log of how well each explains z, up to a constant of the molecule.
    """

    x: Float[Tensor, "b k n d"]
    h: Float[Tensor, "b k n f"]
    log_weight: Float[Tensor, "b k"]


@dataclass(frozen=True)
class Evidence:
    """What z says of the clean cloud: the inverse covariance of q(z | x0) times z, positions and features."""

    process: Process
    draw: Draw
    x: Float[Tensor, "b n d"]
    h: Float[Tensor, "b n f"]

    @classmethod
    def of(cls, process: Process, draw: Draw) -> Evidence:
        """In float64."""
        likelihood = likelihood_of(process, draw.x0.to(torch.float64), draw.t)
        drawn = likelihood.precision(draw.z.to(torch.float64))
        return cls(process, draw, drawn.x, drawn.h)

    def of_candidates(self, clouds: Cloud, there: Bool[Tensor, "b k"], group: Group) -> Candidates:
        """clouds: k for each molecule, one after the other. Rotations of the group are integrated out."""
        b, k = there.shape
        likelihood = likelihood_of(self.process, clouds, self.draw.t.repeat_interleave(k))
        mean, own = likelihood.mean, likelihood.precision(likelihood.mean)
        # log N(z; mean) = z' S mean - mean' S mean / 2 + constant, with S the inverse covariance
        energy = (mean.x * own.x).sum((1, 2)) + (mean.h * own.h).sum((1, 2))
        log_weight = -0.5 * energy.view(b, k) + torch.einsum("bnf,bknf->bk", self.h, mean.h.unflatten(0, (b, k)))
        x, mean_x = clouds.x.unflatten(0, (b, k)), mean.x.unflatten(0, (b, k))
        cross = torch.einsum("bni,bknj->bkij", self.x, mean_x)
        if group.rotations:
            rotation, log_c = mean_and_log_normalizer(cross, group.reflections)
            x, log_weight = x @ rotation.mT, log_weight + log_c
        else:
            log_weight = log_weight + cross.diagonal(dim1=-2, dim2=-1).sum(-1)
        return Candidates(x, clouds.h.unflatten(0, (b, k)), log_weight.masked_fill(~there, -math.inf))


def listed(group: Group, draw: Draw) -> tuple[Cloud, Bool[Tensor, "b k"]]:
    """All permutations of the clean cloud and of its siblings, (b k) clouds in float64, and which there are."""
    x0 = replace(draw.x0, condition=_of_noise(draw.x0)).to(torch.float64)
    orders, there = group.permutations(draw.x0)
    clouds = [(x0.x, x0.h)]
    if draw.siblings is not None:
        others = replace(draw.siblings, condition=None).to(torch.float64)
        x, h = (values.unflatten(0, (len(x0), -1)) for values in (others.x, others.h))
        clouds.extend(zip(x.unbind(1), h.unbind(1), strict=True))
    rows = torch.arange(len(x0), device=orders.device)[:, None, None]
    x, h = (torch.cat([values[rows, orders] for values in part], 1).flatten(0, 1) for part in zip(*clouds, strict=True))
    there = there.repeat(1, len(clouds))
    known = replace(x0, x=x0.x[..., :0], h=x0.h[..., :0])
    many = known.take(torch.arange(len(x0), device=orders.device).repeat_interleave(there.shape[1]))
    return replace(many, x=x, h=h), there


def _of_noise(x0: Cloud) -> Condition | None:
    """What the noise depends on: it belongs to the places of the atoms, and no permutation moves it."""
    modes = None if x0.condition is None else x0.condition.modes
    return None if modes is None else Condition(modes=modes)


def likelihood_of(process: Process, x0: Cloud, t: Tensor) -> Gaussian:
    """q(z | x0), its noise never below `LEAST_STD`. Raises ValueError for noise that tells directions apart."""
    q = process.noised(x0, t)
    for scale in (q.x_scale, q.h_scale):
        if not isinstance(scale, Isotropic | Graph | Modal):
            raise ValueError(
                f"orbit means need noise that acts on atoms alone; got {type(scale).__name__}: use the plain target"
            )
    return replace(q, x_scale=_floored(q.x_scale), h_scale=_floored(q.h_scale))


def _floored(scale):
    return replace(scale, std=scale.std.clamp_min(LEAST_STD)) if isinstance(scale, Isotropic | Modal) else scale


def weighted_mean(x0: Cloud, found: Candidates, weight: Float[Tensor, "b k"]) -> Cloud:
    """The mean of a molecule's candidates, in the dtype and with the condition of x0."""
    x, h = (torch.einsum("bk,bknd->bnd", weight, values) for values in (found.x, found.h))
    return replace(x0, x=x.to(x0.x.dtype), h=h.to(x0.h.dtype))
