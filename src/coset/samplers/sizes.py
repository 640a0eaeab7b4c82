"""The distribution of molecule sizes p(N), the first factor of every generative model here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.noise import Noise


@dataclass(frozen=True)
class SizeDistribution:
    """A categorical over numbers of atoms, from counts of the training data {atoms: molecules}."""

    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts.values()) <= 0 or min(self.counts) < 1:
            raise ValueError(f"size counts must be positive numbers of molecules by atoms; got {dict(self.counts)}")

    def sample(self, noise: Noise) -> Int[Tensor, "b"]:
        """One size a molecule, by the inverse of the cumulative distribution."""
        sizes = torch.tensor(sorted(self.counts), device=noise.seeds.device)
        weights = torch.tensor([self.counts[int(n)] for n in sizes], dtype=torch.float64, device=sizes.device)
        edges = weights.cumsum(0) / weights.sum()
        return sizes[
            torch.searchsorted(edges, noise.uniform(dtype=torch.float64), right=True).clamp(max=len(sizes) - 1)
        ]

    def log_prob(self, sizes: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """log p(N) in nats; minus infinity for sizes never seen."""
        total = sum(self.counts.values())
        values = [np.log(self.counts[n] / total) if n in self.counts else -np.inf for n in sizes.tolist()]
        return torch.tensor(values, dtype=torch.float64, device=sizes.device)

    @property
    def largest(self) -> int:
        return max(self.counts)
