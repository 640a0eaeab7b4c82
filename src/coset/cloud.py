"""Cloud: a batch of masked point clouds, the one data type that flows through the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def per_atom(values: Float[Tensor, "b"]) -> Float[Tensor, "b 1 1"]:
    """One number a molecule, shaped to multiply `Cloud.x` or `Cloud.h`."""
    return values[:, None, None]


@dataclass(frozen=True)
class Condition:
    """What a denoiser may know besides the noisy cloud; every part is optional.

    scalars: properties, composition, fingerprints. nodes, edges: features of a molecular graph.
    vectors: positions or directions that rotate with the cloud. previous: an earlier clean estimate.
    automorphisms: permutations of the atoms that leave the molecule as it is, each as the order of its atoms; rows of
    -1 where a molecule has fewer than others. told: `scalars` as a network hears them, added to the token of every atom
    (`networks.conditioned`).
    latent: what a codec makes of the clean cloud, where that is known already (`codecs.autoencoder`).
    modes: column k holds u_k / sqrt(lambda_k), for the eigenvectors and eigenvalues of the Laplacian of the graph of
    bonds in rising order; zero for lambda = 0 and for padding. A molecule of springs has these normal modes.
    siblings: positions of m other conformers of the same molecule, as clean as the cloud's own.
    end: the noise at the other end of the clean cloud's path, where that is known (`processes.couplings.paired`).
    """

    scalars: Float[Tensor, "b f"] | None = None
    nodes: Float[Tensor, "b n g"] | None = None
    edges: Float[Tensor, "b n n e"] | None = None
    vectors: Float[Tensor, "b n k d"] | None = None
    previous: Cloud | None = None
    automorphisms: Int[Tensor, "b p n"] | None = None
    told: Float[Tensor, "b w"] | None = None
    latent: Cloud | None = None
    modes: Float[Tensor, "b n n"] | None = None
    siblings: Float[Tensor, "b m n d"] | None = None
    end: Float[Tensor, "b n d"] | None = None

    def rotate(self, rotation: Float[Tensor, "b d d"]) -> Condition:
        """Acts on `vectors`, `siblings`, `end` and `previous`; the rest is invariant."""
        vectors = None if self.vectors is None else torch.einsum("bij,bnkj->bnki", rotation, self.vectors)
        siblings = None if self.siblings is None else self.siblings @ rotation.mT[:, None]
        end = None if self.end is None else self.end @ rotation.mT
        previous = self.previous and self.previous.rotate(rotation)
        return replace(self, vectors=vectors, siblings=siblings, end=end, previous=previous, latent=None)

    def permute(self, order: Int[Tensor, "b n"]) -> Condition:
        """Reorders all that is indexed by atoms; scalars stay."""
        edges = self.edges
        if edges is not None:
            edges = _take(_take(edges, order).transpose(1, 2), order).transpose(1, 2)
        return replace(
            self,
            nodes=None if self.nodes is None else _take(self.nodes, order),
            edges=edges,
            vectors=None if self.vectors is None else _take(self.vectors, order),
            previous=self.previous and self.previous.permute(order),
            latent=self.latent and self.latent.permute(order),
            modes=None if self.modes is None else _take(self.modes, order),
            siblings=None if self.siblings is None else _take(self.siblings.transpose(1, 2), order).transpose(1, 2),
            end=None if self.end is None else _take(self.end, order),
            automorphisms=None if self.automorphisms is None else _conjugate(self.automorphisms, order),
        )


@dataclass(frozen=True)
class Cloud:
    """A batch of b point clouds, each padded to n atoms.

    x: positions (b, n, d), d = 3 but for toys in the plane and on the line. h: features (b, n, f). mask: 1 for atoms
    and 0 for padding (b, n, 1), in the dtype of x. Padded rows of x and h are zero; every operation here keeps them so.
    `+`, `-` and `scale` keep the condition of the left operand.
    """

    x: Float[Tensor, "b n d"]
    h: Float[Tensor, "b n f"]
    mask: Float[Tensor, "b n 1"]
    condition: Condition | None = field(default=None, repr=False)

    def map(self, function: Callable[..., Tensor], *others: Cloud) -> Cloud:
        """Applies a function to x and to h (and to those of the others)."""
        return replace(
            self,
            x=function(self.x, *(other.x for other in others)),
            h=function(self.h, *(other.h for other in others)),
        )

    def __add__(self, other: Cloud) -> Cloud:
        return self.map(torch.add, other)

    def __sub__(self, other: Cloud) -> Cloud:
        return self.map(torch.sub, other)

    def scale(self, factor: float | Tensor) -> Cloud:
        """Multiplies x and h: a number, or one a molecule (b,)."""
        if isinstance(factor, Tensor) and factor.ndim == 1:
            factor = per_atom(factor)
        return self.map(lambda values: values * factor)

    def center(self) -> Cloud:
        """Moves the mean position of the real atoms to the origin."""
        return replace(self, x=center(self.x, self.mask))

    def rotate(self, rotation: Float[Tensor, "b d d"]) -> Cloud:
        """Acts on positions and on the condition's vectors: x_i -> R x_i. Reflections welcome."""
        x = self.x @ rotation.mT
        return replace(self, x=x, condition=self.condition and self.condition.rotate(rotation))

    def permute(self, order: Int[Tensor, "b n"]) -> Cloud:
        """Atom i of the result is atom order[i] of this cloud."""
        return replace(
            self,
            x=_take(self.x, order),
            h=_take(self.h, order),
            mask=_take(self.mask, order),
            condition=self.condition and self.condition.permute(order),
        )

    def to(self, *args, **kwargs) -> Cloud:
        """As `Tensor.to`; the condition follows."""
        moved = {name: _moved(part, args, kwargs) for name, part in vars(self).items()}
        return Cloud(**moved)

    def take(self, rows: Int[Tensor, "k"]) -> Cloud:
        """Some molecules of the batch, with their share of the condition."""
        return Cloud(**{name: _rows(part, rows) for name, part in vars(self).items()})

    def detach(self) -> Cloud:
        return self.map(Tensor.detach)

    @property
    def count(self) -> Float[Tensor, "b"]:
        """Number of atoms of each molecule."""
        return self.mask.sum((1, 2))

    def __len__(self) -> int:
        return len(self.x)


