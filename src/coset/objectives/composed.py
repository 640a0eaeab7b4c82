"""A loss composed of terms, with self-conditioning: the network sees its own first estimate in half of the draws."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.interfaces import Denoiser, Draw, Process, Schedule, Target
from coset.noise import Noise
from coset.objectives.denoising import Times, draw_noisy
from coset.objectives.terms import Term
from coset.scales import CENTRED, Subspace

GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class NoiseMixture:
    """Times at which sigma / alpha is log-normal, or with probability `share` log-uniform on [low, high].

    Stratified: molecule i of a batch has the place u + i * golden ratio (mod 1), so that every part of a batch covers
    all levels evenly. The levels are those of the schedule at most and at least; units of the encoded positions.
    """

    schedule: Schedule
    median: float = 0.45
    deviation: float = 1.2
    share: float = 0.4
    low: float = 0.003
    high: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(
                f"the log-uniform noise levels need 0 < low < high; got {self.low:g} and {self.high:g} "
                "(settings noise_low and noise_high)"
            )

    def __call__(self, noise: Noise) -> Float[Tensor, "b"]:
        first = noise.batch.uniform(dtype=torch.float64)
        places = (first[:1] + GOLDEN * torch.arange(len(first), dtype=first.dtype, device=first.device)) % 1
        place = noise.own(places)
        # Each part of [0, 1) is stretched to all of it and becomes a quantile of its own distribution.
        uniform = math.log(self.low) + math.log(self.high / self.low) * place / max(self.share, 1e-9)
        quantile = ((place - self.share) / max(1 - self.share, 1e-9)).clamp(1e-6, 1 - 1e-6)
        normal = math.log(self.median) + self.deviation * torch.special.ndtri(quantile)
        ends = self.schedule.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64, device=first.device))
        log_snr = -2 * torch.where(place < self.share, uniform, normal)
        return self.schedule.time(torch.minimum(torch.maximum(log_snr, ends[0]), ends[1]))


@dataclass(frozen=True)
class Composed:
    """The sum of weighted terms on one draw of t and eps a molecule.

    terms: pairs of a weight and a term. self_conditioning: half of a batch, chosen by lot, sees the estimate of a first
    call without gradient as `condition.previous` (Chen et al. 2023); samplers hand on the estimate of the step before.
    """

    terms: tuple[tuple[float, Term], ...]
    target: Target
    times: Times
    subspace: Subspace = CENTRED
    self_conditioning: bool = False

    def __call__(self, process: Process, denoiser: Denoiser, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        draw = draw_noisy(self.times, self.subspace, process, x0, noise)
        z = self._informed(denoiser, draw, noise) if self.self_conditioning else draw.z
        return self.loss(draw, self.target(process, draw), denoiser(z, draw.t, noise.fork(2)))

    def loss(self, draw: Draw, target: Cloud, estimate: Cloud) -> Float[Tensor, "b"]:
        return torch.stack([weight * term(draw, target, estimate) for weight, term in self.terms]).sum(0)

    def _informed(self, denoiser: Denoiser, draw: Draw, noise: Noise) -> Cloud:
        """The noisy clouds, half of them with an estimate; the mask of the others' is 0."""
        # By lot: batches are sorted by size, and the first half would always be the smaller ones.
        lots = noise.batch.fork(5).uniform().argsort()
        rows = lots.narrow(0, 0, (len(lots) + 1) // 2)
        if noise.company is not None:
            rows = noise.own(torch.zeros_like(lots).index_fill(0, rows, 1)).nonzero()[:, 0]
            if not len(rows):
                return draw.z
        with torch.no_grad():
            seeds = noise.fork(4)
            estimate = denoiser(draw.z.take(rows), draw.t[rows], replace(seeds, seeds=seeds.seeds[rows], company=None))
        x, h, mask = (
            torch.zeros_like(whole).index_copy(0, rows, part)
            for whole, part in ((draw.z.x, estimate.x), (draw.z.h, estimate.h), (draw.z.mask, estimate.mask))
        )
        return replace(draw.z, condition=replace(draw.z.condition or Condition(), previous=Cloud(x, h, mask)))
