"""The training loop, on one screen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coset.data.batches import Batches
from coset.data.catalog import Dataset
from coset.molecule import Vocabulary
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.recipes.settings import Training
from coset.training.interrupt import interruptible
from coset.training.log import Log
from coset.training.optimisation import rate_factor
from coset.training.state import State
from coset.training.validation import Validation


@dataclass(frozen=True)
class Run:
    """One training run: settings, data, where it saves and whom it tells.

    about: what identifies the run, kept in its checkpoints. checkpoint: the file it can go on from. pause: minutes
    after which `train` returns although the run is not at its end.
    """

    settings: Training
    dataset: Dataset
    vocabulary: Vocabulary
    checkpoint: Path
    about: dict[str, Any]
    log: Log
    device: str = "cpu"
    pause: float = float("inf")

    def batches(self) -> Batches:
        s, rows = self.settings, self.dataset.train
        limit = {"tokens": s.tokens} if s.tokens else {"molecules": s.batch}
        return Batches(self.dataset.store.sizes[rows], seed=s.seed, rows=rows, **limit)

    def cloud(self, rows):
        """A clean batch on the run's device."""
        return self.vocabulary.cloud(*self.dataset.store.collate(rows)).to(self.device)

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

    Ctrl-C ends the step, saves and raises KeyboardInterrupt. A loss or gradient that is not finite raises
    FloatingPointError and leaves the last checkpoint as it was.
    """
    s, counters, validation = run.settings, state.counters, Validation(run)
    set_trunk_precision(state.diffusion, s.precision)
    model = torch.compile(state.diffusion, dynamic=True) if s.compile else state.diffusion
    parameters, begun = list(state.diffusion.parameters()), time.monotonic()
    clock = saved = begun
    with interruptible() as stop:
        for epoch, batch, rows in run.batches().stream(counters.epoch, counters.batch):
            if (progress := run.progress(state)) >= 1 or clock - begun > 60 * run.pause:
                break
            for group in state.optimiser.param_groups:
                group["lr"] = s.lr * rate_factor(counters.step, progress, s.warmup, s.decay)
            loss = model(run.cloud(rows), run.noise(rows, counters.step)).mean()
            state.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = state.clipper(parameters)
            if not norm < float("inf"):
                raise FloatingPointError(_not_finite(run, state, rows, loss.item(), norm))
            state.optimiser.step()
            state.ema.update(counters.step)
            now = time.monotonic()
            counters.seconds, clock = counters.seconds + now - clock, now
            counters.step, counters.epoch, counters.batch = counters.step + 1, epoch, batch + 1
            counters.molecules += len(rows)
            if counters.step % 50 == 0:
                run.log({"kind": "train", "loss": loss.item(), "norm": norm, "progress": progress, **vars(counters)})
            if counters.molecules // s.validate_every > (counters.molecules - len(rows)) // s.validate_every:
                run.log({"kind": "valid", **validation(state), **vars(counters)})
                clock = time.monotonic()  # validation is not training time
            if stop.requested or now - saved > 60 * s.checkpoint_minutes:
                state.save(run.checkpoint, run.about)
                saved = now
            if stop.requested:
                raise KeyboardInterrupt
    run.log({"kind": "valid", **validation(state), **vars(counters)})
    state.save(run.checkpoint, run.about)


def _not_finite(run: Run, state: State, rows, loss: float, norm: float) -> str:
    ids = run.dataset.store.ids[rows[:5]].tolist()
    return (
        f"training broke at step {state.counters.step}: loss {loss}, gradient norm {norm}, molecules {ids}...; "
        f"the last good checkpoint is {run.checkpoint}; lower lr or set clip, then resume from it"
    )
