"""Neighbours in a molecular graph and in space, and layers on what is known of them: dense, for all pairs of atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.networks.bumps import FARTHEST
from coset.networks.embeddings import squared_distances

SMALLEST = 1e-6  # added to squares before the root is taken, so that its gradient is finite (and zero) at zero


@dataclass(frozen=True)
class Pairs:
    """What every layer sees of the pairs of atoms i, j.

    features (b, n, n, k): bumps of the distance, relations, and a 1 for the bias; all zero unless j is a neighbour of
    i, so that filters without another bias are zero there and nothing else need be masked. by_channel (b, k, n n): the
    same. near: the cosine cutoff. arrows: (x_j - x_i) / d_ij. inverse: 1 / d_ij. x: positions.
    """

    features: Float[Tensor, "b n n k"]
    by_channel: Float[Tensor, "b k m"]
    near: Float[Tensor, "b n n 1"]
    arrows: Float[Tensor, "b n n 3"]
    inverse: Float[Tensor, "b n n"]
    x: Float[Tensor, "b n 3"]


class PairGeometry(nn.Module):
    """Exponential-normal bumps of the distance (Unke & Meuwly 2019), with centres and widths that are trained."""

    def __init__(self, radial: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff, nearest = cutoff, math.exp(-cutoff)
        self.means = nn.Parameter(torch.linspace(nearest, 1, radial))
        self.sharpness = nn.Parameter(torch.full((radial,), (2 / radial * (1 - nearest)) ** -2))

    def forward(self, x: Float[Tensor, "b n 3"], relations: Float[Tensor, "b n n e"], real: Tensor) -> Pairs:
        """real (b, n, n, 1): 1 for pairs of distinct atoms. relations: the first is 1 on a bond."""
        distance = (squared_distances(x) + SMALLEST).sqrt()[..., None]
        share = distance / self.cutoff
        near = (1 + torch.cos(math.pi * share.clamp_max(1))) / 2
        exponents = (torch.exp(-5 * share) - self.means).square() * self.sharpness
        bumps = torch.exp(-exponents.clamp(0, FARTHEST)) * near
        bonded = relations[..., :1] > 0
        neighbours = torch.where(bonded, 1, (10 * (1 - share)).clamp(0, 1)) * real
        features = torch.cat([bumps, relations, torch.ones_like(near)], -1) * neighbours
        arrows = (x[:, None] - x[:, :, None]) / distance
        by_channel = features.flatten(1, 2).mT.contiguous()
        return Pairs(features, by_channel, near, arrows, 1 / distance[..., 0], x)


class Filters(nn.Linear):
    """A linear layer on `Pairs.features`, whose last channel is multiplied by the bias.

    parts: sizes of the outputs, each with initial weights of its own scale (Glorot & Bengio 2010).
    """

    def __init__(self, features: int, parts: list[int]) -> None:
        super().__init__(features, sum(parts))
        nn.init.zeros_(self.bias)
        for rows in self.weight.split(parts):
            nn.init.xavier_uniform_(rows)

    def pairs(self, pairs: Pairs, start: int, end: int) -> Float[Tensor, "b n n o"]:
        return F.linear(pairs.features, self._all(start, end))

    def by_channel(self, pairs: Pairs, start: int, end: int) -> Float[Tensor, "b o n n"]:
        """The same, for products of matrices n x n; bmm, for matmul would lay it out as `pairs` does."""
        b, n = pairs.features.shape[:2]
        return torch.bmm(self._all(start, end).expand(b, -1, -1), pairs.by_channel).unflatten(-1, (n, n))

    def _all(self, start: int, end: int) -> Float[Tensor, "o k"]:
        return torch.cat([self.weight[start:end], self.bias[start:end, None]], 1)
