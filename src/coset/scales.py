"""Scale operators and subspaces: the linear algebra behind Gaussians on centred or free point clouds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import center, per_atom


class Scale(ABC):
    """An invertible linear map U of per-atom vectors (b, n, d); a Gaussian is its mean + U eps."""

    @abstractmethod
    def apply(self, values: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """U v."""

    @abstractmethod
    def inverse(self) -> Scale: ...

    @abstractmethod
    def transpose(self) -> Scale: ...

    @abstractmethod
    def logdet(self, mask: Float[Tensor, "b n 1"], width: int) -> Float[Tensor, "b"]:
        """log |det U| over the real atoms, with d = width channels."""


@dataclass(frozen=True)
class Isotropic(Scale):
    """One standard deviation a molecule."""

    std: Float[Tensor, "b"]

    def apply(self, values):
        return values * per_atom(self.std).to(values.dtype)

    def inverse(self):
        return Isotropic(1 / self.std)

    def transpose(self):
        return self

    def logdet(self, mask, width):
        return width * mask.sum((1, 2)) * self.std.abs().log().to(mask.dtype)


@dataclass(frozen=True)
class PerAtomScalar(Scale):
    """One standard deviation an atom, or one an atom and channel. Padding must hold 1."""

    std: Float[Tensor, "b n d"]

    def apply(self, values):
        return values * self.std

    def inverse(self):
        return PerAtomScalar(1 / self.std)

    def transpose(self):
        return self

    def logdet(self, mask, width):
        return (self.std.abs().log() * mask).expand(*mask.shape[:2], width).sum((1, 2))


@dataclass(frozen=True)
class PerAtom(Scale):
    """A matrix an atom (END, Cornet et al. 2024). Padding must hold the identity."""

    matrix: Float[Tensor, "b n d d"]

    def apply(self, values):
        return torch.einsum("bnij,bnj->bni", self.matrix, values)

    def inverse(self):
        # Without the check: a singular matrix makes its own molecule NaN, where the check would stop the batch.
        return PerAtom(torch.linalg.inv_ex(self.matrix).inverse)

    def transpose(self):
        return PerAtom(self.matrix.mT)

    def logdet(self, mask, width):
        return (torch.linalg.slogdet(self.matrix).logabsdet * mask[..., 0]).sum(1)


@dataclass(frozen=True)
class Graph(Scale):
    """A matrix over the atoms, the same for every channel (harmonic priors). Padding must hold the identity."""

    matrix: Float[Tensor, "b n n"]

    def apply(self, values):
        return self.matrix @ values

    def inverse(self):
        return Graph(torch.linalg.inv(self.matrix))

    def transpose(self):
        return Graph(self.matrix.mT)

    def logdet(self, mask, width):
        return width * torch.linalg.slogdet(self.matrix).logabsdet


@dataclass(frozen=True)
class Modal(Scale):
    """One standard deviation along each of the orthonormal modes of a molecule's atoms, the same for every channel.

    vectors: a mode a column; those of the uniform shift and of padding are zero, and std 1 there. So it is a map of the
    centred subspace, and invertible on that alone.
    """

    vectors: Float[Tensor, "b n n"]
    std: Float[Tensor, "b n"]

    def apply(self, values):
        return self.vectors @ (self.std[..., None] * (self.vectors.mT @ values))

    def inverse(self):
        return Modal(self.vectors, 1 / self.std)

    def transpose(self):
        return self

    def logdet(self, mask, width):
        return width * self.std.log().sum(1)


class Subspace(ABC):
    """Where positions live. Features always live on the free space."""

    @abstractmethod
    def project(self, values: Float[Tensor, "b n d"], mask: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n d"]:
        """Orthogonal projection; zeroes padding."""

    @abstractmethod
    def dimension(self, mask: Float[Tensor, "b n 1"], width: int) -> Float[Tensor, "b"]: ...

    @abstractmethod
    def solve(self, scale: Scale, values: Float[Tensor, "b n d"], mask: Tensor) -> Float[Tensor, "b n d"]:
        """The eps of the subspace with project(U eps) = values."""

    @abstractmethod
    def logdet(self, scale: Scale, mask: Float[Tensor, "b n 1"], width: int) -> Float[Tensor, "b"]:
        """log |det| of eps -> project(U eps) on the subspace."""


@dataclass(frozen=True)
class Free(Subspace):
    """All of R^(n d)."""

    def project(self, values, mask):
        return values * mask

    def dimension(self, mask, width):
        return width * mask.sum((1, 2))

    def solve(self, scale, values, mask):
        return scale.inverse().apply(values) * mask

    def logdet(self, scale, mask, width):
        return scale.logdet(mask, width)


@dataclass(frozen=True)
class Centred(Subspace):
    """Clouds whose mean over real atoms is zero."""

    def project(self, values, mask):
        return center(values, mask)

    def dimension(self, mask, width):
        return width * (mask.sum((1, 2)) - 1)

    def solve(self, scale, values, mask):
        if isinstance(scale, Isotropic | Modal):
            return scale.inverse().apply(values) * mask
        # eps = U^-1 (y - c) where the shift c, lost in the projection, is the one that centres eps.
        inverse = scale.inverse()
        total = (inverse.apply(values) * mask).sum(1)
        shift = torch.linalg.solve_ex(_summed(inverse, mask, values.shape[-1]), total).result
        return inverse.apply((values - shift[:, None]) * mask) * mask

    def logdet(self, scale, mask, width):
        if isinstance(scale, Modal):
            return scale.logdet(mask, width)
        mean = _summed(scale.inverse(), mask, width) / mask.sum((1, 2))[:, None, None]
        return scale.logdet(mask, width) + torch.linalg.slogdet(mean).logabsdet


CENTRED, FREE = Centred(), Free()


def _summed(scale: Scale, mask: Tensor, width: int) -> Float[Tensor, "b d d"]:
    """The matrix A with sum_i (U (1 c))_i = A c: how the sum over atoms answers to a common shift c."""
    units = torch.eye(width, dtype=mask.dtype, device=mask.device)
    columns = [(scale.apply(mask * unit) * mask).sum(1) for unit in units]
    return torch.stack(columns, -1)
