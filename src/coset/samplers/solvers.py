"""Solvers: how a sampler gets from time t to s with the denoiser's estimates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Process
from coset.noise import Noise

Times = Float[Tensor, "b"]
Denoise = Callable[[Cloud, Times, Noise], Cloud]
Memory = tuple[Times, Cloud] | None  # time and estimate of the step before


class Solver(ABC):
    """One step of a sampler. calls: network calls a step."""

    calls: int = 1

    @abstractmethod
    def step(
        self, process: Process, denoise: Denoise, z: Cloud, t: Times, s: Times, memory: Memory, noise: Noise
    ) -> tuple[Cloud, Memory]:
        """From z at t to s < t."""

    def at(self, t: float) -> Solver:
        """The solver that makes the step from t."""
        return self


@dataclass(frozen=True)
class Ancestral(Solver):
    """A draw from `Process.reverse` with the estimate in place of the clean cloud, at the process's own eta.

    eta = 1 is ancestral sampling (Ho et al. 2020), eta = 0 DDIM (Song et al. 2021) and flow matching's Euler step.
    """

    def step(self, process, denoise, z, t, s, memory, noise):
        estimate = denoise(z, t, noise.fork(1))
        return process.reverse(z, t, s, estimate).sample(noise.fork(0)), (t, estimate)


@dataclass(frozen=True)
class Renewed(Solver):
    """The estimate with all noise drawn anew: how a consistency model takes more than one call (Song et al. 2023)."""

    def step(self, process, denoise, z, t, s, memory, noise):
        estimate = denoise(z, t, noise.fork(1))
        return process.noised(estimate, s).sample(noise.fork(0)), None


@dataclass(frozen=True)
class Multistep(Solver):
    """DPM-Solver++ 2M (Lu et al. 2022): the estimate is extrapolated from the last two, in log SNR.

    Second order with one call a step. The first step, and one that starts or ends without noise or without signal, are
    of first order. Meant for eta = 0.
    """

    def step(self, process, denoise, z, t, s, memory, noise):
        estimate = denoise(z, t, noise.fork(1))
        ahead = estimate
        if memory is not None:
            before, previous = memory
            log_snr = schedule_of(process).log_snr
            step, last = log_snr(s) - log_snr(t), log_snr(t) - log_snr(before)
            weight = torch.where(torch.isfinite(step) & torch.isfinite(last), step / (2 * last), 0.0).to(z.x.dtype)
            ahead = estimate + (estimate - previous).scale(weight)
        return process.reverse(z, t, s, ahead).sample(noise.fork(0)), (t, estimate)


@dataclass(frozen=True)
class Heun(Solver):
    """A step with the estimate at t, another with the mean of those at t and at its end: second order, two calls.

    The trapezoidal rule in the noise-to-signal ratio, where the exact solution is linear in the estimate; unlike Heun's
    rule on dz/dt (Karras et al. 2022) it stays exact for a constant estimate at every step size. Meant for eta = 0.
    """

    calls = 2

    def step(self, process, denoise, z, t, s, memory, noise):
        estimate = denoise(z, t, noise.fork(1))
        there = process.reverse(z, t, s, estimate).mean
        mean = (estimate + denoise(there, s, noise.fork(2))).scale(0.5)
        return process.reverse(z, t, s, mean).sample(noise.fork(0)), (t, mean)


@dataclass(frozen=True)
class Churned(Solver):
    """Adds noise before each step of another solver: sigma / alpha grows by `factor` where it is in [low, high].

    Stochastic sampling as of Karras et al. (2022, algorithm 2), in units of the encoded positions (Angstrom). The
    solver remembers no step, for the noise comes between: `Multistep` is of first order inside.
    """

    solver: Solver
    factor: float
    low: float = 0.05
    high: float = 5.0

    def __post_init__(self) -> None:
        if self.factor < 1 or not 0 < self.low < self.high:
            raise ValueError(f"churn needs a factor of at least 1 and 0 < low < high; got {self}")

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.solver.calls

    def step(self, process, denoise, z, t, s, memory, noise):
        schedule, affine = schedule_of(process), cast(Any, process)
        log_snr, most = schedule.log_snr(t), schedule.log_snr(torch.ones_like(t))
        inside = (log_snr < -2 * math.log(self.low)) & (log_snr > -2 * math.log(self.high))
        raised = torch.maximum(log_snr - 2 * math.log(self.factor), most)
        later = torch.where(inside, schedule.time(raised).to(t.dtype), t)
        moved = affine.onward(z, t, later).sample(noise.fork(3))
        return self.solver.step(process, denoise, moved, later, s, None, noise)


@dataclass(frozen=True)
class WithEta(Solver):
    """Another solver on the process with another randomness of its reverse chain."""

    solver: Solver
    eta: float

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.solver.calls

    def step(self, process, denoise, z, t, s, memory, noise):
        return self.solver.step(cast(Any, process).with_eta(self.eta), denoise, z, t, s, memory, noise)


@dataclass(frozen=True)
class Phases(Solver):
    """One solver down to the time `change`, another from there: few large steps while the shape forms, say, and random
    small ones, which forget earlier errors, while lengths settle."""

    early: Solver
    late: Solver
    change: float

    @property
    def calls(self) -> int:  # type: ignore[override]
        return max(self.early.calls, self.late.calls)

    def at(self, t):
        return self.early if t > self.change else self.late

    def step(self, process, denoise, z, t, s, memory, noise):
        return self.at(float(t[0])).step(process, denoise, z, t, s, memory, noise)


SOLVERS: dict[str, Solver] = {"ancestral": Ancestral(), "multistep": Multistep(), "heun": Heun(), "renewed": Renewed()}


def schedule_of(process: Process) -> Any:
    """Raises ValueError for processes without noise levels."""
    schedule = getattr(process, "schedule", None)
    if schedule is None:
        raise ValueError(
            f"{type(process).__name__} has no log SNR; sample it with the ancestral solver on the power grid"
        )
    return schedule
