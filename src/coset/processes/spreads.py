"""Spreads: the scales of a learned process, from what a field says of each atom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from coset.cloud import per_atom
from coset.scales import Isotropic, PerAtom, PerAtomScalar, Scale

Growth = Callable[[Tensor, Tensor], Tensor]
"""(scalars s, pin) to a positive factor that is 1 where the pin, which vanishes at both ends of time, is 0."""


def softplus_power(s: Tensor, pin: Tensor) -> Tensor:
    """softplus(s)^pin, the pinned form; finite for every finite s."""
    # log softplus(s) is s itself far below zero, where softplus would underflow to 0.
    return torch.exp(pin * torch.where(s < -15, s, F.softplus(s.clamp_min(-15)).log()))


def exponential(s: Tensor, pin: Tensor) -> Tensor:
    """exp(s pin), the exponential form."""
    return torch.exp(s * pin)


class MatrixForm(ABC):
    """A d x d matrix an atom from `channels` vectors."""

    @property
    @abstractmethod
    def channels(self) -> int: ...

    @abstractmethod
    def __call__(self, vectors: Float[Tensor, "b n m d"]) -> Float[Tensor, "b n d d"]: ...


@dataclass(frozen=True)
class Gram(MatrixForm):
    """M = sum_k v_k v_k^T, two-sided: vectors that turn by R make R M R^T of M.

    Positive semidefinite, so sigma I + M is never singular. At rank d - 1 and above, with sigma an atom's own, every
    positive definite covariance has such a root: nothing is lost of what the marginals can be.
    """

    rank: int = 3

    @property
    def channels(self) -> int:
        return self.rank

    def __call__(self, vectors: Float[Tensor, "b n m d"]) -> Float[Tensor, "b n d d"]:
        return vectors.mT @ vectors


@dataclass(frozen=True)
class Outer(MatrixForm):
    """M = sum_k v_k w_k^T, two-sided and of any shape: paths may turn as well. sigma I + M can be singular."""

    rank: int = 3

    @property
    def channels(self) -> int:
        return 2 * self.rank

    def __call__(self, vectors: Float[Tensor, "b n m d"]) -> Float[Tensor, "b n d d"]:
        left, right = vectors.chunk(2, dim=2)
        return left.mT @ right


@dataclass(frozen=True)
class Columns(MatrixForm):
    """M with d vectors as its columns, as released with END (Cornet et al. 2024). NOT equivariant.

    Vectors that turn by R make R M of M, so sigma I + M turns into sigma I + R M, neither R U R^T nor of its
    covariance: the law of the noisy cloud does not turn with the molecule. Kept for comparison.
    """

    dimension: int = 3

    @property
    def channels(self) -> int:
        return self.dimension

    def __call__(self, vectors: Float[Tensor, "b n m d"]) -> Float[Tensor, "b n d d"]:
        return vectors.mT


class Spread(ABC):
    """Scales of positions and features at time t: those of a schedule, sigma, times what the field adds between.

    At both ends of time nothing is added, whatever the field says.
    """

    @abstractmethod
    def channels(self, features: int) -> tuple[int, int]:
        """How many scalars and vectors an atom it takes for so many feature channels."""

    @abstractmethod
    def __call__(
        self,
        sigma: Float[Tensor, "b"],
        t: Float[Tensor, "b"],
        scalars: Float[Tensor, "b n k"],
        vectors: Float[Tensor, "b n m d"],
        mask: Float[Tensor, "b n 1"],
    ) -> tuple[Scale, Scale]: ...


@dataclass(frozen=True)
class Scheduled(Spread):
    """The schedule's sigma alone: a process that learns its mean only."""

    def channels(self, features):
        return 0, 0

    def __call__(self, sigma, t, scalars, vectors, mask):
        return Isotropic(sigma), Isotropic(sigma)


@dataclass(frozen=True)
class Scalar(Spread):
    """sigma times a factor an atom for its position, and one for each of its features."""

    growth: Growth = softplus_power

    def channels(self, features):
        return features + 1, 0

    def __call__(self, sigma, t, scalars, vectors, mask):
        factors = self.growth(scalars, per_atom(t * (1 - t)))
        std = per_atom(sigma) * factors * mask + 1 - mask
        return PerAtomScalar(std[..., -1:]), PerAtomScalar(std[..., :-1])


@dataclass(frozen=True)
class Matrix(Spread):
    """As `Scalar`, and t (1 - t) share M on the positions with M a matrix an atom: U = sigma I + t (1 - t) share M."""

    growth: Growth = softplus_power
    form: MatrixForm = Gram()
    share: float = 0.01

    def channels(self, features):
        return features + 1, self.form.channels

    def __call__(self, sigma, t, scalars, vectors, mask):
        x_scale, h_scale = Scalar(self.growth)(sigma, t, scalars, vectors, mask)
        added = self.share * (per_atom(t * (1 - t)) * mask)[..., None] * self.form(vectors)
        identity = torch.eye(vectors.shape[-1], dtype=mask.dtype, device=mask.device)
        return PerAtom(x_scale.std[..., None] * identity + added), h_scale
