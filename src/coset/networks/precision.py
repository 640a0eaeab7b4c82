"""bf16 inside the trunks, float32 at the edges (coordinates, distances, heads, losses)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def set_trunk_precision(module: nn.Module, precision: str) -> None:
    """ "bf16" runs the trunks of all networks inside `module` under bf16 autocast, "fp32" as they are.

    A bf16 coordinate of 2-4 Angstrom is off by up to 0.008 Angstrom, so only a trunk's inside is ever cast.
    """
    if precision not in ("bf16", "fp32"):
        raise ValueError(f"precision must be 'bf16' or 'fp32'; got {precision!r}")
    for part in module.modules():
        part.trunk_bf16 = precision == "bf16"  # type: ignore[assignment]


def trunk_autocast(module: nn.Module, like: Tensor) -> torch.autocast:
    """The context in which a network runs its trunk."""
    enabled = getattr(module, "trunk_bf16", False) and like.dtype == torch.float32
    return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=enabled)
