"""An equivariant transformer on molecular graphs, in the TorchMD-ET style (Thölke & De Fabritiis 2022).

Layer by layer as ETFlow has it for conformers (Hassan et al. 2024), whose released code was read for it, with as many
parameters. What differs: distances are distances and directions have length 1, where that code has squares; all pairs
are computed, so no cap on neighbours; a pair that is not bonded fades out over the last tenth of the cutoff, so that
the output is continuous, where there it ends at once.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from coset.cloud import Cloud, center
from coset.interfaces import Network
from coset.networks.embeddings import with_told
from coset.networks.graphs import ELEMENTS, known_edges, known_nodes
from coset.networks.messages import real_pairs
from coset.networks.neighbours import SMALLEST, Filters, PairGeometry, Pairs
from coset.networks.precision import trunk_autocast
from coset.recomputing import lean


def carried(filters: Float[Tensor, "b c n n"], v: Float[Tensor, "b n k c"]) -> Float[Tensor, "b n k c"]:
    """sum_j filters_cij v_jkc."""
    return (filters @ v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Messages of neighbours: what arrives at an atom's scalars and vectors, over all pairs.

    The numbers of a message, x, m1, m2 (and m3), are values u_j times a filter of the pair. Scalars: x times an
    attention without softmax. Vectors: m1 v_j + m2 arrow_ij (+ m3 arrow_ij x v_j, which a mirror turns around).
    No pair ever holds a vector for every channel: m1 v_j is summed by products of matrices n x n, one a channel, and so
    is arrow_ij x v_j = (x_j x v_j - x_i x v_j) / d_ij; m2 arrow_ij by those of an atom's arrows.
    """

    def __init__(self, width: int, heads: int, features: int, cross: bool, first: bool) -> None:
        super().__init__()
        self.heads, self.cross, self.first = heads, cross, first
        # q, then of the neighbour k, x, m2, m1 (and m3)
        self.atoms = nn.Linear(width, (5 + cross) * width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        nn.init.zeros_(self.atoms.bias)
        for rows in self.atoms.weight[: 2 * width].chunk(2):
            nn.init.xavier_uniform_(rows)
        self.filters = Filters(features, [width, (3 + cross) * width])

    def forward(self, s: Tensor, v: Tensor, pairs: Pairs) -> tuple[Float[Tensor, "b n w"], Float[Tensor, "b n 3 w"]]:
        b, n, w = s.shape
        with trunk_autocast(self, s):
            q, k, values, towards, *shares = self.atoms(s).split(w, -1)
            q, k = (norm(part).to(values.dtype) for norm, part in zip(self.norms, (q, k), strict=True))
            senders = torch.cat([k, values, towards], -1)[:, None]
            messages = F.silu(self.filters.pairs(pairs, 0, 3 * w)) * senders
            keys, values, towards = messages.split(w, -1)  # their gradient is one tensor; slices would make one each
            # One small product of matrices an atom: all heads of its query at once, each with zeros for the others.
            weights = F.silu(keys @ self._apart(q).mT) * pairs.near
            mixed = (weights.mT @ values).unflatten(-1, (self.heads, -1))
            scalars = mixed.diagonal(dim1=2, dim2=3).mT.reshape(b, n, w)
        # Vectors turn with the cloud only as far as they are not rounded: in the cloud's own precision, unlike numbers.
        vectors = pairs.arrows.mT @ towards.to(v.dtype)
        if self.first:  # there are no vectors yet
            return scalars, vectors
        with trunk_autocast(self, s):
            filters = F.silu(self.filters.by_channel(pairs, 3 * w, (4 + self.cross) * w)).to(v.dtype).split(w, 1)
        vectors = vectors + carried(filters[0], v * shares[0][:, :, None])
        if self.cross:
            vectors = vectors + self._turned(filters[1], v * shares[1][:, :, None], pairs)
        return scalars, vectors

    def _apart(self, q: Float[Tensor, "b n w"]) -> Float[Tensor, "b n h w"]:
        """Each head's share of q, with zeros for those of the others."""
        head = torch.arange(q.shape[-1], device=q.device) // (q.shape[-1] // self.heads)
        return q[:, :, None] * (head == torch.arange(self.heads, device=q.device)[:, None]).to(q.dtype)

    def _turned(self, filters: Tensor, v: Float[Tensor, "b n 3 w"], pairs: Pairs) -> Float[Tensor, "b n 3 w"]:
        """sum_j filters_cij arrow_ij x v_jc."""
        place = pairs.x[..., None].expand_as(v)
        both = carried(filters * pairs.inverse[:, None], torch.cat([torch.linalg.cross(place, v, dim=2), v], 2))
        turned, moved = both.split(3, 2)
        return turned - torch.linalg.cross(place, moved, dim=2)


class Layer(nn.Module):
    """Scalars, time and attributes mixed, messages, and the update that is added to scalars and vectors."""

    def __init__(self, width: int, heads: int, features: int, cross: bool, first: bool) -> None:
        super().__init__()
        self.mixing = nn.Sequential(nn.Linear(2 * width + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, features, cross, first)
        self.vectors, self.out = xavier(width, 3 * width, bias=False), xavier(width, 3 * width)

    def forward(self, s: Tensor, v: Tensor, known: Float[Tensor, "b n k"], pairs: Pairs) -> tuple[Tensor, Tensor]:
        """known: time and attributes."""
        with trunk_autocast(self, s):
            mixed = self.norm(self.mixing(torch.cat([s, known], -1))).to(s.dtype)
        scalars, vectors = self.attention(mixed, v, pairs)
        first, second, passed = self.vectors(v).chunk(3, -1)
        with trunk_autocast(self, s):
            scale, factor, shift = self.out(scalars).chunk(3, -1)
        ds = (first * second).sum(2) * factor + shift
        return s + ds, v + passed * scale[:, :, None] + vectors


class GatedBlock(nn.Module):
    """Scalars from scalars and lengths of vectors; fewer vectors, each times a gate."""

    def __init__(self, width: int, hidden: int, scalars: int, vectors: int) -> None:
        super().__init__()
        self.measured, self.passed = (xavier(width, out, bias=False) for out in (width, vectors))
        self.first, self.norm = xavier(2 * width, hidden), nn.LayerNorm(hidden)
        self.second, self.scalars = xavier(hidden, scalars + vectors), scalars

    def forward(self, s: Float[Tensor, "b n w"], v: Float[Tensor, "b n 3 w"]) -> tuple[Tensor, Tensor]:
        length = (self.measured(v).square().sum(2) + SMALLEST).sqrt()
        out = self.second(F.silu(self.norm(self.first(torch.cat([s, length], -1)))))
        scalars, gate = out.tensor_split((self.scalars,), -1)
        return F.silu(scalars), self.passed(v) * gate[:, :, None]


def xavier(width_in: int, width_out: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(width_in, width_out, bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


class ET(Network):
    """A velocity for every atom of a molecule whose graph is known: O(3)- or SO(3)-equivariant in x.

    It reads `condition.nodes` (atomic numbers, then `attributes` channels) and `condition.edges` (`relations` channels,
    the first 1 on a bond: bonded atoms are neighbours whatever their distance), and raises ValueError where they are
    not there. Features z.h pass through. Positions in and `cutoff` are in Angstrom; positions out are one vector
    channel, centred, zero for a single atom. At the default sizes it counts 8,337,809 parameters with reflections and
    9,064,209 without. Under bf16 only scalars are rounded, so that vectors still turn with the cloud.
    """

    def __init__(
        self, attributes: int, relations: int, width: int = 160, depth: int = 20, heads: int = 8, radial: int = 64,
        cutoff: float = 10.0, reflections: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of 2 * heads; got width={width}, heads={heads}")
        if relations < 1:
            raise ValueError(f"relations counts the channel of bonds and so is at least 1; got {relations}")
        self.attributes, self.relations, self.width = attributes, relations, width
        features = radial + relations
        self.geometry = PairGeometry(radial, cutoff)
        self.elements, self.around = nn.Embedding(ELEMENTS, width), nn.Embedding(ELEMENTS, width)
        self.known = nn.Sequential(
            nn.Linear(attributes, width), nn.SiLU(), nn.LayerNorm(width), nn.Linear(width, width)
        )
        self.filters, self.embed = Filters(features, [width]), xavier(2 * width, width)
        self.layers = nn.ModuleList(
            Layer(width, heads, features, cross=not reflections, first=not index) for index in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        half = width // 2
        self.head = nn.ModuleList([GatedBlock(width, width, half, half), GatedBlock(half, half, width, 1)])

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        numbers, attributes = known_nodes(z, self.attributes)
        x = center(z.x, z.mask)
        pairs = self.geometry(x, known_edges(z, self.relations), real_pairs(z.mask))
        time = t.to(x.dtype)[:, None, None].expand(*numbers.shape, 1)
        known = torch.cat([time, self.known(attributes)], -1)
        s, v = self._embedded(z, numbers, pairs), x.new_zeros(*x.shape, self.width)
        for layer in self.layers:
            s, v = lean(layer)(s, v, known, pairs)
        s = self.norm(s)
        for block in self.head:
            s, v = block(s, v)
        return replace(z, x=center(v.squeeze(-1), z.mask))

    def _embedded(self, z: Cloud, numbers: Int[Tensor, "b n"], pairs: Pairs) -> Float[Tensor, "b n w"]:
        """Elements, and those around within the cutoff."""
        filters = self.filters.by_channel(pairs, 0, self.width) * pairs.near.squeeze(-1)[:, None]
        around = carried(filters, self.around(numbers)[:, :, None]).squeeze(2)
        return with_told(self.embed(torch.cat([self.elements(numbers), around], -1)), z)
