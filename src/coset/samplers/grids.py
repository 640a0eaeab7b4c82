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


def karras_grid(
    schedule: Schedule, steps: int, rho: float = 7.0, most: float = 80.0, until: float | None = None
) -> Float[Tensor, "k"]:
    """steps + 1 times at which (sigma / alpha)^(1 / rho) is equally far apart (Karras et al. 2022, eq. 5).

    From t = 1 to t = 0, or to where the ratio is `until`; ratios above `most` (Angstrom) are left to the first step.
    rho = 7 is theirs; a large rho tends to equal steps in log SNR. Raises ValueError for steps < 1, rho <= 0, schedules
    without noise at t = 0, and an `until` that they do not have.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    if not 0 < rho < float("inf"):
        raise ValueError(f"rho must be positive and finite; got {rho}")
    first, last = _ratios(schedule, most, until)
    even = torch.arange(steps + 1, dtype=torch.float64) / steps
    ratio = (last ** (1 / rho) + even * (first ** (1 / rho) - last ** (1 / rho))) ** rho
    return _between(schedule, -2 * ratio.log(), until is None)


def log_snr_grid(schedule: Schedule, steps: int, most: float = 80.0, until: float | None = None) -> Float[Tensor, "k"]:
    """steps + 1 times equally far apart in log SNR, from t = 1 to t = 0; see `karras_grid` for the rest and errors."""
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step; got {steps}")
    first, last = _ratios(schedule, most, until)
    even = torch.arange(steps + 1, dtype=torch.float64) / steps
    return _between(schedule, -2 * (last.log() + even * (first.log() - last.log())), until is None)


def _ratios(schedule: Schedule, most: float, until: float | None) -> tuple[Tensor, Tensor]:
    """sigma / alpha at t = 0 or `until`, and at t = 1 or `most`."""
    first, last = (-0.5 * schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64))).exp()
    if not first > 0:
        raise ValueError(f"this grid needs noise at t = 0, and {schedule} has none; use the power grid")
    last = last.clamp_max(most)
    if until is None:
        return first, last
    if not float(first) <= until < float(last):
        raise ValueError(f"sampling may stop at noise from {first:.3g} to below {last:.3g}; got {until:g}")
    return torch.tensor(until, dtype=torch.float64), last


def _between(schedule: Schedule, log_snr: Tensor, whole: bool) -> Float[Tensor, "k"]:
    times = schedule.time(log_snr)
    times[0] = 1.0
    if whole:
        times[-1] = 0.0
    return times
