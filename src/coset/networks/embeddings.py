"""Embeddings of time, distances and atoms, shared by the networks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.networks.bumps import summed_bumps
from coset.recomputing import is_lean, lean

ROWS = 32  # atoms whose kernels are made at once where memory is short: of all pairs they need most of it


class TimeEmbedding(nn.Module):
    """Sines and cosines of t in [0, 1] through a two-layer MLP (Peebles & Xie 2023).

    SymDiff feeds the raw fraction, not a step number: only the slowest frequencies differ between times.
    """

    def __init__(self, width: int, frequencies: int = 256, max_period: float = 10_000.0) -> None:
        super().__init__()
        half = frequencies // 2
        rates = torch.exp(-math.log(max_period) * torch.arange(half) / half)
        self.rates: Tensor
        self.register_buffer("rates", rates, persistent=False)
        self.wide, self.narrow = nn.Linear(frequencies, width), nn.Linear(width, width)
        for layer in (self.wide, self.narrow):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b w"]:
        angles = t.to(self.rates.dtype)[:, None] * self.rates
        return self.narrow(F.silu(self.wide(torch.cat([angles.cos(), angles.sin()], -1))))


class DistanceKernels(nn.Module):
    """For every atom the mean, over all atoms of its molecule, of normalised Gaussians of the distance.

    The mean runs over real atoms (itself included) and comes before any linear layer, which commutes with it:
    no (n, n, width) tensor but the kernels themselves is made (SymDiff, appendix C).
    """

    def __init__(self, kernels: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.empty(kernels).uniform_(0, 3))
        self.widths = nn.Parameter(torch.empty(kernels).uniform_(0, 3))

    def forward(self, x: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n k"]:
        if not is_lean(self):
            return self._pooled(x, x, mask)
        return torch.cat([lean(self, self._pooled)(some, x, mask) for some in x.split(ROWS, 1)], 1)

    def _pooled(
        self, some: Float[Tensor, "b m 3"], x: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n 1"]
    ) -> Float[Tensor, "b m k"]:
        """Of some of the atoms."""
        widths = self.widths.abs() + 0.01
        bumps = summed_bumps(_between(some, x), self.means, 1 / (math.sqrt(2) * widths), mask[..., 0])
        return bumps / (math.sqrt(2 * math.pi) * widths * mask.sum(1, keepdim=True))


def with_told(tokens: Float[Tensor, "b n w"], z: Cloud) -> Float[Tensor, "b n w"]:
    """Tokens of a cloud's atoms, and what the network is told of the whole cloud, if anything."""
    if z.condition is None or z.condition.told is None:
        return tokens
    return tokens + z.condition.told[:, None].to(tokens.dtype)


class AtomTokens(nn.Module):
    """A token an atom: a linear map of its position and features, and of its pooled distance kernels, if any."""

    def __init__(self, features: int, width: int, kernels: int) -> None:
        super().__init__()
        half = min(kernels, width // 2) if kernels else width
        self.atoms = nn.Linear(3 + features, half)
        self.kernels, self.pairs = None, None
        if kernels:
            self.kernels = DistanceKernels(kernels)
            self.pairs = nn.Linear(kernels, width - half)

    def forward(self, x: Tensor, h: Tensor, mask: Tensor) -> Float[Tensor, "b n w"]:
        atoms = self.atoms(torch.cat([x, h], -1))
        if self.kernels is None or self.pairs is None:
            return atoms
        return torch.cat([atoms, self.pairs(self.kernels(x, mask))], -1)


def squared_distances(x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n n"]:
    return (x[:, :, None] - x[:, None]).square().sum(-1)


def distances(x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n n"]:
    """Distances whose gradient at zero is zero."""
    return _between(x, x)


def _between(first: Float[Tensor, "b m d"], second: Float[Tensor, "b n d"]) -> Float[Tensor, "b m n"]:
    return ((first[:, :, None] - second[:, None]).square().sum(-1) + 1e-12).sqrt()
