"""Volatilities g(t): how much noise the reverse process dz = drift dt + g dW makes anew."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.interfaces import Schedule


class Volatility(nn.Module, ABC):
    """g(t), the same for positions and features. The marginals do not depend on it, only the paths."""

    @abstractmethod
    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """g in float64, positive for t > 0."""


class OfSchedule(Volatility):
    """g^2 = -sigma^2 d log SNR / dt: that of the affine process with this schedule (Kingma et al. 2021).

    END's fixed g^2 = 20 sigmoid(20 t - 10) is that of `LinearLogSNR(10, -10)` (Cornet et al. 2024, released code).
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        t = t.double().clone()  # forward mode refuses expanded tensors
        _, slope = torch.func.jvp(self.schedule.log_snr, (t,), (torch.ones_like(t),))[:2]
        _, sigma = self.schedule(t)
        return sigma * (-slope).clamp_min(0).sqrt()


class Monotone(Volatility):
    """A learned g that grows with t: log g^2 is a line plus a few sigmoids, all of them rising.

    It starts near log-linear between g^2 = first at t = 0 and last at t = 1. It can be learned because it stands in the
    drift and under it: the loss |drift - estimate|^2 / (2 g^2) bounds the likelihood for each g.
    """

    def __init__(self, kernels: int = 8, first: float = 1e-3, last: float = 20.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(math.log(first)))
        # softplus(r) = r for large r; heights start small, so that the line is what remains.
        self.rise = nn.Parameter(torch.tensor(math.log(last / first)))
        self.heights = nn.Parameter(torch.full((kernels,), -3.0))
        self.slopes = nn.Parameter(torch.full((kernels,), 10.0))
        self.centres = nn.Parameter((torch.arange(kernels) + 0.5) / kernels)

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        t = t.double()
        steps = torch.sigmoid(F.softplus(self.slopes.double()) * (t[:, None] - self.centres.double()))
        rising = F.softplus(self.rise.double()) * t + (F.softplus(self.heights.double()) * steps).sum(-1)
        return torch.exp(0.5 * (self.level.double() + rising))
