"""FLOPs: what a training step costs, counted on the real model."""

from __future__ import annotations

from dataclasses import dataclass

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
    noise = Noise.from_seed(0, torch.arange(molecules, device=device))
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
