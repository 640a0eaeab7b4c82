"""Frames: poses drawn for a cloud, in which a plain network then works."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Frame
from coset.noise import Noise
from coset.symmetry.rotations import haar, orthonormalise


class HaarFrame(Frame):
    """A uniformly random pose, whatever the cloud: O(3), or SO(3) without reflections."""

    def __init__(self, reflections: bool = True) -> None:
        super().__init__()
        self.reflections = reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        return haar(_required(noise), self.reflections).to(z.x.dtype)


class RecursiveFrame(Frame):
    """R = g f(g^T z, eta) with g Haar and f any network to 3 x 3 matrices: equivariant in law (SymDiff, section 4.1).

    The order matters. Rotating z by Q turns the law of g into that of Q g, hence R into Q R. The released code forms
    f g^T and uses it as R, which is not equivariant in law: the tests reject it.
    """

    def __init__(self, network: nn.Module, width: int = 3, reflections: bool = True) -> None:
        super().__init__()
        self.network, self.width, self.reflections = network, width, reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        noise = _required(noise)
        g = haar(noise.fork(0), self.reflections)
        eta = noise.fork(1).normal(z.x.shape[1], self.width, dtype=z.x.dtype) * z.mask
        posed = replace(z.rotate(g.mT.to(z.x.dtype)), h=eta)
        f = orthonormalise(self.network(posed, t))
        if not self.reflections:
            f = f * torch.linalg.det(f)[:, None, None]
        return (g @ f).to(z.x.dtype)


def _required(noise: Noise | None) -> Noise:
    if noise is None:
        raise ValueError("a random frame needs noise: call the denoiser as denoiser(z, t, noise)")
    return noise
