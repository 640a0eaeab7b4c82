"""Consistency: an estimate must be the same all along a path, so that a few calls draw what took a hundred."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, per_atom
from coset.interfaces import Denoiser, Process, Schedule
from coset.noise import Noise
from coset.objectives.denoising import Times, draw_noisy
from coset.objectives.terms import Term
from coset.scales import CENTRED, Subspace


@dataclass(frozen=True)
class Narrowing:
    """The nearer of two times: sigma / alpha is less there by a share that falls from `first` to `last`, geometrically
    over so many steps, and stays (Geng et al. 2025: a large share learns fast, a small one has no bias).

    Where the nearer time would have less noise than t = 0 it is t = 0.
    """

    schedule: Schedule
    first: float = 0.5
    last: float = 0.05
    steps: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.last <= self.first < 1:
            raise ValueError(
                f"the share of noise between two times needs 0 < last <= first < 1; got first {self.first:g} and last "
                f"{self.last:g} (settings gap_first and gap_last)"
            )

    def __call__(self, t: Float[Tensor, "b"], step: int | Int[Tensor, ""]) -> Float[Tensor, "b"]:
        done = torch.as_tensor(step, dtype=t.dtype, device=t.device).clamp(0, self.steps) / self.steps
        share = torch.exp(math.log(self.first) + done * math.log(self.last / self.first))
        log_snr = self.schedule.log_snr(t) - 2 * torch.log1p(-share)
        return self.schedule.time(torch.minimum(log_snr, self.schedule.log_snr(torch.zeros_like(t))))


@dataclass(frozen=True)
class Consistency:
    """The sum of weighted terms between the estimates at two times of one path, the nearer one without gradient.

    A path is one clean cloud and one noise. At t = 0 the estimate is the clean cloud itself, and from there what is
    true spreads to more noise. The network begins as a denoiser, whose mean over clouds it gives up for one of them
    (consistency training of Song et al. 2023, tuned as by Geng et al. 2025). Draw from it with renewed noise
    (`Renewed`), few steps, the last of which may stop short of t = 0.
    """

    terms: tuple[tuple[float, Term], ...]
    times: Times
    nearer: Narrowing
    subspace: Subspace = CENTRED

    def __call__(self, process: Process, denoiser: Denoiser, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        draw = draw_noisy(self.times, self.subspace, process, x0, noise)
        r = self.nearer(draw.t, noise.step)
        with torch.no_grad():
            seen = denoiser(process.noised(x0, r).at(draw.eps), r, noise.fork(2))
            target = _mixed(seen, x0, (r <= 0).to(x0.x.dtype))
        estimate = denoiser(draw.z, draw.t, noise.fork(2))  # with the same draws, where the denoiser has any
        draw = replace(draw, x0=target)
        return torch.stack([weight * term(draw, target, estimate) for weight, term in self.terms]).sum(0)


def _mixed(estimate: Cloud, x0: Cloud, clean: Float[Tensor, "b"]) -> Cloud:
    """The clean cloud where `clean` is 1, the estimate where it is 0."""
    share = per_atom(clean)
    return replace(x0, x=estimate.x + share * (x0.x - estimate.x), h=estimate.h + share * (x0.h - estimate.h))
