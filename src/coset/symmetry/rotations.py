"""Random and orthonormalised 3 x 3 matrices."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset.noise import Noise


def haar(noise: Noise, reflections: bool = True, dimension: int = 3) -> Float[Tensor, "b d d"]:
    """Uniform draws from O(d), or from SO(d) without reflections, d = 1, 2 or 3 (Mezzadri 2007), in float64."""
    if dimension == 3:
        rotation = orthonormalise(noise.normal(3, 3, dtype=torch.float64))
        # -1 commutes with everything, so det(R) R of a Haar draw from O(3) is one from SO(3).
        return rotation if reflections else rotation * torch.linalg.det(rotation)[:, None, None]
    turn, flip = noise.uniform(2, dtype=torch.float64).unbind(1)
    sign = torch.where(flip < 0.5, 1.0, -1.0) if reflections else torch.ones_like(flip)
    if dimension == 1:
        return sign[:, None, None]
    cos, sin = (2 * torch.pi * turn).cos(), (2 * torch.pi * turn).sin()
    return torch.stack([torch.stack([cos, -sin * sign], 1), torch.stack([sin, cos * sign], 1)], 1)


def orthonormalise(matrix: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 3"]:
    """The Q of the QR decomposition with a positive diagonal of R, by Gram-Schmidt in float64; keeps the sign of det.

    Equivariant: orthonormalise(O M) = O orthonormalise(M) for orthogonal O. Degenerate matrices give an orthogonal
    matrix too, never NaN.
    """
    a, b, c = matrix.double().unbind(-1)
    first = _normalise(a, otherwise=torch.eye(3, dtype=a.dtype, device=a.device)[0].expand_as(a))
    second = _normalise(b - _along(b, first), otherwise=_perpendicular(first))
    second = _normalise(second - _along(second, first), otherwise=_perpendicular(first))
    third = torch.linalg.cross(first, second)
    sign = torch.where((third * c).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.stack([first, second, third * sign], -1)


def _along(v: Tensor, unit: Tensor) -> Tensor:
    return (v * unit).sum(-1, keepdim=True) * unit


def _normalise(v: Tensor, otherwise: Tensor) -> Tensor:
    squared = v.square().sum(-1, keepdim=True)
    fine = squared > 1e-24
    # The inner where keeps 1/sqrt(0) out of the gradient too.
    return torch.where(fine, v * torch.where(fine, squared, 1.0).rsqrt(), otherwise)


def _perpendicular(unit: Tensor) -> Tensor:
    """A unit vector perpendicular to each: the cross product with the axis least along it."""
    axis = torch.nn.functional.one_hot(unit.abs().argmin(-1), 3).to(unit.dtype)
    cross = torch.linalg.cross(unit, axis)
    return cross / torch.linalg.vector_norm(cross, dim=-1, keepdim=True)
