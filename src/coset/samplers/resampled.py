"""Resampling: steps made several times over, so that what is given and what is drawn come to agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from coset.gaussian import Gaussian
from coset.interfaces import Process
from coset.samplers.solvers import Solver

MOST_TIMES = 100


@dataclass(frozen=True)
class Resampled(Solver):
    """Each step of another solver made `times` times: between them the process's own noise leads back to its start.

    As RePaint (Lugmayr et al. 2022, algorithm 1), with jumps of one step. It costs `times` the network calls; once is
    the other solver itself. The solver remembers no step made before noise: `Multistep` is of first order inside.
    Raises ValueError for other numbers, and in its first step for processes without a forward kernel between two times.
    """

    solver: Solver
    times: int

    def __post_init__(self) -> None:
        if not 1 <= self.times <= MOST_TIMES:
            raise ValueError(f"resample must lie between 1 (each step once) and {MOST_TIMES}; got {self.times}")

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.times * self.solver.calls

    def at(self, t):
        return replace(self, solver=self.solver.at(t))

    def step(self, process, denoise, z, t, s, memory, noise):
        there, told = self.solver.step(process, denoise, z, t, s, memory, noise)
        for time in range(1, self.times):
            fresh = noise.number(time)
            back = onward_of(process)(there, s, t).sample(fresh.fork(4))
            there, told = self.solver.step(process, denoise, back, t, s, None, fresh)
        return there, told


def onward_of(process: Process) -> Callable[..., Gaussian]:
    """q(z_later | z_t). Raises ValueError for processes that have none in closed form."""
    onward = getattr(process, "onward", None)
    if onward is None:
        raise ValueError(
            f"{type(process).__name__} has no forward kernel between two times, so its steps cannot be made again; "
            "draw with resample=1"
        )
    return onward
