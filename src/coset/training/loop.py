"""The training loop, on one screen."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.data.batches import Batches
from coset.diffusion import Diffusion
from coset.networks.precision import set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.settings import Training
from coset.training.checkpoint import tensor_crc
from coset.training.distributed import ranks
from coset.training.flops import Flops
from coset.training.interrupt import interruptible
from coset.training.log import Log
from coset.training.nonfinite import tell_nonfinite
from coset.training.optimisation import rate_factor
from coset.training.state import State

Model = Callable[[Cloud, Noise], Float[Tensor, "b"]]


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
    def build(self) -> Diffusion:
        """The recipe's model with fresh weights, on the run's device."""

    @abstractmethod
    def trained(self, source: str) -> Diffusion:
        """That of a model of the same kind, by its name or path."""

    @abstractmethod
    def export(self, state: State, path: Path, name: str, extra: Mapping[str, Any] | None = None) -> None:
        """Writes the average of lowest validation loss as a model in fp16, with its card. extra: more for the card."""

    @abstractmethod
    def flops(self, diffusion: Diffusion) -> Flops: ...

    @abstractmethod
    def validation(self) -> Callable[[State], dict[str, Any]]:
        """What is measured of a state now and then: valid_loss and ema, the decay of the best average, and more."""

    def batches(self) -> Batches:
        s, rows = self.settings, self.rows
        limit = {"tokens": s.tokens} if s.tokens else {"molecules": s.batch}
        return Batches(rows.sizes[rows.train], seed=s.seed, rows=rows.train, pairs=s.pairs, **limit)

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
    s, counters, validation, team = run.settings, state.counters, run.validation(), ranks()
    set_trunk_precision(state.diffusion, usable_precision(s.precision, run.device))
    flops, sizes = run.flops(state.diffusion), run.rows.sizes
    model = torch.compile(state.diffusion, dynamic=True) if s.compile else state.diffusion
    parameters = list(state.diffusion.parameters())
    team.check_alike((counters.step, *(tensor_crc(p) for p in parameters)) if team.count > 1 else ())
    begun, _ = team.agree(time.monotonic(), False)
    clock = saved = begun
    with interruptible() as stop:
        for epoch, batch, rows in run.batches().stream(counters.epoch, counters.batch):
            if (progress := run.progress(state)) >= 1 or clock - begun > 60 * run.pause:
                break
            for group in state.optimiser.param_groups:
                group["lr"] = s.lr * rate_factor(counters.step, progress, s.warmup, s.decay)
            state.optimiser.zero_grad(set_to_none=True)
            losses, total = team.summed(partial(backward, run, model, rows, sizes, counters.step), parameters)
            norm = state.clipper(parameters)
            if not norm < float("inf"):
                raise FloatingPointError(tell_nonfinite(run, state, rows, team.joined(losses), norm))
            state.optimiser.step()
            state.ema.update(counters.step)
            now, stopped = team.agree(time.monotonic(), stop.requested)
            counters.seconds, clock = counters.seconds + now - clock, now
            counters.step, counters.epoch, counters.batch = counters.step + 1, epoch, batch + 1
            counters.molecules += len(rows)
            counters.flops += flops(len(rows), int(sizes[rows].max()))
            if counters.step % 50 == 0:
                loss = total.item() / len(rows)
                record = {"kind": "train", "loss": loss, "norm": norm, "progress": progress, **vars(counters)}
                team.first(partial(run.log, record))
            if counters.molecules // s.validate_every > (counters.molecules - len(rows)) // s.validate_every:
                team.first(partial(validate, run, state, validation))
                clock, _ = team.agree(time.monotonic(), False)  # validation is not training time
            if stopped or now - saved > 60 * s.checkpoint_minutes:
                team.first(partial(save, run, state))
                saved = now
            if stopped:
                raise KeyboardInterrupt
    team.first(partial(validate, run, state, validation))
    team.first(partial(save, run, state))


def backward(run: Run, model: Model, rows: Int[NDArray, "b"], sizes: NDArray, step: int) -> Float[Tensor, "s"]:
    """The losses of this process's share of a batch; adds its part of the gradient of the batch's mean loss.

    The share is worked through in as many parts as the settings say. Together, parts and processes have the gradient
    of the whole batch at once, to rounding: draws depend on the molecule, and on the batch as a whole where they do.
    """
    team, parts, places = ranks(), run.settings.accumulate, np.arange(len(rows))
    noise, whole = run.noise(rows, step), team.count == parts == 1
    atoms = torch.as_tensor(np.asarray(sizes[rows], np.int64), device=run.device)
    losses = torch.zeros(len(places[team.share(0, 1)]), device=run.device)
    for part in range(parts):
        mine = places[team.share(part, parts)]
        if len(mine):
            chosen = torch.as_tensor(mine, device=run.device)
            loss = model(run.cloud(rows[mine], step), noise if whole else noise.take(chosen, atoms))
            (loss.sum() / len(rows)).backward()
            losses[part::parts] = loss.detach()
    return losses


def validate(run: Run, state: State, validation: Callable[[State], dict[str, Any]]) -> None:
    """Measures the state and logs it, once a step."""
    counters = state.counters
    if not run.log.logged("valid", counters.step):
        run.log({"kind": "valid", **validation(state), **vars(counters)})
        run.validated(state)


def save(run: Run, state: State) -> None:
    """The log first: a checkpoint must not know of steps that the log lacks."""
    run.log.sync()
    state.save(run.checkpoint, run.about)
