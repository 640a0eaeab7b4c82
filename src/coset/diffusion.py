"""Diffusion: a codec, a process, a denoiser and an objective; what a recipe composes and everything else runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Codec, Denoiser, Process, Target
from coset.noise import Noise

Objective = Callable[[Process, Denoiser, Cloud, Noise], Float[Tensor, "b"]]
Augmentation = Callable[[Cloud, Noise], Cloud]


class Diffusion(nn.Module):
    """Holds built parts. `augment` moves encoded training clouds (random rotations for networks without symmetry).

    joint: a codec that learns is trained beside the diffusion, by what it loses and not by the diffusion's loss.
    """

    def __init__(
        self,
        codec: Codec,
        process: Process,
        denoiser: Denoiser,
        objective: Objective,
        augment: Augmentation | None = None,
        joint: bool = False,
    ) -> None:
        super().__init__()
        self.codec, self.process, self.denoiser = codec, process, denoiser
        self.objective, self.augment, self.joint = objective, augment, joint

    def forward(self, clean: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        """The training loss of each molecule of a clean batch in natural units."""
        x0 = self.codec.encode(clean, noise.fork(1))
        if self.augment is not None:
            x0 = self.augment(x0, noise.fork(2))
        if not self.joint:
            return self.objective(self.process, self.denoiser, x0, noise.fork(0))
        lost = self.codec.lost(clean, noise.fork(3))
        return self.objective(self.process, self.denoiser, x0.detach(), noise.fork(0)) + sum(lost.values())

    def having(self, process: Process | None = None, denoiser: Denoiser | None = None) -> Diffusion:
        """The same parts but those that are given."""
        process, denoiser = process or self.process, denoiser or self.denoiser
        return Diffusion(self.codec, process, denoiser, self.objective, self.augment, self.joint)

    def with_target(self, target: Target) -> Diffusion:
        """The same parts trained towards another target; objectives without one stay as they are."""
        objective: Any = self.objective
        if hasattr(objective, "target"):
            objective = replace(objective, target=target)
        return Diffusion(self.codec, self.process, self.denoiser, objective, self.augment, self.joint)

    def with_eta(self, eta: float) -> Diffusion:
        """The same parts with another randomness of the reverse chain: 1 ancestral, 0 deterministic."""
        with_eta = getattr(self.process, "with_eta", None)
        if with_eta is None:
            raise ValueError(f"{type(self.process).__name__} has no eta: its reverse chain is fixed")
        return self.having(process=with_eta(eta))
