"""The figure of laws: which denoisers turn in law with what they see, and which do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from drawing import Axes, Figure

from coset.cloud import Cloud
from coset.interfaces import Denoiser
from coset.networks.dit import DiT
from coset.networks.outputs import FromClean
from coset.noise import Noise
from coset.symmetry.checks import equivariance_in_law
from coset.symmetry.frames import HaarFrame, RecursiveFrame
from coset.symmetry.rotations import orthonormalise
from coset.symmetry.symmetrised import Symmetrised


def law() -> Figure:
    """Deviations from E F(Qz) = Q E F(z) against the number of draws, for three denoisers around one network."""
    torch.manual_seed(0)
    network = DiT(3, width=16, depth=1, heads=2, kernels=4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 5, 3)
    molecule, plain = Cloud(x, torch.randn(1, 5, 3), torch.ones(1, 5, 1)).center(), FromClean(network)
    cases: dict[str, tuple[Denoiser, str]] = {
        "bare network": (_Turned(plain), "d"),
        "uniform poses": (Symmetrised(plain, HaarFrame()), "a"),
        "learned poses": (Symmetrised(plain, RecursiveFrame(_Pose())), "c"),
    }
    figure = Figure(
        680, 330, "Equivariance in law", "The bare network's deviation grows with draws; the others' stays."
    )
    axes = Axes(figure, (64, 86, 590, 180), (64, 65536), (0.3, 1000), log=(True, True))
    axes.frame("", (64, 256, 1024, 4096, 16384, 65536), (1, 10, 100, 1000), ("draws of the noise", ""))
    figure.text(64, 72, "difference of the two means, in standard errors (root mean square)", "soft")
    for number, (name, (denoiser, colour)) in enumerate(cases.items()):
        draws = [4**k for k in range(3, 9)]
        found = [
            equivariance_in_law(lambda z, noise: denoiser(z, torch.full((len(z),), 0.3), noise), molecule, n).rms  # noqa: B023
            for n in draws
        ]
        print(name, dict(zip(draws, np.round(found, 2), strict=True)))
        axes.line(draws, found, colour)
        axes.dots(draws, found, colour)
        left = (64, 250, 420)[number]
        figure.line([(left, 22), (left + 22, 22)], colour, 3)
        figure.text(left + 29, 27, name)
    return figure


class _Turned(Denoiser):
    """The bare network with noise added to its input: random, as the others are, and in no way symmetric."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, z: Cloud, t: torch.Tensor, noise: Noise | None = None) -> Cloud:
        assert noise is not None
        return self.denoiser(replace(z, x=z.x + 0.3 * noise.normal(z.x.shape[1], 3)).center(), t)


class _Pose(torch.nn.Module):
    """A small pose network: matrices that follow moments of the cloud."""

    def forward(self, z: Cloud, t: torch.Tensor) -> torch.Tensor:
        norms = torch.linalg.vector_norm(z.x, dim=-1, keepdim=True)
        columns = [(z.x * weight).sum(1) for weight in (norms.square(), torch.sin(5 * norms), torch.cos(4 * norms))]
        return orthonormalise(torch.stack(columns, -1) + 0.2 * (z.x.mT @ z.h) + 0.3 * torch.eye(3)).to(z.x.dtype)
