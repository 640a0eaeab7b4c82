"""Optimiser, learning rate and gradient clipping."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coset.recipes.settings import Training
from coset.training.muon import Muon, hidden_matrices


def make_optimiser(model: nn.Module, s: Training) -> torch.optim.Optimizer:
    """AdamW over all parameters, or Muon over the matrices of hidden layers beside AdamW over everything else."""
    hidden = hidden_matrices(model) if s.optimiser == "muon" else {}
    others = [parameter for parameter in model.parameters() if parameter not in hidden]
    rest = adamw(others, s.lr, s.beta2, s.weight_decay, s.amsgrad)
    return Muon(hidden, rest, s.lr, s.weight_decay) if s.optimiser == "muon" else rest


def adamw(parameters: Sequence[nn.Parameter], lr: float, beta2: float, weight_decay: float, amsgrad: bool):
    """AdamW over all parameters, fused where torch has a kernel (amsgrad included)."""
    return torch.optim.AdamW(
        parameters, lr=lr, betas=(0.9, beta2), weight_decay=weight_decay, amsgrad=amsgrad, fused=True
    )


def rate_factor(step: int, progress: float, warmup: int, decay: float) -> float:
    """Linear rise over `warmup` steps, plateau, linear fall to zero over the last share `decay` of the run.

    The rise takes a tenth of the run at most: short runs would else never leave it.
    """
    rise = min(1.0, max((step + 1) / warmup, 10 * progress)) if warmup else 1.0
    fall = min(1.0, max(0.0, 1 - progress) / decay) if decay else 1.0
    return rise * fall


class Clipper:
    """Clips the gradient norm and returns it as it was; a NaN norm is an error, not a skipped step.

    limit: a number; None clips nothing; "queue" is EDM's rule: 1.5 mean + 2 std of the last 50 norms, the queue
    begun with 3000 and never holding more than the limit (Hoogeboom et al. 2022, released code).
    """

    def __init__(self, limit: float | str | None, history: Sequence[float] = ()) -> None:
        self.limit, self.history = limit, list(history) or [3000.0]

    def __call__(self, parameters: Sequence[nn.Parameter]) -> float:
        limit = self._current()
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        value = float(norm)
        if self.limit == "queue" and value == value:
            self.history = [*self.history, min(value, limit)][-50:]
        return value

    def _current(self) -> float:
        if self.limit is None:
            return float("inf")
        if self.limit != "queue":
            return float(self.limit)
        norms = Tensor(self.history).double()
        return float(1.5 * norms.mean() + 2 * norms.std(correction=0))
