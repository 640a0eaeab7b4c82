"""Expected rotations: the matrix Fisher distribution on SO(n) and O(n), n = 1, 2, 3.

Its density at R is exp(tr(F^T R)) / c(F) with respect to Haar measure (Downs 1972; Khatri & Mardia 1977). It is the
posterior over rotations of a clean cloud behind a noisy one, with F = sum_i z_i x_i^T over the noise's covariance, so
its mean gives targets averaged over rotations in closed form.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import i0e, i1e

# Gauss-Legendre nodes and weights on [0, 1], made here because compilers do not look into NumPy.
_NODES, _WEIGHTS = (torch.from_numpy(values) / 2 for values in np.polynomial.legendre.leggauss(64))
_NODES = _NODES + 0.5
_TAIL = 40.0  # exp(-40) is below float64's resolution of the rest


def expected_rotation(matrix: Float[Tensor, "*b n n"], reflections: bool = False) -> Float[Tensor, "*b n n"]:
    """E[R] for R in SO(n) with density proportional to exp(tr(F^T R)), in O(n) with `reflections`; n is 1, 2 or 3.

    Computed in float64 and returned in the dtype of F; finite for every finite F, whatever its rank. To 1e-8 of the
    exact mean for |F| up to 1e5 and 1e-6 up to 1e8. Not meant to be differentiated. Raises ValueError for other shapes.
    """
    return _mean_and_log_normalizer(matrix, reflections)[0].to(matrix.dtype)


def log_normalizer(matrix: Float[Tensor, "*b n n"], reflections: bool = False) -> Float[Tensor, "*b"]:
    """log c(F), the log of the integral of exp(tr(F^T R)) over SO(n) or O(n) with Haar probability; 0 for F = 0."""
    return _mean_and_log_normalizer(matrix, reflections)[1].to(matrix.dtype)


def mean_and_log_normalizer(
    matrix: Float[Tensor, "*b n n"], reflections: bool = False
) -> tuple[Float[Tensor, "*b n n"], Float[Tensor, "*b"]]:
    """Both at the cost of one, in float64."""
    return _mean_and_log_normalizer(matrix, reflections)


@torch.no_grad()
def _mean_and_log_normalizer(matrix: Tensor, reflections: bool) -> tuple[Tensor, Tensor]:
    size = matrix.shape[-1] if matrix.ndim >= 2 and matrix.shape[-1] == matrix.shape[-2] else 0
    if size not in _BY_SIZE:
        raise ValueError(f"expected matrices of shape (..., n, n) with n = 1, 2 or 3; got {tuple(matrix.shape)}")
    return _BY_SIZE[size](matrix.double(), reflections)


def _on_the_line(matrix: Tensor, reflections: bool) -> tuple[Tensor, Tensor]:
    """SO(1) is trivial; O(1) is a sign, with mean tanh F."""
    value = matrix[..., 0, 0]
    if not reflections:
        return torch.ones_like(matrix), value
    return matrix.tanh(), value.abs() + torch.log1p(torch.exp(-2 * value.abs())) - math.log(2)


def _in_the_plane(matrix: Tensor, reflections: bool) -> tuple[Tensor, Tensor]:
    """Von Mises: tr(F^T R) = p cos + q sin of the angle, with mean resultant I1 / I0 (Mardia & Jupp 2000, 3.5.4)."""
    (a, b), (c, d) = matrix[..., 0, :].unbind(-1), matrix[..., 1, :].unbind(-1)
    proper, log_proper = _von_mises(a + d, c - b, handed=1.0)
    if not reflections:
        return proper, log_proper
    improper, log_improper = _von_mises(a - d, c + b, handed=-1.0)
    return _mixed(proper, log_proper, improper, log_improper)


def _von_mises(p: Tensor, q: Tensor, handed: float) -> tuple[Tensor, Tensor]:
    kappa = torch.hypot(p, q)
    # I1(k) / (k I0(k)) tends to 1/2 at 0.
    shrink = torch.where(kappa > 1e-8, i1e(kappa) / (i0e(kappa) * kappa.clamp_min(1e-300)), 0.5)
    cos, sin = shrink * p, shrink * q
    mean = torch.stack([torch.stack([cos, -handed * sin], -1), torch.stack([sin, handed * cos], -1)], -2)
    return mean, kappa + i0e(kappa).log()


def _in_space(matrix: Tensor, reflections: bool) -> tuple[Tensor, Tensor]:
    """By the singular values s1 >= s2 >= |s3| of the proper decomposition: E[R] = U diag(d log c / d s) V^T."""
    # Singular vectors of matrices with entries like 1e-300 would lose their orthogonality.
    u, s, vh = torch.linalg.svd(torch.where(matrix.abs() > 1e-150, matrix, 0.0))
    last = torch.linalg.det(u) * torch.linalg.det(vh)
    # u diag(1, 1, last) has the determinant of vh: both may be taken as rotations, for their common sign cancels.
    s = torch.cat([s[..., :2], s[..., 2:] * last.sign()[..., None]], -1)
    u = torch.cat([u[..., :2], u[..., 2:] * last.sign()[..., None, None]], -1)
    d, log_c = _slopes(s)
    if reflections:
        # R = -R' with R' a rotation: tr(F^T R) = tr((-F)^T R'), and -F = (u diag(-1, -1, 1)) diag(s1, s2, -s3) vh.
        mirror = torch.tensor([1.0, 1.0, -1.0], dtype=s.dtype, device=s.device)
        other, log_other = _slopes(s * mirror)
        d, log_c = _mixed(d, log_c, other * mirror, log_other)
    return (u * d[..., None, :]) @ vh, log_c


def _slopes(s: Float[Tensor, "*b 3"]) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b"]]:
    """d log c / d s and log c on SO(3), by a one-dimensional integral (Wood 1993; Kume & Wood 2005), s1 >= s2 >= |s3|.

    c = int_{-1}^{1} 1/2 I0[(s2 - s3)(1 - u)/2] I0[(s2 + s3)(1 + u)/2] exp(s1 u) du. Of the three cyclic orders this one
    decays from u = 1 on for every s; the exponentials are taken out of the Bessel functions, and u = 1 - length y^4
    puts the nodes where the mass is.
    """
    nodes, weights = _NODES.to(s.device), _WEIGHTS.to(s.device)
    s1, s2, s3 = (part[..., None] for part in s.unbind(-1))
    a, b, rate = (s2 - s3) / 2, (s2 + s3) / 2, s1 + s3
    length = (_TAIL / rate.clamp_min(_TAIL / 2)).clamp_max(2.0)
    v = length * nodes**4
    left, right = i0e(a * v), i0e(b * (2 - v))
    mass = weights * 4 * length * nodes**3 * 0.5 * left * right * torch.exp(-rate * v)
    total = mass.sum(-1)
    share = mass / total[..., None]
    drop = (share * v).sum(-1)
    p = (share * v * i1e(a * v) / left).sum(-1) / 2
    q = (share * (2 - v) * i1e(b * (2 - v)) / right).sum(-1) / 2
    return torch.stack([1 - drop, p + q, q - p], -1), s.sum(-1) + total.log()


def _mixed(mean: Tensor, log_c: Tensor, other: Tensor, log_other: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log normaliser over two halves of a group, of equal Haar measure."""
    weight = torch.sigmoid(log_c - log_other).reshape(log_c.shape + (1,) * (mean.ndim - log_c.ndim))
    return weight * mean + (1 - weight) * other, torch.logaddexp(log_c, log_other) - math.log(2)


_BY_SIZE = {1: _on_the_line, 2: _in_the_plane, 3: _in_space}
