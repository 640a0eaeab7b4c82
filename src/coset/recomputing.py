"""Recomputing: activations that are made again in the backward pass in place of being kept (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint


def set_recompute(module: nn.Module, recompute: bool) -> None:
    """Whether the layers of all networks inside `module` keep only what goes into them, for a third more work.

    The same gradients come out, from memory that grows with one layer's activations instead of all layers'. Where a
    time derivative is taken, the whole pass with its derivative counts as one layer.
    """
    for part in module.modules():
        part.recomputes = recompute  # type: ignore[assignment]


def lean(part: nn.Module, function: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The layer `part`, or a `function` that uses its parameters, as it is called where memory may be short."""
    function = part if function is None else function
    if not is_lean(part):
        return function
    # Nothing inside draws from torch's generators: all chance is in `Noise`.
    return partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)


def is_lean(part: nn.Module) -> bool:
    """Whether `lean` would do anything: it does nothing without gradients, and nothing inside of a forward derivative,
    where more is kept than a layer called again from outside would make."""
    return getattr(part, "recomputes", False) and torch.is_grad_enabled() and forward_ad._current_level < 0
