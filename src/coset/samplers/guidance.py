"""Guidance: estimates that follow their conditions more, or less, than the model does (Ho & Salimans 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Denoiser, PathProcess, Process
from coset.noise import Noise
from coset.samplers.solvers import Solver


class Guided(Denoiser):
    """D(z) + strength (D(z | c) - D(z)): 0 is the model without conditions, 1 the one with them, more exaggerates.

    Two calls. Both get the same noise, so that a denoiser that draws a pose draws the same for both. Linear in the
    clean estimate, which is linear in the score for affine processes; for others see `GuidedStep`.
    """

    def __init__(self, denoiser: Denoiser, strength: float) -> None:
        super().__init__()
        self.denoiser, self.strength = denoiser, strength

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        free = self.denoiser(unconditioned(z), t, noise)
        if self.strength == 0:
            return replace(free, condition=z.condition)
        told = self.denoiser(z, t, noise)
        return told if self.strength == 1 else told + (told - free).scale(self.strength - 1)


@dataclass(frozen=True)
class GuidedStep(Solver):
    """The same for the steps of a solver, with the same noise in both: guidance of the drift.

    For processes whose drift is not linear in the estimate (END). It remembers the step that was told.
    """

    solver: Solver
    strength: float

    @property
    def calls(self) -> int:  # type: ignore[override]
        return 2 * self.solver.calls

    def at(self, t):
        return replace(self, solver=self.solver.at(t))

    def step(self, process, denoise, z, t, s, memory, noise):
        told, kept = self.solver.step(process, denoise, z, t, s, memory, noise)

        def freely(cloud: Cloud, time, draw: Noise) -> Cloud:
            return denoise(unconditioned(cloud), time, draw)

        free, _ = self.solver.step(process, freely, z, t, s, None, noise)
        return replace(free + (told - free).scale(self.strength), condition=z.condition), kept


def guided(process: Process, denoiser: Denoiser, solver: Solver, strength: float) -> tuple[Denoiser, Solver]:
    """What of the two has to be guided in this process. Raises ValueError for strengths that are no finite number."""
    if not abs(strength) < float("inf"):
        raise ValueError(f"the strength of guidance is a finite number; got {strength}")
    if strength == 1:
        return denoiser, solver
    if isinstance(process, PathProcess):
        return denoiser, GuidedStep(solver, strength)
    return Guided(denoiser, strength), solver


def unconditioned(cloud: Cloud) -> Cloud:
    """The cloud whose condition holds no scalars."""
    if cloud.condition is None:
        return cloud
    return replace(cloud, condition=replace(cloud.condition, scalars=None))
