"""Runs on ensembles, from a recipe's name and settings to a model of conformers in a folder, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import coset
from coset.data.ensembles import open_ensembles
from coset.ensembles.measure import References, measure
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.model_files import CONFORMERS
from coset.recipes.conformer_settings import Ensembled
from coset.recipes.registry import build, find_recipe
from coset.training.ensemble_run import EnsembleRun, Source
from coset.training.events import tensorboard
from coset.training.folder import CHECKPOINT, EVENTS, LOG, MODEL, alone
from coset.training.log import Listener, Log
from coset.training.loop import train
from coset.training.runs import begin, hardware
from coset.training.state import State
from coset.training.warm_start import warm_start

MEASURED = ("valid_loss", "ema")


def prepare_ensembles(
    recipe: str, settings: Ensembled, folder: Path, device: str, listener: Listener | None = None
) -> EnsembleRun:
    """Opens the ensembles of a run in a folder and makes their graphs; nothing is written yet."""
    source = Source.of(settings.data, open_ensembles(settings.data), settings.most_automorphisms)
    if not len(source.ensembles.rows(0)) or not len(source.ensembles.rows(1)):
        raise ValueError(f"{settings.data} needs molecules to train on and to validate with; its split lacks one")
    about = {
        "recipe": recipe,
        "settings": settings.model_dump(mode="json"),
        "version": coset.__version__,
        "data": source.fingerprint(),
    }
    return EnsembleRun(
        settings=settings, checkpoint=folder / CHECKPOINT, about=about, log=Log(folder / LOG, listener), device=device,
        source=source,
    )  # fmt: skip


def run_ensembles(run: EnsembleRun, folder: Path, resume: bool, events: bool = False) -> State:
    """Trains, or goes on training, and leaves the model in the folder; see `runs.run_recipe`."""
    s, diffusion = run.settings, build(run.about["recipe"], run.settings, 0).to(run.device)
    if s.init and not run.checkpoint.exists():
        warm_start(diffusion, load_conformer_model(s.init, run.device).diffusion, s.init)
    with alone(folder):
        if run.checkpoint.exists() and not resume:
            raise FileExistsError(f"{folder} holds a run already; go on with --resume, or choose another --out")
        state = State.start(diffusion, s)
        begin(run, state, folder)
        name = folder.resolve().name
        run = replace(run, validated=lambda state: _export_if_best(run, state, folder / MODEL, name))
        with tensorboard(run.log, folder / EVENTS) if events else nullcontext():
            train(run, state)
        if s.keep == "last":
            export_conformers(run, state, folder / MODEL, name)
    return state


def evaluate_ensembles(
    run: EnsembleRun, folder: Path, molecules: int, steps: int, progress: Callable[[float], None] = lambda done: None
) -> dict[str, Any]:
    """Measures the model that `run_ensembles` left on so many test molecules; what it found joins the model's card."""
    with alone(folder):
        model = load_conformer_model(folder, run.device).having(steps=steps)
        references = References.of(run.source.name, molecules)
        found = measure(model, references, run.settings.seed, progress)
        metrics = {"molecules": len(references.ensembles), "steps": steps, "seed": run.settings.seed, **found}
        ConformerModel(model.diffusion, {**model.card, "metrics": metrics}).save(folder / MODEL)
    return metrics


def _export_if_best(run: EnsembleRun, state: State, path: Path, name: str) -> None:
    *before, last = [record for record in run.log.records if record["kind"] == "valid"]
    if run.settings.keep == "best" and all(last["valid_loss"] < earlier["valid_loss"] for earlier in before):
        export_conformers(run, state, path, name)


def export_conformers(
    run: EnsembleRun, state: State, path: Path, name: str, extra: dict[str, Any] | None = None
) -> None:
    """The model with the average of lowest validation loss, in fp16, and its card."""
    last = run.log.last["valid"]
    measured = {key: value for key, value in last.items() if key in MEASURED or key.startswith(("cov", "amr"))}
    card = make_card(run, state, name) | {"validation": measured}
    with state.ema.applied(last["ema"]):
        ConformerModel(state.diffusion, card | (extra or {})).save(path)


def make_card(run: EnsembleRun, state: State, name: str) -> dict[str, Any]:
    """What a model is made of: recipe, settings, data, budget and hardware."""
    source = run.source
    train = source.ensembles.rows(0)
    elements = np.unique(np.concatenate([source.graphs[row].numbers for row in train]))
    drawing = dict(find_recipe(run.about["recipe"]).sampling)
    return ({"drawing": drawing} if drawing else {}) | {
        "name": name,
        "draws": CONFORMERS,
        "recipe": run.about["recipe"],
        "settings": run.about["settings"],
        "version": coset.__version__,
        "elements": elements.tolist(),
        "largest": int(source.ensembles.sizes[train].max()),
        "parameters": sum(p.numel() for p in state.diffusion.parameters()),
        "data": {
            "name": source.name,
            "train_molecules": len(train),
            "train_conformers": int(source.ensembles.counts[train].sum()),
        },
        "molecules_seen": state.counters.molecules,
        "minutes": round(state.counters.seconds / 60, 1),
        "flops": state.counters.flops,
        "hardware": hardware(run.device),
        "date": time.strftime("%Y-%m-%d"),
    }
