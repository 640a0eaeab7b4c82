"""E(n)-equivariant graph network (Satorras et al. 2021) as EDM has it (Hoogeboom et al. 2022, appendix B)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, center
from coset.interfaces import Network
from coset.networks.embeddings import squared_distances, with_told
from coset.networks.messages import MessageLayer, PairLinear, real_pairs, with_time
from coset.networks.precision import trunk_autocast
from coset.recomputing import lean


class CoordinateLayer(nn.Module):
    """x_i <- x_i + sum_j (x_i - x_j) / (d_ij + 1) * reach * tanh(phi_ij).

    The released code has the reach 15 in every layer: the share a layer, which it computes, is never used.
    """

    def __init__(self, width: int, edges: int, reach: float = 15.0) -> None:
        super().__init__()
        self.reach = reach
        self.first, self.second = PairLinear(width, edges, width), nn.Linear(width, width)
        self.last = nn.Linear(width, 1, bias=False)
        nn.init.xavier_uniform_(self.last.weight, gain=0.001)

    def forward(self, x: Tensor, h: Tensor, edges: Tensor, pairs: Float[Tensor, "b n n 1"]) -> Float[Tensor, "b n d"]:
        phi = self.last(F.silu(self.second(F.silu(self.first(h, edges)))))
        weight = torch.tanh(phi.to(x.dtype)) * self.reach * pairs
        difference = x[:, :, None] - x[:, None]
        distance = (difference.square().sum(-1, keepdim=True) + 1e-8).sqrt()
        return x + (difference * (weight / (distance + 1))).sum(2)


class EGNN(Network):
    """O(3)-equivariant in x, invariant in h. EDM's QM9 size, 256 x 9, counts 5,339,920 parameters at 6 features.

    Edges carry the squared distance of the input and that of the current positions. The position output is the
    displacement, centred. out: features of what comes out, where it is not another estimate of what goes in; there is
    no time then, and positions come out themselves.
    """

    def __init__(self, features: int, width: int = 256, depth: int = 9, out: int | None = None) -> None:
        super().__init__()
        self.width, self.timed = width, out is None
        self.embed = nn.Linear(features + self.timed, width)
        self.messages = nn.ModuleList(MessageLayer(width, edges=2) for _ in range(depth))
        self.coordinates = nn.ModuleList(CoordinateLayer(width, edges=2) for _ in range(depth))
        self.head = nn.Linear(width, features + 1 if out is None else out)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        pairs, x = real_pairs(z.mask), z.x
        h = with_told(self.embed(with_time(z.h, t, z.mask) if self.timed else z.h), z)
        first = squared_distances(z.x)
        for message, coordinate in zip(self.messages, self.coordinates, strict=True):
            edges = torch.stack([squared_distances(x), first], -1)
            with trunk_autocast(self, z.x):
                h = lean(message)(h, edges, pairs) * z.mask
                x = lean(coordinate)(x, h, edges, pairs)
        out = self.head(h.to(z.h.dtype)) * z.mask
        if not self.timed:
            return replace(z, x=center(x, z.mask), h=out)
        # The last channel belongs to the time that came in; EDM drops it.
        return replace(z, x=center(x - z.x, z.mask), h=out[..., :-1])
