"""Symmetrised: any denoiser, run in a drawn pose, becomes one equivariant in law."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Denoiser, Frame
from coset.noise import Noise


class Symmetrised(Denoiser):
    """z -> R D(R^T z) with R drawn from the frame (SymDiff, Zhang et al. 2025, eq. 7; Kim et al. 2023)."""

    def __init__(self, denoiser: Denoiser, frame: Frame) -> None:
        super().__init__()
        self.denoiser, self.frame = denoiser, frame

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        pose = self.frame(z, t, noise)
        return self.denoiser(z.rotate(pose.mT), t, noise and noise.fork(2)).rotate(pose)
