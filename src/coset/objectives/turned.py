"""The denoising loss on clean clouds that are each turned before noise is added, in draws that tell how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.objectives.denoising import Denoising


@dataclass(frozen=True, kw_only=True)
class TurnedDenoising(Denoising):
    """turns: a rotation for each cloud. Where nothing but the loss is to know of them, `Diffusion.augment` does."""

    turns: Callable[[Cloud, Noise], Float[Tensor, "b 3 3"]]

    def draw(self, process: Process, x0: Cloud, noise: Noise) -> Draw:
        turn = self.turns(x0, noise.fork(4))
        drawn = super().draw(process, x0.rotate(turn.to(x0.x.dtype)), noise)
        return replace(drawn, turn=turn)
