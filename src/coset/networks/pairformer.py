"""Pairformer: a transformer over invariant atom tokens, biased by pairs, that moves atoms along their differences.

Attention with pair bias is AlphaFold's (Jumper et al. 2021), the moves are EGNN's (Satorras et al. 2021), the
modulation by the noise level DiT's (Peebles & Xie 2023) with one projection shared by all blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, Condition, center, per_atom
from coset.interfaces import Network
from coset.networks.embeddings import TimeEmbedding, distances, with_told
from coset.networks.precision import trunk_autocast
from coset.networks.preconditioning import Karras, sigma_of
from coset.recomputing import lean

FARTHEST = 12.0  # Angstrom: the last bump ends below 9


class RadialBasis(nn.Module):
    """Bumps (1 - ((d - c) / w)^2)^2, zero beyond w, of the distance: 64 in Angstrom, dense where bonds and angles are,
    and 16 of its logarithm in units of 1 / c_in, the scale of the noisy cloud.

    Bumps, not Gaussians: exp over all pairs took a third of a training step on a CPU.
    """

    size = 80

    def __init__(self) -> None:
        super().__init__()
        parts = torch.linspace(0.7, 3.5, 48), torch.linspace(3.7, 8.0, 16), torch.linspace(-3.0, 2.0, 16)
        centre = torch.cat(parts)
        # Two spacings wide, so that four bumps see any distance.
        sharpness = torch.cat([(2 * (part[1] - part[0])).square().reciprocal().expand(len(part)) for part in parts])
        # 1 - (d - c)^2 / w^2 is linear in (d^2, d, 1): one matrix product in place of three passes over all pairs.
        of_distance = torch.arange(self.size) < 64
        factors = -sharpness, 2 * sharpness * centre
        columns = [values * chosen for chosen in (of_distance, ~of_distance) for values in factors]
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.stack(columns, -1), persistent=False)
        self.register_buffer("bias", 1 - sharpness * centre.square(), persistent=False)

    def forward(self, distance: Float[Tensor, "b n n"], into: Float[Tensor, "b"]) -> Float[Tensor, "b n n k"]:
        ratio = (distance * per_atom(into)).clamp_min(1e-3).log()
        near = distance.clamp_max(FARTHEST)
        values = torch.stack([near.square(), near, ratio.square(), ratio], -1)
        return F.linear(values, self.weight, self.bias).relu_().square()


class PairEmbedding(nn.Module):
    """Pair features from the radial ones of a cloud, and maybe of one more, scaled and shifted by the noise level."""

    def __init__(self, radial: int, pair: int, width: int, more: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(radial, pair), nn.Linear(pair, pair)
        self.more = nn.Linear(radial, pair, bias=False) if more else None
        self.modulation = nn.Linear(width, 2 * pair)

    def forward(self, radial: Tensor, level: Float[Tensor, "b w"], more: Tensor | None = None) -> Tensor:
        """radial, more (b, n, n, k) to pair features (b, n, n, p)."""
        scale, shift = self.modulation(level)[:, None, None].chunk(2, -1)
        hidden = self.first(radial)
        if self.more is not None and more is not None:
            hidden = hidden + self.more(more)
        return self.second(F.silu(torch.addcmul(shift, hidden, 1 + scale)))


class PairAttention(nn.Module):
    """Attention whose logits pairs bias and whose output holds the pairs' features, averaged as the values are.

    Queries and keys are normalised, so that logits stay small however the tokens grow.
    """

    def __init__(self, width: int, heads: int, pair: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got width={width}, heads={heads}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gain = nn.Parameter(torch.ones(2, width // heads))
        self.bias = nn.Linear(pair, heads, bias=False)
        self.out = nn.Linear(width + heads * pair, width)

    def forward(self, tokens: Float[Tensor, "b n w"], pairs: Tensor, padding: Tensor) -> Float[Tensor, "b n w"]:
        b, n, w = tokens.shape
        q, k, v = self.qkv(tokens).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = (F.rms_norm(part, part.shape[-1:]) * gain for part, gain in zip((q, k), self.gain, strict=True))
        logits = q @ k.mT * q.shape[-1] ** -0.5 + self.bias(pairs).permute(0, 3, 1, 2) + padding
        weights = logits.float().softmax(-1).to(v.dtype)
        mixed = (weights @ v).transpose(1, 2).reshape(b, n, w)
        near = (weights.transpose(1, 2) @ pairs).reshape(b, n, -1)  # over keys, for each atom: (heads, n) x (n, pair)
        return self.out(torch.cat([mixed, near], -1))


class Block(nn.Module):
    """Attention and a gated MLP, each on normalised tokens that the noise level scales, shifts and gates."""

    def __init__(self, width: int, heads: int, pair: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6, width))
        self.attention = PairAttention(width, heads, pair)
        hidden = 8 * width // 3
        self.wide, self.narrow = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, pairs: Tensor, level: Float[Tensor, "b 6 w"], padding: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (level + self.offset)[:, :, None].unbind(1)
        tokens = tokens + gate_a * self.attention(modulated(tokens, shift_a, scale_a), pairs, padding)
        gate, value = self.wide(modulated(tokens, shift_m, scale_m)).chunk(2, -1)
        return tokens + gate_m * self.narrow(F.silu(gate) * value)


class Move(nn.Module):
    """sum_j w_ij (x_j - x_i) / (d_ij + 1), with weights from tokens and pairs, over one or two clouds."""

    def __init__(self, width: int, pair: int, hidden: int, clouds: int) -> None:
        super().__init__()
        self.from_self, self.from_other = nn.Linear(width, hidden), nn.Linear(width, hidden, bias=False)
        self.from_pair = nn.Linear(pair, hidden, bias=False)
        self.weights = nn.Linear(hidden, clouds, bias=False)
        nn.init.zeros_(self.weights.weight)

    def forward(self, tokens: Tensor, pairs: Tensor, real: Tensor, clouds: list[tuple[Tensor, Tensor]]) -> Tensor:
        """clouds: positions (b, n, 3) and distances (b, n, n). real: 1 for pairs of two atoms (b, n, n)."""
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        hidden = F.silu(self.from_self(tokens)[:, :, None] + self.from_other(tokens)[:, None] + self.from_pair(pairs))
        moved = torch.zeros_like(clouds[0][0])
        for weight, (x, distance) in zip(self.weights(hidden).to(moved.dtype).unbind(-1), clouds, strict=True):
            weight = weight * real / (distance + 1)
            moved = moved + weight @ x - weight.sum(-1, keepdim=True) * x
        return moved


class BondHead(nn.Module):
    """Logits of a bond's order for each pair, the same in both directions."""

    def __init__(self, width: int, pair: int, hidden: int, orders: int) -> None:
        super().__init__()
        self.from_atoms, self.from_pair = nn.Linear(width, hidden), nn.Linear(pair, hidden, bias=False)
        self.logits = nn.Linear(hidden, orders)

    def forward(self, tokens: Float[Tensor, "b n w"], pairs: Tensor) -> Float[Tensor, "b n n o"]:
        atoms = self.from_atoms(F.layer_norm(tokens, tokens.shape[-1:]))
        # Pair features are made of distances, and so are the same in both directions themselves.
        return self.logits(F.silu(atoms[:, :, None] + atoms[:, None] + self.from_pair(pairs)))


