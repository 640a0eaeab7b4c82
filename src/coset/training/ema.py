"""Exponential moving averages of the weights, several decays side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """averages[d] <- d averages[d] + (1 - d) weights.

    fresh: the weights are random at first, so that early on d is (1 + step) / (10 + step) if that is less.
    """

    def __init__(self, model: nn.Module, decays: Sequence[float], fresh: bool = True) -> None:
        self.parameters, self.fresh = list(model.parameters()), fresh
        self.averages = {decay: [p.detach().clone() for p in self.parameters] for decay in decays}

    @torch.no_grad()
    def update(self, step: int) -> None:
        for decay, average in self.averages.items():
            rate = 1 - min(decay, (1 + step) / (10 + step) if self.fresh else 1.0)
            torch._foreach_lerp_(average, [p.detach() for p in self.parameters], rate)  # pyright: ignore

    @contextmanager
    def applied(self, decay: float) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        raw = [p.detach().clone() for p in self.parameters]
        _copy(self.parameters, self.averages[decay])
        try:
            yield
        finally:
            _copy(self.parameters, raw)


@torch.no_grad()
def _copy(into: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for target, value in zip(into, values, strict=True):
        target.copy_(value)
