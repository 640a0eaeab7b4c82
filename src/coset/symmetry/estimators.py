"""Monte-Carlo estimators of orbit means: those published, and a chain for groups that cannot be listed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.scales import Isotropic
from coset.symmetry.fisher import mean_and_log_normalizer
from coset.symmetry.groups import Element, Group, Trivial, kinds_of_atoms
from coset.symmetry.posterior import Evidence, likelihood_of, listed, weighted_mean


@dataclass(frozen=True)
class HaarDraws:
    """The mean over K Haar draws of the group, weighted by their fit to z (TS, Tong et al. 2025, Algorithm 1).

    The paper's M data points are the clean cloud and `draw.siblings`, each moved by the same K elements. At middle and
    low noise no draw is near the true pose and the estimate is wrong. with_drawn: the element that z was made from, the
    identity, takes the first draw's place, as in the released code: the estimate is then unbiased (any of the draws may
    as well have been the true one), but at low noise nothing is averaged. soften: that code's temperature of weights,
    min(0.4 / t, 1) in our time, which biases them.
    """

    draws: int
    with_drawn: bool = False
    soften: bool = False

    def __call__(self, group: Group, process: Process, draw: Draw) -> Cloud:
        noise = _required(draw)
        clouds, there = listed(Trivial(), draw)  # (b m) clouds
        copies = there.shape[1]
        moved = []
        for k in range(self.draws):
            element = Element() if k == 0 and self.with_drawn else group.sample(draw.x0, noise.number(k))
            moved.append(_repeated(element, copies).act(clouds))
        x, h = (torch.cat([_unflat(getattr(each, name), copies) for each in moved], 1) for name in ("x", "h"))
        many = Cloud(x.flatten(0, 1), h.flatten(0, 1), draw.x0.mask.double().repeat_interleave(x.shape[1], 0))
        found = Evidence.of(process, draw).of_candidates(many, there.repeat(1, self.draws), Trivial())
        temperature = (0.4 / draw.t.double()).clamp_max(1.0)[:, None] if self.soften else 1.0
        return weighted_mean(draw.x0, found, (found.log_weight / temperature).softmax(1))


@dataclass(frozen=True)
class Metropolis:
    """The mean over a Metropolis chain of swaps of like atoms, begun at the identity; rotations are integrated out.

    The order that the noise was added to is itself a draw from the posterior, so the chain is stationary from its first
    state on and the mean over any number of steps is unbiased; more steps lower its variance. Raises ValueError for
    noise that is not isotropic.
    """

    steps: int

    def __call__(self, group: Group, process: Process, draw: Draw) -> Cloud:
        noise, x0 = _required(draw), replace(draw.x0, condition=None).to(torch.float64)
        likelihood, evidence = likelihood_of(process, x0, draw.t), Evidence.of(process, draw)
        if not isinstance(likelihood.x_scale, Isotropic):
            raise ValueError("a chain of swaps needs isotropic noise; list the permutations instead (estimator exact)")
        kinds, mean = kinds_of_atoms(draw.x0), likelihood.mean.x
        order = torch.arange(mean.shape[1], device=mean.device).expand(mean.shape[:2])
        cross = torch.einsum("bni,bnj->bij", evidence.x, mean)
        rotation, log_weight = _integrated(cross, group)
        total = _posed(x0.x, order, rotation)
        for step in range(self.steps):
            swapped, there = _swap(kinds, draw.x0.mask, noise.number(step).fork(0))
            # Atoms at places i and j change places in the order: two terms of the sum over atoms change.
            proposal = order.gather(1, swapped)
            new_cross = torch.einsum("bni,bnj->bij", evidence.x, _rows(mean, proposal))
            new_rotation, new_weight = _integrated(new_cross, group)
            chance = noise.number(step).fork(1).uniform(dtype=torch.float64).to(mean.device)
            accept = there & (chance.log() < new_weight - log_weight)
            order = torch.where(accept[:, None], proposal, order)
            rotation = torch.where(accept[:, None, None], new_rotation, rotation)
            log_weight = torch.where(accept, new_weight, log_weight)
            total = total + _posed(x0.x, order, rotation)
        return replace(draw.x0, x=(total / (self.steps + 1)).to(draw.x0.x.dtype))


def _integrated(cross: Float[Tensor, "b d d"], group: Group) -> tuple[Float[Tensor, "b d d"], Float[Tensor, "b"]]:
    """Mean rotation and log evidence of an order of the atoms, rotations integrated out if the group has any."""
    if group.rotations:
        return mean_and_log_normalizer(cross, group.reflections)
    return torch.eye(cross.shape[-1], dtype=cross.dtype, device=cross.device).expand_as(cross), cross.diagonal(
        dim1=-2, dim2=-1
    ).sum(-1)


def _swap(kinds: Int[Tensor, "b n"], mask: Tensor, noise: Noise) -> tuple[Int[Tensor, "b n"], Tensor]:
    """A swap of an atom with one of its kind, both by chance; and whether there is one to swap with."""
    atoms = kinds.shape[1]
    chance = noise.uniform(2, atoms, dtype=torch.float64).to(kinds.device)
    rows = torch.arange(len(kinds), device=kinds.device)
    first = (chance[:, 0] * mask[..., 0]).argmax(1)
    like = (kinds == kinds[rows, first][:, None]) & (torch.arange(atoms, device=kinds.device) != first[:, None])
    second = torch.where(like, chance[:, 1] + 1, 0.0).argmax(1)
    order = torch.arange(atoms, device=kinds.device).repeat(len(kinds), 1)
    order[rows, first], order[rows, second] = second, first
    return order, like.any(1)


def _posed(x: Float[Tensor, "b n d"], order: Int[Tensor, "b n"], rotation: Float[Tensor, "b d d"]) -> Tensor:
    return _rows(x, order) @ rotation.mT


def _rows(x: Float[Tensor, "b n d"], order: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
    return x.gather(1, order[..., None].expand_as(x))


def _repeated(element: Element, copies: int) -> Element:
    """The same element for each of a molecule's clouds."""
    rotation, order = element.rotation, element.order
    return Element(
        None if rotation is None else rotation.repeat_interleave(copies, 0),
        None if order is None else order.repeat_interleave(copies, 0),
    )


def _unflat(values: Tensor, copies: int) -> Tensor:
    return values.unflatten(0, (-1, copies))


def _required(draw: Draw) -> Noise:
    if draw.noise is None:
        raise ValueError("a target that samples needs noise: give the draw its own, Draw(..., noise=noise)")
    return draw.noise
