"""Categories: positions as they are and scaled one-hot types, whose probabilities the denoiser estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Codec, Output
from coset.noise import Noise
from coset.scales import CENTRED


class Categories(Codec):
    """x in Angstrom, `scale` times one-hot; channels of the clean cloud beyond the types are left out.

    A smaller scale decides types later, at less noise in the positions. std is sigma(0) / alpha(0), the noise left at
    the end of the chain. The denoiser's features must be `scale` times probabilities (`Preconditioned`).
    """

    def __init__(self, types: int, std: float, scale: float = 0.25) -> None:
        super().__init__()
        self.types, self.std, self.scale = types, std, scale

    @property
    def width(self) -> int:
        return self.types

    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud:
        return replace(clean, h=clean.h[..., : self.types] * self.scale).center()

    def output(self, z0: Cloud, estimate: Cloud) -> CategoriesOutput:
        return CategoriesOutput(replace(estimate, h=estimate.h / self.scale), self.std)


@dataclass(frozen=True)
class CategoriesOutput(Output):
    """Normal positions around the last estimate, types by its probabilities. estimate.h: probabilities (b, n, f)."""

    estimate: Cloud
    std: float

    def mode(self) -> Cloud:
        kinds = torch.nn.functional.one_hot(self.estimate.h.argmax(-1), self.estimate.h.shape[-1])
        return replace(self.estimate, h=kinds.to(self.estimate.h.dtype) * self.estimate.mask)

    def sample(self, noise: Noise) -> Cloud:
        mode = self.mode()
        drawn = self.estimate.h.cumsum(-1) / self.estimate.h.sum(-1, keepdim=True).clamp_min(1e-30)
        place = noise.fork(2).uniform(drawn.shape[1], 1, dtype=drawn.dtype)
        kinds = torch.nn.functional.one_hot((place >= drawn[..., :-1]).sum(-1), drawn.shape[-1]).to(drawn.dtype)
        eps = standard_normal(mode, noise, CENTRED)
        return replace(mode, x=mode.x + self.std * eps.x, h=kinds * mode.mask)

    def log_prob(self, clean: Cloud) -> Float[Tensor, "b"]:
        dimension = 3 * (clean.count - 1)
        away = (clean.center().x - self.estimate.x).square().sum((1, 2)) / self.std**2
        log_x = -0.5 * away - dimension * (math.log(self.std) + 0.5 * math.log(2 * math.pi))
        types = self.estimate.h.shape[-1]
        log_h = (clean.h[..., :types] * (self.estimate.h + 1e-10).log()).sum((1, 2))
        return log_x + log_h