def center(x: Float[Tensor, "b n d"], mask: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n d"]:
    """Subtracts the mean over real atoms and zeroes padding."""
    mean = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    return (x - mean) * mask


def squared_norm(cloud: Cloud) -> Float[Tensor, "b"]:
    """Sum of squares over the atoms and channels of each molecule."""
    return cloud.x.square().sum((1, 2)) + cloud.h.square().sum((1, 2))


def _take(values: Tensor, order: Int[Tensor, "b n"]) -> Tensor:
    return values[torch.arange(len(values), device=values.device)[:, None], order]


def _conjugate(permutations: Int[Tensor, "b g n"], order: Int[Tensor, "b n"]) -> Int[Tensor, "b g n"]:
    """The same maps of atoms to atoms, for atoms in another order; absent ones (-1) stay absent."""
    rank = order.argsort(1)[:, None].expand_as(permutations)
    moved = rank.gather(2, permutations.clamp_min(0)).gather(2, order[:, None].expand_as(permutations))
    return torch.where(permutations < 0, permutations, moved)


def _rows(part: Any, rows: Tensor) -> Any:
    if isinstance(part, Condition):
        return Condition(**{name: _rows(value, rows) for name, value in vars(part).items()})
    if isinstance(part, Cloud):
        return part.take(rows)
    return None if part is None else part.index_select(0, rows)


def _moved(part, args, kwargs):
    if isinstance(part, Tensor) and not part.is_floating_point():  # permutations change their device alone
        return part.to(torch.empty(0).to(*args, **kwargs).device)
    if isinstance(part, Tensor | Cloud):
        return part.to(*args, **kwargs)
    if isinstance(part, Condition):
        return Condition(**{name: _moved(value, args, kwargs) for name, value in vars(part).items()})
    return part
