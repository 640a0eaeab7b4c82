"""Symmetrised denoisers and fields: any network, run in a drawn pose, in all poses of a frame, or in many draws."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Denoiser, Field, Frame
from coset.noise import Noise
from coset.symmetry.frames import PrincipalFrame


class Symmetrised(Denoiser):
    """z -> R D(R^T z) with R drawn from the frame (SymDiff, Zhang et al. 2025, eq. 7; Kim et al. 2023)."""

    def __init__(self, denoiser: Denoiser, frame: Frame) -> None:
        super().__init__()
        self.denoiser, self.frame = denoiser, frame

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        pose = self.frame(z, t, noise)
        return self.denoiser(z.rotate(pose.mT), t, noise and noise.fork(2)).rotate(pose)


class FrameAveraged(Denoiser):
    """The mean of R_k D(R_k^T z) over all poses of a frame: equivariant, at k times the cost (Puny et al. 2022)."""

    def __init__(self, denoiser: Denoiser, frame: PrincipalFrame) -> None:
        super().__init__()
        self.denoiser, self.frame = denoiser, frame

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        poses = self.frame.poses(z).unbind(1)
        total = self.denoiser(z.rotate(poses[0].mT), t, noise).rotate(poses[0])
        for pose in poses[1:]:
            total = total + self.denoiser(z.rotate(pose.mT), t, noise).rotate(pose)
        return total.scale(1 / len(poses))


class DrawAveraged(Denoiser):
    """The mean of K independent calls of a random denoiser: nearly deterministic symmetrisation, at K times cost."""

    def __init__(self, denoiser: Denoiser, draws: int) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"an average needs at least 1 draw; got {draws}")
        self.denoiser, self.draws = denoiser, draws

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        total = self.denoiser(z, t, noise and noise.number(0))
        for draw in range(1, self.draws):
            total = total + self.denoiser(z, t, noise and noise.number(draw))
        return total.scale(1 / self.draws)


class PosedField(Field):
    """A field read off the cloud in a pose that the cloud gives itself; its vectors are turned back.

    Equivariant for any field and an equivariant frame without chance (`VectorFrame`): a process that learns is one and
    the same at every time, and so is its pose, which is found without looking at the time. Raises ValueError for frames
    that draw.
    """

    def __init__(self, field: Field, frame: Frame) -> None:
        super().__init__()
        self.field, self.frame = field, frame

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b n k"], Float[Tensor, "b n m d"]]:
        pose = self.frame(z, torch.zeros_like(t))
        scalars, vectors = self.field(z.rotate(pose.mT), t)
        return scalars, vectors @ pose.mT[:, None]
