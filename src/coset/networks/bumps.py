"""Sums of Gaussian bumps of distances, whose backward pass makes no more than one tensor of all pairs and bumps."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

# Largest exponent of a bump. On a CPU the exponential of what underflows takes 25 times as long, and subnormal numbers
# slow matrix products some forty times.
FARTHEST = 40.0


def summed_bumps(
    distance: Float[Tensor, "b m n"],
    means: Float[Tensor, "k"],
    rates: Float[Tensor, "k"],
    weights: Float[Tensor, "b n"],
) -> Float[Tensor, "b m k"]:
    """sum_j w_j exp(-((d_ij - mean) rate)^2), with gradients of all but the weights; of first order.

    Forward derivatives go through the plain operations, which take four times as long with their backward pass.
    """
    if forward_ad._current_level < 0:
        return _SummedBumps.apply(distance, means, rates, weights)  # type: ignore[return-value]
    steps = ((distance[..., None] - means) * rates).clamp(-math.sqrt(FARTHEST), math.sqrt(FARTHEST))
    return _summed(steps.square().neg().exp(), weights)


def _summed(values: Float[Tensor, "b m n k"], weights: Float[Tensor, "b n"]) -> Float[Tensor, "b m k"]:
    return (weights[:, None, None] @ values).squeeze(2)


class _SummedBumps(torch.autograd.Function):
    """Value and gradients need only the sums over j of bumps times steps to the powers 0, 1 and 2."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, means: Tensor, rates: Tensor, weights: Tensor) -> Tensor:
        steps = (distance[..., None] - means).mul_(rates).clamp_(-math.sqrt(FARTHEST), math.sqrt(FARTHEST))
        bumps = steps.square().neg_().exp_()
        ctx.save_for_backward(rates, weights, steps, bumps)
        return _summed(bumps, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "b m k"]) -> tuple[Tensor | None, Tensor, Tensor, None]:
        rates, weights, steps, bumps = ctx.saved_tensors
        slopes = bumps * steps  # 3e-17 at most where clamped, in place of 0
        scaled, of_distance = 2 * gradient * rates, None
        if ctx.needs_input_grad[0]:
            of_distance = -(slopes @ scaled[..., None]).squeeze(-1) * weights[:, None]
        of_means = (scaled * _summed(slopes, weights)).sum((0, 1))
        of_rates = -2 * (gradient * _summed(slopes.mul_(steps), weights)).sum((0, 1)) / rates
        return of_distance, of_means, of_rates, None
