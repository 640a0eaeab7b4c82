"""A network of scalar and vector channels with attention for every feature (EQGAT, Le et al. 2022).

In the form of END (Cornet et al. 2024), whose released code and QM9 settings were read for it: every layer, its inputs
and its sizes. An encoder at 5 features counts END's 4,652,032 parameters; two of them, with the heads of a `Field` of
2 * 5 + 1 scalars and 1 + 3 vectors and of an `EQGAT`, its 9,506,576. What differs here, with the same parameters: the
roots (see `Shape.squared`), fixed frequencies of the time in the place of drawn ones, and torch's own initial weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, center
from coset.interfaces import Field, Network
from coset.networks.bumps import FARTHEST
from coset.networks.embeddings import with_told
from coset.networks.messages import PairLinear, real_pairs
from coset.networks.precision import trunk_autocast
from coset.recomputing import lean

SMALLEST = 1e-6  # added to squares before the root is taken, so that its gradient is finite (and zero) at zero


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder. width, vectors: scalar and vector channels of an atom; edges: channels of a pair.

    radial: Gaussians of the distance, up to `reach` Angstrom. squared: norms divide by the variance in the place of its
    root, and vectors enter scalars by their squared lengths, as in END's released code, where the roots are commented
    out.
    """

    width: int = 256
    vectors: int = 256
    edges: int = 64
    depth: int = 5
    radial: int = 64
    reach: float = 12.0
    squared: bool = False


