"""Grids of times for samplers: from 1 (noise) to 0 (data), in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset.interfaces import Schedule


def power_grid(steps: int, power: float = 1.0) -> Float[Tensor, "k"]:
    """steps + 1 times u^power with u equally far apart.

    Power 1 is the published grid; above it the last steps are shorter. Raises ValueError for steps < 1 and powers
    outside (0, 100].
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    if not 0 < power <= 100:
        raise ValueError(f"the power of a grid must be positive and at most 100; got {power}")
    return (torch.arange(steps, -1, -1, dtype=torch.float64) / steps) ** power


def karras_grid(schedule: Schedule, steps: int, rho: float = 7.0, most: float = 80.0) -> Float[Tensor, "k"]:
    """steps + 1 times at which (sigma / alpha)^(1 / rho) is equally far apart (Karras et al. 2022, eq. 5).

    From t = 1 to t = 0; ratios above `most` (Angstrom) are left to the first step. rho = 7 is theirs; a large rho tends
    to equal steps in log SNR. Raises ValueError for steps < 1, rho <= 0, and schedules without noise at t = 0.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho must be positive and finite; got {rho}")
    first, last = _ratios(schedule, most)
    even = torch.arange(steps + 1, dtype=torch.float64) / steps
    ratio = (last ** (1 / rho) + even * (first ** (1 / rho) - last ** (1 / rho))) ** rho
    return _between(schedule, -2 * ratio.log())


def log_snr_grid(schedule: Schedule, steps: int, most: float = 80.0) -> Float[Tensor, "k"]:
    """steps + 1 times equally far apart in log SNR, from t = 1 to t = 0; see `karras_grid` for `most` and errors."""
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    first, last = _ratios(schedule, most)
    even = torch.arange(steps + 1, dtype=torch.float64) / steps
    return _between(schedule, -2 * (last.log() + even * (first.log() - last.log())))


def _ratios(schedule: Schedule, most: float) -> tuple[Tensor, Tensor]:
    """sigma / alpha at t = 0, and at t = 1 or `most`."""
    first, last = (-0.5 * schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64))).exp()
    if not first > 0:
        raise ValueError(f"this grid needs noise at t = 0, and {schedule} has none; use the power grid")
    return first, last.clamp_max(most)


def _between(schedule: Schedule, log_snr: Tensor) -> Float[Tensor, "k"]:
    times = schedule.time(log_snr)
    times[0], times[-1] = 1.0, 0.0
    return times
