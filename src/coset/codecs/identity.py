"""Identity: diffusion on the data as they are, for clouds whose positions are all there is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Codec, Output
from coset.noise import Noise
from coset.scales import CENTRED, Subspace


class Identity(Codec):
    """Encodes nothing. The output is normal around the denoiser's last estimate.

    std is sigma(0) / alpha(0), the noise left at the end of the chain; features: channels of h, as they come.
    """

    def __init__(self, std: float, features: int = 0, subspace: Subspace = CENTRED) -> None:
        super().__init__()
        self.std, self.features, self.subspace = std, features, subspace

    @property
    def width(self) -> int:
        return self.features

    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud:
        return clean

    def output(self, z0: Cloud, estimate: Cloud) -> NormalOutput:
        mean = Cloud(self.subspace.project(estimate.x, z0.mask), estimate.h * z0.mask, z0.mask, z0.condition)
        std = torch.full_like(z0.count, self.std)
        return NormalOutput(Gaussian.isotropic(mean, std, self.subspace))


@dataclass(frozen=True)
class NormalOutput(Output):
    """p(clean | z_0) as a density in positions and features alike."""

    gaussian: Gaussian

    def log_prob(self, clean: Cloud) -> Float[Tensor, "b"]:
        return self.gaussian.log_prob(clean)

    def sample(self, noise: Noise) -> Cloud:
        return self.gaussian.sample(noise)

    def mode(self) -> Cloud:
        return self.gaussian.mean
