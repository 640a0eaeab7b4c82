"""Paths of a transform: its Gaussian at one time and the derivatives of it, by forward mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Path
from coset.processes.forward_mode import Tensors, value_and_rate, value_and_rates
from coset.processes.transforms import Transform
from coset.processes.volatility import Volatility
from coset.recomputing import lean


def path_of(transform: Transform, volatility: Volatility, x0: Cloud, t: Float[Tensor, "b"], order: int = 1) -> Path:
    """F is linear in eps: one pass of the field with its derivative in t serves every eps. order: 2 by nesting.

    Raises ValueError for orders but 1 and 2.
    """
    if order not in (1, 2):
        raise ValueError(f"a path has derivatives of order 1 and 2; got {order}")
    kinds: list[Gaussian] = []

    def value(time: Tensor) -> Tensors:
        kinds.append(transform(x0, time))
        return tensors(kinds[-1])

    parts = lean(transform, value_and_rate if order == 1 else value_and_rates)(value, t)
    kind = replace(kinds[-1], mean=x0)
    marginal, rate, *acceleration = (rebuilt(kind, part) for part in parts)
    return Path(marginal, rate, volatility(t), *acceleration)


def tensors(gaussian: Gaussian) -> Tensors:
    """All that a Gaussian is made of: its mean, and the one tensor of each scale."""
    scales = (*vars(gaussian.x_scale).values(), *vars(gaussian.h_scale).values())
    return gaussian.mean.x, gaussian.mean.h, *scales


def rebuilt(like: Gaussian, parts: Tensors) -> Gaussian:
    """The inverse of `tensors`, of the kind of `like`."""
    x, h, x_scale, h_scale = parts
    # A scale is made of one tensor, which its base class cannot promise.
    kinds: tuple[Any, Any] = type(like.x_scale), type(like.h_scale)
    return Gaussian(replace(like.mean, x=x, h=h), kinds[0](x_scale), kinds[1](h_scale), like.subspace)
