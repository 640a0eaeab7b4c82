"""Autoencoding: stage one of a latent model, a codec that is trained alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Augmentation, Diffusion
from coset.interfaces import Codec, Denoiser, Process, Target
from coset.noise import Noise


class Nothing(Denoiser):
    """The denoiser of a model that has none yet: it gives back what it sees."""

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        return z


class Autoencoding(Diffusion):
    """Trains by what its codec loses. It runs, is saved and is loaded as diffusions are, and draws no molecules.

    `augment` moves clean clouds here: a decoder without symmetry must see what it is to decode. process: that of the
    diffusion to come.
    """

    def __init__(self, codec: Codec, process: Process, augment: Augmentation | None = None) -> None:
        super().__init__(codec, process, Nothing(), _unused, augment)

    def forward(self, clean: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        lost = self.lost(clean, noise)
        return torch.stack([*lost.values()]).sum(0)

    def with_target(self, target: Target) -> Autoencoding:
        """Itself: nothing is aimed at."""
        return self

    def lost(self, clean: Cloud, noise: Noise) -> dict[str, Float[Tensor, "b"]]:
        """By name, of each molecule."""
        if self.augment is not None:
            clean = self.augment(clean, noise.fork(2))
        return self.codec.lost(clean, noise.fork(1))


def _unused(process: Process, denoiser: Denoiser, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
    raise ValueError("an autoencoder has no loss of a diffusion; build a latent diffusion around it")
