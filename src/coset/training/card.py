"""Cards: what a trained model is made of, as JSON beside its weights."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from typing import Any

import torch

import coset
from coset.training.distributed import ranks
from coset.training.loop import Run
from coset.training.state import State

_VALIDATION = (
    "valid_loss", "valid_position", "valid_type", "valid_charge", "ema", "atom_stable", "molecule_stable", "valid",
)  # fmt: skip


def card_of(
    run: Run, state: State, name: str, own: Mapping[str, Any], data: Mapping[str, Any], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Recipe, settings, data, budget, hardware and last validation of a run's model.

    own: what models of its kind tell beside. data: of what it was trained on. extra: what takes the place of these.
    """
    last = run.log.last["valid"]
    measured = {key: value for key, value in last.items() if key in _VALIDATION or key.startswith(("cov", "amr"))}
    return {
        "name": name,
        "recipe": run.about["recipe"],
        "settings": run.about["settings"],
        "version": coset.__version__,
        **own,
        "parameters": sum(p.numel() for p in state.diffusion.parameters()),
        "data": dict(data),
        "molecules_seen": state.counters.molecules,
        "minutes": round(state.counters.seconds / 60, 1),
        "flops": state.counters.flops,
        "hardware": hardware(run.device),
        "date": time.strftime("%Y-%m-%d"),
        "validation": measured,
        **extra,
    }


def hardware(device: str) -> str:
    """A short name of what did the work, with the number of processes where they were several."""
    several = f"{ranks().count} x " if ranks().count > 1 else ""
    if device.startswith("cuda"):
        return several + torch.cuda.get_device_name()
    return f"{several}{torch.get_num_threads()} CPU thread(s), {platform.machine()}"