class FourierTime(nn.Module):
    """cos and sin of 2 pi f t; the frequencies f are quantiles of |normal|, from which END draws them."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        at = (torch.arange(size // 2) + 0.5) / (size // 2)
        self.rates: Tensor
        self.register_buffer("rates", 2 * math.pi * math.sqrt(2) * torch.erfinv(at), persistent=False)

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b k"]:
        angles = t[:, None] * self.rates
        return torch.cat([angles.cos(), angles.sin()], -1)


class PairGeometry(nn.Module):
    """What the layers see of the positions: invariants of pairs, and arrows from atom i to atom j."""

    def __init__(self, radial: int, reach: float) -> None:
        super().__init__()
        self.reach, self.spread = reach, reach / radial
        self.means: Tensor
        self.register_buffer("means", torch.linspace(0, reach, radial), persistent=False)

    def forward(
        self, x: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n n k"], Float[Tensor, "b n n d"], Float[Tensor, "b n 1"]]:
        """Gaussians of d_ij and the cosine of both positions; (x_j - x_i) / (d_ij + 1); distances to the origin."""
        difference = x[:, None] - x[:, :, None]
        distance, radius = lengths(difference, -1, keepdim=True), lengths(x, -1, keepdim=True)
        near = (1 + torch.cos(math.pi * (distance / self.reach).clamp_max(1))) / 2
        radial = torch.exp(-((distance - self.means).square() / self.spread).clamp_max(FARTHEST)) * near
        cosine = (x @ x.mT) / (radius * radius.mT)
        return torch.cat([radial, cosine[..., None]], -1), difference / (distance + 1), radius


class EquivariantNorm(nn.Module):
    """Scalars of mean 0 and variance 1, vectors of mean square length 1, over atoms and channels of a molecule."""

    def __init__(self, width: int, squared: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.squared = squared

    def forward(self, s: Tensor, v: Tensor, mask: Float[Tensor, "b n 1"]) -> tuple[Tensor, Tensor]:
        """s (b, n, w) and v (b, n, 3, c), both zero for padding, before and after."""
        count = mask.sum(1, keepdim=True)
        s = (s - s.sum((1, 2), keepdim=True) / (count * s.shape[-1])) * mask
        s = s * self._scale(s.square().sum((1, 2), keepdim=True) / (count * s.shape[-1]))
        v = v * self._scale(v.square().sum((1, 2, 3), keepdim=True) / (count * v.shape[-1])[..., None])
        return (s * self.weight + self.bias) * mask, v

    def _scale(self, variance: Tensor) -> Tensor:
        return 1 / (variance + SMALLEST) if self.squared else (variance + SMALLEST).rsqrt()


class PairStates(nn.Module):
    """States of pairs, two linear layers on their invariants and the time; see `PairNumbers` for how they are read."""

    def __init__(self, invariants: int, time: int, edges: int) -> None:
        super().__init__()
        self.embed, self.time = nn.Linear(invariants, edges), nn.Linear(time, edges)
        self.mixed = nn.Linear(edges, edges)

    def forward(self, time: Float[Tensor, "b t"]) -> tuple[Float[Tensor, "e k"], Float[Tensor, "b e"]]:
        """M and c(t) of the states M invariants + c(t)."""
        return self.mixed.weight @ self.embed.weight, self.mixed(self.embed.bias + self.time(time))


class PairNumbers(nn.Module):
    """Linear([h_i, h_j, invariants_ij, states_ij]) of all pairs. No states are made, for they are linear themselves."""

    def __init__(self, width: int, invariants: int, edges: int, out: int) -> None:
        super().__init__()
        self.atoms = PairLinear(width, 0, out)
        self.invariants, self.states = (nn.Linear(size, out, bias=False) for size in (invariants, edges))

    def forward(
        self, h: Tensor, invariants: Tensor, matrix: Float[Tensor, "e k"], shift: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b n n o"]:
        """matrix, shift: of `PairStates`."""
        both = self.invariants.weight + self.states.weight @ matrix
        return self.atoms(h, None, self.states(shift)[:, None]) + F.linear(invariants, both)


class FeatureAttention(nn.Module):
    """Messages over all pairs of distinct atoms: what arrives at an atom's scalars and vectors.

    Scalars: values of the others, weighted by a softmax over them for every feature apart. Vectors: the mean of arrows
    and of the others' vectors, each times a number for every channel. The layer that makes the numbers of the arrows
    is linear, so the arrows are averaged before it, and no pair ever holds a vector channel.
    """

    def __init__(self, shape: Shape, first: bool) -> None:
        super().__init__()
        width, vectors = shape.width, shape.vectors
        self.split = [width, vectors] if first else [width, vectors, vectors]
        self.pairs = PairNumbers(width + 1, shape.radial + 1, shape.edges, width)  # [s, |x|] of both atoms
        self.weights = nn.Linear(width, sum(self.split))
        self.values = nn.Linear(width, width)
        self.mixed = None if first else nn.Linear(vectors, vectors, bias=False)  # all vectors are zero before the first

    def forward(
        self, s: Tensor, v: Tensor, radius: Tensor, arrows: Tensor, pairs: Tensor, edges: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "b n w"], Float[Tensor, "b n d c"]]:
        """arrows (b, n, n, d): zero where pairs (b, n, n, 1) are. edges: what `PairNumbers` needs besides atoms."""
        weight, bias = self.weights.weight, self.weights.bias
        others = sum(self.split[:-1])
        with trunk_autocast(self, s):
            hidden = F.silu(self.pairs(torch.cat([s, radius], -1), *edges))
            scores, *shares = F.linear(hidden, weight[:others], bias[:others]).split(self.split[:-1], -1)
            values = self.values(s)
        # Vectors turn with the cloud only as far as they are not rounded: in the cloud's own precision, unlike numbers.
        logits = scores.to(s.dtype) + (pairs - 1) * 1e9
        count = pairs.sum(2)
        scalars = (logits.softmax(2) * values[:, None]).sum(2) * count.clamp_max(1)  # none from none
        towards = F.linear(arrows.mT @ hidden.to(s.dtype), weight[others:])
        vectors = towards + arrows.sum(2)[..., None] * bias[others:]
        if self.mixed is not None:
            share, mixed = shares[0] * pairs, self.mixed(v)
            carried = [(share * mixed[:, None, :, axis]).sum(2) for axis in range(v.shape[2])]
            vectors = vectors + torch.stack(carried, 2)
        return scalars, vectors / count.clamp_min(1)[..., None]


class GatedUpdate(nn.Module):
    """Scalars learn of vectors by their lengths, vectors of scalars by a gate for every channel."""

    def __init__(self, shape: Shape, last: bool) -> None:
        super().__init__()
        width, vectors, self.squared = shape.width, shape.vectors, shape.squared
        self.mixed = nn.Linear(vectors, 2 * vectors, bias=False)
        self.hidden = None if last else nn.Linear(width + vectors, width)
        self.gates = nn.Linear(width + vectors if last else width, vectors + width)
        self.out = None if last else nn.Linear(vectors, vectors, bias=False)

    def forward(self, s: Float[Tensor, "b n w"], v: Float[Tensor, "b n d c"]) -> tuple[Tensor, Tensor]:
        measured, passed = self.mixed(v).chunk(2, -1)
        length = measured.square().sum(2) + SMALLEST if self.squared else lengths(measured, 2)
        with trunk_autocast(self, s):
            known = torch.cat([s, length], -1)
            known = known if self.hidden is None else F.silu(self.hidden(known))
            gate, scalars = self.gates(known).tensor_split((v.shape[-1],), -1)
        passed = passed * gate[:, :, None]
        return scalars, passed if self.out is None else self.out(passed)


class Layer(nn.Module):
    """Norm, messages, update; the latter two are added to what was normalised."""

    def __init__(self, shape: Shape, first: bool, last: bool) -> None:
        super().__init__()
        self.norm = EquivariantNorm(shape.width, shape.squared)
        self.messages, self.update = FeatureAttention(shape, first), GatedUpdate(shape, last)

    def forward(self, s: Tensor, v: Tensor, mask: Tensor, *geometry: Any) -> tuple[Tensor, Tensor]:
        s, v = self.norm(s, v, mask)
        more_s, more_v = self.messages(s, v, *geometry)
        s, v = s + more_s, v + more_v
        more_s, more_v = self.update(s, v)
        return s + more_s * mask, v + more_v


class Encoder(nn.Module):
    """A cloud to scalar and vector channels of its atoms, for heads to read: invariant, and equivariant under O(3).

    It sees positions from their mean, so that moving the cloud changes nothing. All of it has forward derivatives
    (`torch.func.jvp`), finite wherever atoms lie. At 5 features and the published shape it counts 4,652,032 parameters.
    """

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        width, self.vectors = shape.width, shape.vectors
        self.time, self.geometry = FourierTime(16), PairGeometry(shape.radial, shape.reach)
        self.atoms, self.atoms_time, self.mixed = (
            nn.Linear(features, width),
            nn.Linear(16, width),
            nn.Linear(width, width),
        )
        self.pairs = PairStates(shape.radial + 1, 16, shape.edges)
        ends = [(depth == 0, depth == shape.depth - 1) for depth in range(shape.depth)]
        self.layers = nn.ModuleList(Layer(shape, first, last) for first, last in ends)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b n w"], Float[Tensor, "b n d c"]]:
        x, mask, pairs = center(z.x, z.mask), z.mask, real_pairs(z.mask)
        time = self.time(t.to(x.dtype))
        invariants, arrows, radius = lean(self.geometry)(x)
        s = self.mixed(with_told(self.atoms(z.h) + self.atoms_time(time)[:, None], z)) * mask
        v = x.new_zeros(*x.shape, self.vectors)
        geometry = radius, arrows * pairs, pairs, (invariants, *self.pairs(time))
        for layer in self.layers:
            s, v = lean(layer)(s, v, mask, *geometry)
        return s, v


class EQGAT(Network):
    """O(3)-equivariant in x, invariant in h. Positions out: one vector channel, centred, and zero for one atom.

    Features out: a two-layer perceptron on the scalars. At 5 features and the published shape it counts 4,652,032
    parameters in the encoder and 67,333 beside it.
    """

    def __init__(self, features: int, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        self.width = shape.width
        self.encoder = Encoder(features, shape)
        self.scalars = _perceptron(shape.width, shape.width, features)
        self.vectors = nn.Linear(shape.vectors, 1, bias=False)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        s, v = self.encoder(z, t)
        return replace(z, x=center(self.vectors(v).squeeze(-1), z.mask), h=self.scalars(s) * z.mask)


class EQGATField(Field):
    """`scalars` numbers and `vectors` vectors an atom, from an encoder of its own.

    The numbers come of a two-layer perceptron on the scalars and the lengths of the vectors. At 5 features, 11 scalars,
    4 vectors and the published shape it counts 4,652,032 parameters in the encoder and 135,179 beside it.
    Raises ValueError unless at least one of each is asked for.
    """

    def __init__(self, features: int, scalars: int, vectors: int, shape: Shape | None = None) -> None:
        super().__init__()
        if min(scalars, vectors) < 1:
            raise ValueError(f"a field has at least 1 scalar and 1 vector an atom; got {scalars} and {vectors}")
        shape = shape or Shape()
        self.encoder = Encoder(features, shape)
        self.scalars = _perceptron(shape.width + shape.vectors, shape.width, scalars)
        self.vectors = nn.Linear(shape.vectors, vectors, bias=False)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b n k"], Float[Tensor, "b n m d"]]:
        s, v = self.encoder(z, t)
        return self.scalars(torch.cat([s, lengths(v, 2)], -1)) * z.mask, self.vectors(v).mT


def lengths(values: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Euclidean lengths along `dim` whose gradient at zero is zero; that of zero itself is 1e-3."""
    return (values.square().sum(dim, keepdim=keepdim) + SMALLEST).sqrt()


def _perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, out))
