"""Runs: from a recipe's name and settings to a trained model in a folder, resumable."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

import coset
from coset.data.catalog import open_dataset
from coset.model import Model
from coset.molecule import Vocabulary
from coset.recipes.registry import build, find_recipe
from coset.recipes.settings import Training
from coset.samplers.sizes import SizeDistribution
from coset.training.checkpoint import write_json
from coset.training.log import Listener, Log
from coset.training.loop import Run, train
from coset.training.state import State

CHECKPOINT, SETTINGS, LOG, MODEL = "checkpoint.safetensors", "settings.json", "log.jsonl", "model.safetensors"
ELEMENTS = (1, 6, 7, 8, 9)


def prepare(recipe: str, settings: Training, folder: Path, device: str, listener: Listener | None = None) -> Run:
    """Opens the data and the folder of a run and writes its resolved settings there."""
    dataset = open_dataset(settings.data)
    vocabulary = Vocabulary(ELEMENTS)
    strange = set(dataset.store.vocabulary) - set(ELEMENTS)
    if strange:
        raise ValueError(f"{settings.data} has elements with atomic numbers {sorted(strange)}; expected {ELEMENTS}")
    about = {"recipe": recipe, "settings": settings.model_dump(mode="json"), "version": coset.__version__}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SETTINGS, about)
    log = Log(folder / LOG, listener)
    return Run(settings, dataset, vocabulary, folder / CHECKPOINT, about, log, device)


def run_recipe(run: Run, folder: Path, resume: bool) -> State:
    """Trains, or goes on training, and leaves the model with the best average in the folder."""
    diffusion = build(run.about["recipe"], run.settings, len(run.vocabulary)).to(run.device)
    state = State.start(diffusion, run.settings)
    if resume:
        state.load(run.checkpoint)
    train(run, state)
    export(run, state, folder / MODEL, name=folder.name)
    return state


def export(run: Run, state: State, path: Path, name: str, extra: dict[str, Any] | None = None) -> None:
    """The model with the average of lowest validation loss, in fp16, and its card."""
    last = run.log.last["valid"]
    card = make_card(run, state, name) | {"validation": {k: v for k, v in last.items() if k in _VALIDATION}}
    with state.ema.applied(last["ema"]):
        sizes = SizeDistribution(run.dataset.size_histogram())
        Model(state.diffusion, run.vocabulary, sizes, card | (extra or {})).save(path)


_VALIDATION = ("valid_loss", "ema", "atom_stable", "molecule_stable", "valid")


def make_card(run: Run, state: State, name: str) -> dict[str, Any]:
    """What a model is made of: recipe, settings, data, budget and hardware."""
    return {
        "name": name,
        "recipe": run.about["recipe"],
        "settings": run.about["settings"],
        "version": coset.__version__,
        "elements": list(run.vocabulary.numbers),
        "sizes": {str(atoms): int(count) for atoms, count in run.dataset.size_histogram().items()},
        "parameters": sum(p.numel() for p in state.diffusion.parameters()),
        "data": {"name": run.dataset.name, "train_molecules": len(run.dataset.train)},
        "molecules_seen": state.counters.molecules,
        "minutes": round(state.counters.seconds / 60, 1),
        "hardware": hardware(run.device),
        "date": time.strftime("%Y-%m-%d"),
    }


def hardware(device: str) -> str:
    """A short name of what did the work."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU thread(s), {platform.machine()}"


def read_settings(folder: Path) -> tuple[str, Training]:
    """Recipe and settings of an earlier run, for --resume."""
    path = folder / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(f"no run to resume at {folder}: {SETTINGS} is missing; check --out")
    about = json.loads(path.read_text())
    return about["recipe"], find_recipe(about["recipe"]).settings(**about["settings"])
