"""Fitting of small models to one molecule, for figures."""

from __future__ import annotations

from collections.abc import Callable

import torch

from coset.noise import Noise


def fit(model: torch.nn.Module, loss: Callable[[Noise], torch.Tensor], steps: int, batch: int) -> None:
    """Trains on the losses (batch,) of so many draws a step, by Adam at a rate that falls from 0.003 to 0."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss(Noise.from_seed(0, torch.arange(batch)).at(step)).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rates.step()
