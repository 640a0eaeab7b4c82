"""Draws from the posterior over a group: clean clouds, posed and ordered as they may lie behind a noisy one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.symmetry.fisher import log_normalizer
from coset.symmetry.groups import Group
from coset.symmetry.posterior import Evidence, listed

_TRIALS = 10_000  # one is accepted in two or three


def draw_rotation(matrix: Float[Tensor, "b n n"], noise: Noise, reflections: bool = False) -> Float[Tensor, "b n n"]:
    """Exact draws R from SO(n), or O(n), with density proportional to exp(tr(F^T R)), n = 2 or 3, in float64.

    R is a quadratic form of a unit quaternion (in the plane: of the half angle), whose law is then a Bingham
    distribution (Prentice 1986); drawn by rejection from an angular central Gaussian (Kent, Ganeiber & Mardia 2018).
    Raises ValueError for another n.
    """
    if matrix.shape[-1] not in (2, 3):
        raise ValueError(f"expected matrices of shape (b, n, n) with n = 2 or 3; got {tuple(matrix.shape)}")
    matrix = matrix.double()
    if reflections:
        # R = R' M with M a mirror: tr(F^T R) = tr((F M)^T R').
        mirror = torch.ones(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        mirror[-1] = -1
        chance = torch.sigmoid(log_normalizer(matrix * mirror) - log_normalizer(matrix))
        improper = noise.fork(2).uniform(dtype=torch.float64).to(matrix.device) < chance
        mirrors = torch.where(improper[:, None], mirror, torch.ones_like(mirror))[:, None]
        return draw_rotation(matrix * mirrors, noise) * mirrors
    rotation = _from_quaternion if matrix.shape[-1] == 3 else _from_half_angle
    form = torch.einsum("bij,ijkl->bkl", matrix, _polarised(rotation, 4 if matrix.shape[-1] == 3 else 2).to(matrix))
    values, vectors = torch.linalg.eigh(form)
    unit = _bingham(values[:, -1:] - values, noise)
    return rotation(torch.einsum("bij,bj->bi", vectors, unit))


def draw_behind(group: Group, process: Process, draw: Draw, noise: Noise) -> Cloud:
    """A clean cloud from the posterior over the group's orbit of `draw.x0` (and of its siblings) given `draw.z`."""
    clouds, there = listed(group, draw)
    evidence = Evidence.of(process, draw)
    weight = evidence.of_candidates(clouds, there, group).log_weight.softmax(1)
    chance = noise.fork(0).uniform(dtype=torch.float64).to(weight.device)
    chosen = (weight.cumsum(1) < chance[:, None]).sum(1).clamp_max(weight.shape[1] - 1)
    rows = torch.arange(len(chosen), device=chosen.device)
    x, h = (values.unflatten(0, weight.shape)[rows, chosen] for values in (clouds.x, clouds.h))
    drawn = Cloud(x, h, draw.x0.mask.double())
    if group.rotations:
        cross = torch.einsum("bni,bnj->bij", evidence.x, process.noised(drawn, draw.t).mean.x)
        drawn = drawn.rotate(draw_rotation(cross, noise.fork(1), group.reflections))
    return replace(draw.x0, x=drawn.x.to(draw.x0.x.dtype), h=drawn.h.to(draw.x0.h.dtype))


def _bingham(rates: Float[Tensor, "b m"], noise: Noise) -> Float[Tensor, "b m"]:
    """Unit vectors with density proportional to exp(-sum_i rates_i x_i^2), the least rate being 0."""
    m = rates.shape[-1]
    low, high = torch.zeros_like(rates[:, :1]), torch.full_like(rates[:, :1], float(m))
    for _ in range(60):  # sum_i 1 / (b + 2 rate_i) = 1 falls in b, and gives the tightest envelope
        b = (low + high) / 2
        above = (1 / (b + 2 * rates)).sum(-1, keepdim=True) > 1
        low, high = torch.where(above, b, low), torch.where(above, high, b)
    spread = 1 + 2 * rates / high
    found, pending = torch.zeros_like(rates), torch.ones(len(rates), dtype=torch.bool, device=rates.device)
    for trial in range(_TRIALS):
        each = noise.number(trial)
        x = torch.nn.functional.normalize(each.fork(0).normal(m, dtype=torch.float64).to(rates) / spread.sqrt(), dim=-1)
        log_ratio = 0.5 * m * (spread * x.square()).sum(-1).log() - (rates * x.square()).sum(-1)
        log_ratio = log_ratio + 0.5 * (m - high[:, 0]) - 0.5 * m * (math.log(m) - high[:, 0].log())
        accept = pending & (each.fork(1).uniform(dtype=torch.float64).to(rates).log() < log_ratio)
        found = torch.where(accept[:, None], x, found)
        pending = pending & ~accept
        if not pending.any():
            return found
    raise AssertionError("rejection ends: at least one draw in a few is accepted")


def _from_quaternion(q: Float[Tensor, "b 4"]) -> Float[Tensor, "b 3 3"]:
    """Quadratic in q = (w, x, y, z); a rotation where |q| = 1."""
    w, x, y, z = q.unbind(-1)
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _from_half_angle(q: Float[Tensor, "b 2"]) -> Float[Tensor, "b 2 2"]:
    c, s = q.unbind(-1)
    rows = [[c * c - s * s, -2 * c * s], [2 * c * s, c * c - s * s]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _polarised(form: Callable[[Tensor], Tensor], m: int) -> Float[Tensor, "n n m m"]:
    """The symmetric matrices T_ij of a quadratic form R_ij(q) = q^T T_ij q."""
    units = torch.eye(m, dtype=torch.float64)
    pairs = form((units[:, None] + units).reshape(-1, m)).unflatten(0, (m, m))
    single = form(units)
    return ((pairs - single[:, None] - single) / 2).permute(2, 3, 0, 1)
