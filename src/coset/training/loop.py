"""The training loop, on one screen."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray

from coset.cloud import Cloud
from coset.data.batches import Batches
from coset.diffusion import Diffusion
from coset.networks.precision import set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.settings import Training
from coset.training.flops import Flops
from coset.training.interrupt import interruptible
from coset.training.log import Log
from coset.training.nonfinite import tell_nonfinite
from coset.training.optimisation import rate_factor
from coset.training.state import State


@dataclass(frozen=True)
class Rows:
    """Which molecules a run has. train, valid: rows of sizes (atoms) and ids."""

    train: Int[NDArray[np.int64], "m"]
    valid: Int[NDArray[np.int64], "v"]
    sizes: Int[NDArray, "a"]
    ids: NDArray


@dataclass(frozen=True, kw_only=True)
class Run(ABC):
    """One training run: settings, data, where it saves and whom it tells.

    validated: called after each validation. about: what identifies the run, kept in its checkpoints. checkpoint: the
    file it can go on from. pause: minutes after which `train` returns although the run is not at its end.
    """

    settings: Training
    checkpoint: Path
    about: dict[str, Any]
    log: Log
    device: str = "cpu"
    pause: float = float("inf")
    validated: Callable[[State], None] = lambda state: None

    @property
    @abstractmethod
    def rows(self) -> Rows: ...

    @abstractmethod
    def cloud(self, rows: Int[NDArray[np.int64], "b"], step: int = -1) -> Cloud:
        """A clean batch on the run's device, with its conditions; what of it is drawn, the step decides."""

    @abstractmethod
    def flops(self, diffusion: Diffusion) -> Flops: ...

    @abstractmethod
    def validation(self) -> Callable[[State], dict[str, Any]]:
        """What is measured of a state now and then: valid_loss and ema, the decay of the best average, and more."""

    def batches(self) -> Batches:
        s, rows = self.settings, self.rows
        limit = {"tokens": s.tokens} if s.tokens else {"molecules": s.batch}
        return Batches(rows.sizes[rows.train], seed=s.seed, rows=rows.train, **limit)

    def noise(self, rows, step: int) -> Noise:
        """Depends on the run's seed, the molecule and the step alone, so a resumed run repeats it."""
        # A step that is a tensor is an input of the compiled model, an integer would be compiled into it.
        return Noise.from_seed(self.settings.seed, torch.as_tensor(rows, device=self.device)).at(torch.tensor(step))

    def progress(self, state: State) -> float:
        """Share of the run done: of its molecules or of its minutes, whichever is further."""
        s, counters = self.settings, state.counters
        done = [counters.molecules / s.molecules] if s.molecules else []
        done += [counters.seconds / (60 * s.minutes)] if s.minutes else []
        return max(done, default=0.0)


def train(run: Run, state: State) -> None:
    """Trains until the run's molecules or minutes are spent, or its pause; saves, validates and logs on the way.

    A run killed and resumed ends with the weights of one never stopped: bit for bit on a CPU in fp32 where molecules
    end it; a budget of minutes makes end and learning rate follow the clock, which no two runs share. Ctrl-C ends the
    step, saves and raises KeyboardInterrupt. A loss or gradient that is not finite raises FloatingPointError.
    precision=bf16 is fp32 on a CPU that would emulate it.
    """
    s, counters, validation = run.settings, state.counters, run.validation()
    set_trunk_precision(state.diffusion, usable_precision(s.precision, run.device))
    flops = run.flops(state.diffusion)
    model = torch.compile(state.diffusion, dynamic=True) if s.compile else state.diffusion
    parameters, begun = list(state.diffusion.parameters()), time.monotonic()
    clock = saved = begun
    with interruptible() as stop:
        for epoch, batch, rows in run.batches().stream(counters.epoch, counters.batch):
            if (progress := run.progress(state)) >= 1 or clock - begun > 60 * run.pause:
                break
            for group in state.optimiser.param_groups:
                group["lr"] = s.lr * rate_factor(counters.step, progress, s.warmup, s.decay)
            clean = run.cloud(rows, counters.step)
            losses = model(clean, run.noise(rows, counters.step))
            state.optimiser.zero_grad(set_to_none=True)
            losses.mean().backward()
            norm = state.clipper(parameters)
            if not norm < float("inf"):
                raise FloatingPointError(tell_nonfinite(run, state, rows, losses.detach(), norm))
            state.optimiser.step()
            state.ema.update(counters.step)
            now = time.monotonic()
            counters.seconds, clock = counters.seconds + now - clock, now
            counters.step, counters.epoch, counters.batch = counters.step + 1, epoch, batch + 1
            counters.molecules += len(rows)
            counters.flops += flops(*clean.x.shape[:2])
            if counters.step % 50 == 0:
                loss = losses.mean().item()
                run.log({"kind": "train", "loss": loss, "norm": norm, "progress": progress, **vars(counters)})
            if counters.molecules // s.validate_every > (counters.molecules - len(rows)) // s.validate_every:
                run.log({"kind": "valid", **validation(state), **vars(counters)})
                run.validated(state)
                clock = time.monotonic()  # validation is not training time
            if stop.requested or now - saved > 60 * s.checkpoint_minutes:
                save(run, state)
                saved = now
            if stop.requested:
                raise KeyboardInterrupt
    if not run.log.logged("valid", counters.step):
        run.log({"kind": "valid", **validation(state), **vars(counters)})
        run.validated(state)
    save(run, state)


def save(run: Run, state: State) -> None:
    """The log first: a checkpoint must not know of steps that the log lacks."""
    run.log.sync()
    state.save(run.checkpoint, run.about)
