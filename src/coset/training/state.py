"""State: what changes during a run, and its way to disk and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coset.diffusion import Diffusion
from coset.recipes.settings import Training
from coset.training.checkpoint import load_tensors, save_tensors, strip_prefix, with_prefix
from coset.training.ema import EMA
from coset.training.optimisation import Clipper, make_optimiser


@dataclass
class Counters:
    """Where a run stands: optimiser step, epoch and batch to come, molecules seen, seconds of training, FLOPs of them.

    seconds is the only one that two runs of the same settings do not share.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    molecules: int = 0
    seconds: float = 0.0
    flops: float = 0.0


@dataclass
class State:
    """Model, optimiser, averages, clipper and counters of a run. saved: the step of its last checkpoint, if any."""

    diffusion: Diffusion
    optimiser: torch.optim.Optimizer
    ema: EMA
    clipper: Clipper
    counters: Counters = field(default_factory=Counters)
    saved: int | None = None

    @classmethod
    def start(cls, diffusion: Diffusion, settings: Training) -> State:
        return cls(diffusion, make_optimiser(diffusion, settings), EMA(diffusion, settings.ema), Clipper(settings.clip))

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """One file, atomically; `about` (recipe, settings) travels in its header.

        Raises FloatingPointError for weights that are not finite: they must not take the place of good ones.
        """
        if not all(bool(p.isfinite().all()) for p in self.diffusion.parameters()):
            raise FloatingPointError(
                f"the weights are not finite after step {self.counters.step} and were not saved; "
                f"{last_good(self, path)}; start a new run with a lower lr or with clip set"
            )
        names = [name for name, _ in self.diffusion.named_parameters()]
        tensors = with_prefix("raw", dict(self.diffusion.named_parameters()))
        for decay, average in self.ema.averages.items():
            tensors |= with_prefix(f"ema/{decay}", dict(zip(names, average, strict=True)))
        for name, parameter in self.diffusion.named_parameters():
            tensors |= with_prefix(f"optimiser/{name}", self.optimiser.state.get(parameter, {}))
        state = {"about": about, "counters": vars(self.counters), "clip_history": self.clipper.history}
        save_tensors(path, tensors, state)
        self.saved = self.counters.step

    def load(self, path: Path) -> None:
        """Goes on exactly where `save` left off. Raises ValueError for a file that is no checkpoint of this model."""
        tensors, state = load_tensors(path)
        if not {"counters", "clip_history"} <= set(state):
            raise ValueError(f"{path} is not a checkpoint of a training but a model; expected a run's checkpoint")
        load_parameters(self.diffusion, strip_prefix("raw", tensors), path)
        named = dict(self.diffusion.named_parameters())
        for decay, average in self.ema.averages.items():
            copy_tensors(dict(zip(named, average, strict=True)), strip_prefix(f"ema/{decay}", tensors), path)
        for name, parameter in named.items():
            saved = strip_prefix(f"optimiser/{name}", tensors)
            # The step counter stays where the optimiser keeps it, the moments follow the parameter.
            self.optimiser.state[parameter] = {key: _placed(key, value, parameter) for key, value in saved.items()}
        self.counters = Counters(**state["counters"])
        self.clipper.history = state["clip_history"]
        self.saved = self.counters.step


def last_good(state: State, path: Path) -> str:
    """Which checkpoint a broken run leaves behind, in words."""
    if state.saved is None:
        return "no checkpoint was saved before it"
    return f"the last good checkpoint is {path}, of step {state.saved}"


def _placed(key: str, value: Tensor, parameter: nn.Parameter) -> Tensor:
    return value.to(parameter.device) if key != "step" or parameter.is_cuda else value


def load_parameters(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copies named tensors of any float type into the model; a ValueError names what does not fit."""
    copy_tensors(dict(model.named_parameters()), tensors, path)


@torch.no_grad()
def copy_tensors(into: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Copies tensors by name, of any float type; a ValueError names the first that does not fit, none is copied."""
    for name, target in into.items():
        if name not in tensors or tensors[name].shape != target.shape:
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(
                f"{path} does not fit this model: {name} should have shape {tuple(target.shape)}, got {found}; "
                "the weights belong to other settings"
            )
    for name, target in into.items():
        target.copy_(tensors[name])