@dataclass(frozen=True)
class Shape:
    """Sizes of a Pairformer. pair: pair features; move: hidden units of the moves; stages: how often atoms move.

    previous: whether it looks at `condition.previous`, as a network trained with self-conditioning does. orders: bond
    orders, none among them, whose logits it gives for every pair; 0 for no such head.
    """

    width: int = 192
    depth: int = 6
    heads: int = 6
    pair: int = 64
    move: int = 128
    stages: int = 3
    previous: bool = True
    orders: int = 0


class Pairformer(Network):
    """O(3)-equivariant in x, invariant in h; for `Preconditioned` with the same `karras`.

    It sees invariants alone: types, distances, the number of atoms, and those of an earlier estimate.
    After each of the stages the atoms move along differences of the noisy positions and of the estimate so far, and
    the estimate's distances join the pairs' features. Positions out: the sum of all moves, centred. Distances, moves
    and heads are computed in the cloud's own precision. Logits of bond orders, if asked for, are the condition's edges
    of what it returns.
    """

    def __init__(self, features: int, karras: Karras, shape: Shape) -> None:
        super().__init__()
        width, pair, stages = shape.width, shape.pair, shape.stages
        if not 1 <= stages <= shape.depth:
            raise ValueError(f"stages must lie between 1 and depth={shape.depth}; got {stages}")
        self.karras, self.informed, self.width = karras, shape.previous, width
        self.radial, self.level = RadialBasis(), TimeEmbedding(width, frequencies=64, max_period=64.0)
        self.tokens, self.pooled = nn.Linear((1 + shape.previous) * features + 3, width), nn.Linear(pair, width)
        size = self.radial.size
        more = [shape.previous] + [False] * (stages - 1)
        self.pairs = nn.ModuleList(PairEmbedding(size, pair, width, each) for each in more)
        self.modulation = nn.Linear(width, 6 * width)
        for values in self.modulation.parameters():
            nn.init.zeros_(values)
        self.blocks = nn.ModuleList(Block(width, shape.heads, pair) for _ in range(shape.depth))
        self.moves = nn.ModuleList(Move(width, pair, shape.move, min(stage, 2)) for stage in range(1, stages + 1))
        self.after = [shape.depth * (stage + 1) // stages for stage in range(stages)]
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, features))
        for values in self.head[2].parameters():
            nn.init.zeros_(values)
        self.bonds = BondHead(width, pair, shape.move, shape.orders) if shape.orders else None

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        """z: positions of unit scale, probabilities of types. t: the level of the noise. See `Preconditioned`."""
        sigma, mask = sigma_of(t), z.mask
        into, real = self.karras.into(sigma), (mask @ mask.mT)
        x = z.x / per_atom(into)  # Angstrom
        distance, padding = distances(x), (mask.mT[:, None] - 1) * 1e9
        with trunk_autocast(self, x):
            level = F.silu(self.level(16 * t))
        pairs = lean(self, self._paired)(self.pairs[0], distance, into, level, z)
        with trunk_autocast(self, x):
            near = (pairs * real[..., None]).sum(2) / mask.sum(1, keepdim=True)
            tokens = with_told(self.tokens(self._features(z)) + self.pooled(near), z)
            modulation = self.modulation(level).unflatten(-1, (6, -1))
        clouds, displacement, done = [(x, distance)], torch.zeros_like(x), 0
        for stage, move in enumerate(self.moves):
            if stage:
                estimate = x * per_atom(self.karras.skip(sigma)) + displacement * per_atom(self.karras.out(sigma))
                # Distances without gradient, as RAFT has them between its steps: a training step is a sixth faster.
                clouds = [clouds[0], (estimate, distances(estimate.detach()))]
                pairs = pairs + lean(self, self._paired)(self.pairs[stage], clouds[1][1], into, level)
            with trunk_autocast(self, x):
                for block in self.blocks[done : self.after[stage]]:
                    tokens = lean(block)(tokens, pairs, modulation, padding)
                done = self.after[stage]
                displacement = center(displacement + lean(move)(tokens, pairs, real, clouds), mask)
        out = replace(z, x=displacement, h=self.head(tokens.to(x.dtype)) * mask)
        if self.bonds is None:
            return out
        logits = self.bonds(tokens.to(x.dtype), pairs.to(x.dtype))
        return replace(out, condition=replace(z.condition or Condition(), edges=logits))

    def _paired(
        self, embedding: nn.Module, distance: Tensor, into: Tensor, level: Tensor, told: Cloud | None = None
    ) -> Tensor:
        """Pair features of distances, and of those of the estimate before where a cloud that may tell it is given."""
        radial, before = self.radial(distance, into), None if told is None else self._before(told, into)
        with trunk_autocast(self, distance):
            return embedding(radial, level, before)

    def _features(self, z: Cloud) -> Float[Tensor, "b n f"]:
        """Types, the number of atoms as 1 / N, N / 20, ln N, and the types estimated before."""
        count = z.count[:, None, None].expand(*z.mask.shape)
        known = [z.h, 1 / count, count / 20, count.log()]
        if self.informed:
            before = previous(z)
            known.append(torch.zeros_like(z.h) if before is None else before.h * before.mask)
        return torch.cat(known, -1)

    def _before(self, z: Cloud, into: Tensor) -> Float[Tensor, "b n n k"] | None:
        """Radial features of the estimate before; zero for molecules without one, whose mask is 0 there."""
        before = previous(z) if self.informed else None
        if before is None:
            return None
        return self.radial(distances(before.x), into) * (before.mask @ before.mask.mT)[..., None]


def previous(z: Cloud) -> Cloud | None:
    """The estimate before, if there is one."""
    return z.condition.previous if z.condition else None


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(tokens, tokens.shape[-1:]), 1 + scale)
