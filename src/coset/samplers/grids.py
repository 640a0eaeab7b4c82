"""Grids of times for samplers: from 1 (noise) to 0 (data), in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


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
