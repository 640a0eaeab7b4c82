"""FLOPs: what a training step costs, counted on the real model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.noise import Noise

SIZES = (4, 8, 12)


@dataclass(frozen=True)
class Flops:
    """FLOPs of one forward and backward pass: a polynomial of degree two in the padded size, for each molecule.

    Matrix products count, two for each multiplication with its addition; elementwise work does not. The networks
    here work on atoms and on pairs of atoms, so that three sizes fix the polynomial.

    counts: FLOPs of a molecule padded to 4, 8 and 12 atoms.
    """

    counts: tuple[float, float, float]

    @classmethod
    def measure(cls, diffusion: Diffusion, types: int) -> Flops:
        """Counts three small batches of molecules with that many atom types; gradients and random state stay."""
        return cls(tuple(count_flops(diffusion, types, 1, atoms) for atoms in SIZES))  # type: ignore[arg-type]

    @classmethod
    def of_clouds(cls, diffusion: Diffusion, clouds: Sequence[Cloud]) -> Flops:
        """The same by three clean clouds of one molecule each, of any three sizes, for models that need a condition.

        Where sizes are equal, cost is taken to be the same at all.
        """
        sizes = [float(cloud.x.shape[1]) for cloud in clouds]
        found = [_counted(diffusion, cloud) for cloud in clouds]
        if len(set(sizes)) < len(sizes):
            return cls((found[0], found[0], found[0]))
        matrix = np.vander(np.array(sizes), 3)
        polynomial = np.linalg.solve(matrix, np.array(found))
        return cls(tuple(float(np.polyval(polynomial, size)) for size in SIZES))  # type: ignore[arg-type]

    def __call__(self, molecules: int, atoms: int) -> float:
        """Of a batch of molecules padded to that many atoms."""
        first, second, third = self.counts
        # Newton's form; all divisors are powers of two, so it is exact in floats.
        slope, next_slope = (second - first) / 4, (third - second) / 4
        curvature = (next_slope - slope) / 8
        return molecules * (first + (atoms - 4) * (slope + (atoms - 8) * curvature))


def count_flops(diffusion: Diffusion, types: int, molecules: int, atoms: int) -> float:
    """FLOPs of a training step on a made-up batch, counted operation by operation."""
    device = next(diffusion.parameters()).device
    x = torch.linspace(-1, 1, molecules * atoms * 3, device=device).reshape(molecules, atoms, 3)
    h = torch.zeros(molecules, atoms, types + 1, device=device)
    h[..., 0], h[..., -1] = 1.0, 6.0
    clean = Cloud(x - x.mean(1, keepdim=True), h, torch.ones(molecules, atoms, 1, device=device))
    return _counted(diffusion, clean)


def _counted(diffusion: Diffusion, clean: Cloud) -> float:
    device = clean.x.device
    noise = Noise.from_seed(0, torch.arange(len(clean), device=device))
    parameters = [p for p in diffusion.parameters() if p.requires_grad]
    counter = FlopCounterMode(display=False)
    # The fused kernels of attention are not counted on every device; its plain form is.
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        sdpa_kernel(SDPBackend.MATH),
        counter,
    ):
        torch.autograd.grad(diffusion(clean, noise).sum(), parameters, allow_unused=True)
    return float(counter.get_total_flops())
