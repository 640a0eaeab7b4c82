"""bf16 inside the trunks, float32 at the edges (coordinates, distances, heads, losses)."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SLOWEST = 3.0  # times float32; measured: 0.4 times with AVX512-bf16, 20 to 40 times where AVX2 emulates it


def usable_precision(precision: str, device: str) -> str:
    """The precision to train in: what was asked for, but "fp32" for "bf16" on a CPU that only emulates it."""
    emulated = precision == "bf16" and device.startswith("cpu") and bf16_slowdown() > SLOWEST
    return "fp32" if emulated else precision


@functools.cache
def bf16_slowdown() -> float:
    """Time of a matrix product in bf16 over that in float32 on this CPU; some hundredths of a second, once a process.

    Measured: what processors say of themselves differs by maker, and by the version of torch that asks them.
    """
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """The fastest of a few, which no other process has disturbed."""
    matrix, taken = torch.ones(192, 192, dtype=dtype), []
    for _ in range(6):
        begun = time.perf_counter()
        torch.mm(matrix, matrix)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def set_trunk_precision(module: nn.Module, precision: str) -> None:
    """ "bf16" runs the trunks of all networks inside `module` under bf16 autocast, "fp32" as they are.

    A bf16 coordinate of 2-4 Angstrom is off by up to 0.008 Angstrom, so only a trunk's inside is ever cast.
    """
    if precision not in ("bf16", "fp32"):
        raise ValueError(f"precision must be 'bf16' or 'fp32'; got {precision!r}")
    for part in module.modules():
        part.trunk_bf16 = precision == "bf16"  # type: ignore[assignment]


@contextmanager
def run_in(module: nn.Module, precision: str | None) -> Iterator[None]:
    """The networks inside `module` in this precision for a while, then as they were; None changes nothing.

    Raises ValueError as `set_trunk_precision` does.
    """
    before = [(part, getattr(part, "trunk_bf16", False)) for part in module.modules()]
    try:
        if precision is not None:
            set_trunk_precision(module, precision)
        yield
    finally:
        for part, bf16 in before:
            part.trunk_bf16 = bf16  # type: ignore[assignment]


def precision_of(module: nn.Module) -> str:
    """ "bf16" where any network inside `module` runs its trunk so, else "fp32"."""
    return "bf16" if any(getattr(part, "trunk_bf16", False) for part in module.modules()) else "fp32"


def trunk_autocast(module: nn.Module, like: Tensor) -> torch.autocast:
    """The context in which a network runs its trunk."""
    enabled = getattr(module, "trunk_bf16", False) and like.dtype == torch.float32
    return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=enabled)
