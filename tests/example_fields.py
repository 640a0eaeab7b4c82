"""Small fields that tests of learned processes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Field
from coset.processes.transforms import Transform
from coset.scales import PerAtom


class SmallField(Field):
    """One round of messages: scalars of features, time and distances; vectors as weighted sums of directions.

    O(3)-equivariant, smooth, blind to padding, with random weights in float64.
    """

    def __init__(self, features: int, scalars: int, vectors: int, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embed = nn.Linear(features + 1, width)
            self.edges = nn.Linear(2 * width + 1, width)
            self.scalars, self.vectors = nn.Linear(width, scalars), nn.Linear(width, vectors)
        self.double()

    def forward(self, z: Cloud, t: Tensor) -> tuple[Tensor, Tensor]:
        mask, dtype = z.mask, self.embed.weight.dtype
        time = t.to(dtype)[:, None, None] * mask
        s = F.silu(self.embed(torch.cat([z.h, time], -1)))
        away = z.x[:, :, None] - z.x[:, None]
        squared = away.square().sum(-1, keepdim=True)
        n = s.shape[1]
        pairs = [s[:, :, None].expand(-1, -1, n, -1), s[:, None].expand(-1, n, -1, -1), torch.exp(-squared)]
        real = mask[:, :, None] * mask[:, None]
        m = F.silu(self.edges(torch.cat(pairs, -1))) * real
        vectors = torch.einsum("bijk,bijd->bikd", self.vectors(m) * real, away / (1 + squared))
        return self.scalars(m.sum(2) + s) * mask, vectors


class Spoilt(Transform):
    """Another transform, its matrices of positions multiplied by a factor an atom (b, n, 1), which may be 0."""

    def __init__(self, transform: Transform, factor: Callable[[Cloud], Tensor]) -> None:
        super().__init__()
        self.transform, self.factor = transform, factor
        self.schedule, self.subspace = transform.schedule, transform.subspace

    def forward(self, x0, t):
        gaussian = self.transform(x0, t)
        assert isinstance(gaussian.x_scale, PerAtom)
        return replace(gaussian, x_scale=PerAtom(gaussian.x_scale.matrix * self.factor(x0)[..., None]))
