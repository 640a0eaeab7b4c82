"""Noise schedules: t -> (alpha, sigma), data at t = 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coset.interfaces import Schedule


@dataclass(frozen=True)
class Polynomial(Schedule):
    """EDM's "polynomial_2" (Hoogeboom et al. 2022), variance preserving: alpha^2 = (1 - 2s) (1 - t^2)^2 + s.

    `steps` is the length T of the published grid: its last step is clipped so that alpha^2 falls by at most a
    factor 1e-3 there, which keeps alpha(1) off zero. Off the grid the same formula is used.
    """

    precision: float = 1e-5
    steps: int = 1000

    def __call__(self, t):
        alpha2 = self._alpha2(t.double())
        return alpha2.sqrt(), (1 - alpha2).sqrt()

    def log_snr(self, t):
        alpha2 = self._alpha2(t.double())
        return alpha2.log() - (1 - alpha2).log()

    def time(self, log_snr):
        alpha = ((torch.sigmoid(log_snr.double()) - self.precision) / (1 - 2 * self.precision)).clamp(0, 1).sqrt()
        return (1 - alpha).clamp_min(0).sqrt()

    def _alpha2(self, t):
        last = 1e-3 * (1 - ((self.steps - 1) / self.steps) ** 2) ** 2
        return (1 - 2 * self.precision) * (1 - t.square()).square().clamp_min(last) + self.precision
