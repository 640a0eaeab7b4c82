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
from coset.training.optimisation import Clipper, adamw


@dataclass
class Counters:
    """Where a run stands: optimiser step, epoch and batch to come, molecules seen, seconds of training."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    molecules: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """Model, optimiser, averages, clipper and counters of a run."""

    diffusion: Diffusion
    optimiser: torch.optim.Optimizer
    ema: EMA
    clipper: Clipper
    counters: Counters = field(default_factory=Counters)

    @classmethod
    def start(cls, diffusion: Diffusion, settings: Training) -> State:
        parameters = list(diffusion.parameters())
        optimiser = adamw(parameters, settings.lr, settings.beta2, settings.weight_decay, settings.amsgrad)
        return cls(diffusion, optimiser, EMA(diffusion, settings.ema), Clipper(settings.clip))

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """One file, atomically; `about` (recipe, settings) travels in its header."""
        names = [name for name, _ in self.diffusion.named_parameters()]
        tensors = with_prefix("raw", dict(self.diffusion.named_parameters()))
        for decay, average in self.ema.averages.items():
            tensors |= with_prefix(f"ema/{decay}", dict(zip(names, average, strict=True)))
        for name, parameter in self.diffusion.named_parameters():
            tensors |= with_prefix(f"optimiser/{name}", self.optimiser.state.get(parameter, {}))
        state = {"about": about, "counters": vars(self.counters), "clip_history": self.clipper.history}
        save_tensors(path, tensors, state)

    def load(self, path: Path) -> None:
        """Goes on exactly where `save` left off."""
        tensors, state = load_tensors(path)
        names = [name for name, _ in self.diffusion.named_parameters()]
        load_parameters(self.diffusion, strip_prefix("raw", tensors), path)
        for decay, average in self.ema.averages.items():
            saved = strip_prefix(f"ema/{decay}", tensors)
            for name, value in zip(names, average, strict=True):
                value.copy_(saved[name])
        for name, parameter in self.diffusion.named_parameters():
            saved = strip_prefix(f"optimiser/{name}", tensors)
            # The step counter stays where the optimiser keeps it, the moments follow the parameter.
            self.optimiser.state[parameter] = {key: _placed(key, value, parameter) for key, value in saved.items()}
        self.counters = Counters(**state["counters"])
        self.clipper.history = state["clip_history"]


def _placed(key: str, value: Tensor, parameter: nn.Parameter) -> Tensor:
    return value.to(parameter.device) if key != "step" or parameter.is_cuda else value


@torch.no_grad()
def load_parameters(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copies named tensors of any float type into the model; a ValueError names what does not fit."""
    for name, parameter in model.named_parameters():
        if name not in tensors or tensors[name].shape != parameter.shape:
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(
                f"{path} does not fit this model: {name} should have shape {tuple(parameter.shape)}, got {found}; "
                "the weights belong to other settings"
            )
        parameter.copy_(tensors[name])
