"""Runs: from a recipe's name and settings to a trained model in a folder, resumable."""

from __future__ import annotations

import platform
import time
import zlib
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coset
from coset.conditions.layout import Layout
from coset.conditions.table import Table
from coset.data.catalog import Dataset, open_dataset
from coset.energies.table import FILE, PropertyTable
from coset.metrics.evaluate import Report
from coset.model import Model, load
from coset.molecule import Vocabulary
from coset.recipes.latent import stage_one
from coset.recipes.latent_settings import Latent
from coset.recipes.registry import build, find_recipe
from coset.recipes.settings import Training
from coset.samplers.sizes import SizeDistribution
from coset.training.archive import Plan, Progress, measure_model, reference_of
from coset.training.checkpoint import write_json
from coset.training.events import tensorboard
from coset.training.folder import CHECKPOINT, EVENTS, LOG, MODEL, SETTINGS, alone, check_same
from coset.training.log import Listener, Log
from coset.training.loop import Run, train
from coset.training.molecule_run import MoleculeRun
from coset.training.stages import FOLDER, calibrate, needs_codec, take_codec, with_latents
from coset.training.state import State
from coset.training.warm_start import warm_start


def prepare(
    recipe: str, settings: Training, folder: Path, device: str, listener: Listener | None = None
) -> MoleculeRun:
    """Opens the data of a run in a folder; nothing is written yet."""
    dataset = open_dataset(settings.data)
    vocabulary = Vocabulary(dataset.vocabulary)
    about = {
        "recipe": recipe,
        "settings": settings.model_dump(mode="json"),
        "version": coset.__version__,
        "data": fingerprint(dataset),
    }
    log, table = Log(folder / LOG, listener), conditions(dataset, Layout(settings.condition, len(vocabulary)))
    return MoleculeRun(
        settings=settings, checkpoint=folder / CHECKPOINT, about=about, log=log, device=device, dataset=dataset,
        vocabulary=vocabulary, conditions=table,
    )  # fmt: skip


def conditions(dataset: Dataset, layout: Layout) -> Table | None:
    """What a model may be told of the data's molecules: by the store's columns, and by its table of properties."""
    if not layout.names:
        return None
    path, more = dataset.store.path / FILE, {}
    if set(layout.properties) - set(dataset.store.extra) and path.is_file():
        more = PropertyTable.load(path).values
        if len(next(iter(more.values()))) != len(dataset.store):
            raise ValueError(f"{path} is of another store; make it anew with coset data properties {dataset.name}")
    rows = np.concatenate([dataset.train, dataset.valid, dataset.test])
    return Table.of(dataset.store, layout, Vocabulary(dataset.vocabulary), dataset.train, more, rows)


def run_recipe(run: MoleculeRun, folder: Path, resume: bool, events: bool = False) -> State:
    """Trains, or goes on training, and leaves the model with the best average in the folder.

    resume: goes on from the checkpoint with the same settings, or from the start if the run was killed before its first
    one; without it a folder that holds a checkpoint raises FileExistsError. events: TensorBoard's files too.
    """
    # Built before the folder is touched: settings that do not go together leave nothing behind.
    s, diffusion = run.settings, build(run.about["recipe"], run.settings, len(run.vocabulary)).to(run.device)
    if s.init and not run.checkpoint.exists():
        warm_start(diffusion, load(s.init, run.device).diffusion, s.init)
    given = load(s.codec, run.device) if isinstance(s, Latent) and s.codec and not run.checkpoint.exists() else None
    with alone(folder):
        if run.checkpoint.exists() and not resume:
            raise FileExistsError(f"{folder} holds a run already; go on with --resume, or choose another --out")
        if needs_codec(s) and not run.checkpoint.exists():
            take_codec(diffusion, run, given or _stage_one(run, folder / FOLDER))
        state = State.start(diffusion, s)
        begin(run, state, folder)
        if needs_codec(s):
            run = with_latents(run, diffusion, folder)
        name = folder.resolve().name
        if s.keep == "best":
            run = replace(run, validated=lambda state: export_best(run, state, folder / MODEL, name))
        with tensorboard(run.log, folder / EVENTS) if events else nullcontext():
            train(run, state)
        if s.keep == "last":
            export(run, state, folder / MODEL, name)
    return state


def _stage_one(run: MoleculeRun, folder: Path) -> Model:
    """The autoencoder of a latent run, trained as far as it was not."""
    assert isinstance(run.settings, Latent)
    first = prepare(
        "autoencoder", stage_one(run.settings), folder, run.device, run.log.listeners[0] if run.log.listeners else None
    )
    run_recipe(first, folder, resume=True)
    return load(folder, run.device)


def evaluate_run(run: MoleculeRun, folder: Path, plan: Plan, progress: Progress) -> Report:
    """Measures the model that `run_recipe` left: samples.npz, metrics.json, and the rates in the model's card."""
    with alone(folder):
        model = load(folder, run.device)
        report, metrics = measure_model(model, plan, folder, reference_of(run.dataset), progress)
        replace(model, card={**model.card, "metrics": metrics}).save(folder / MODEL)
    return report


def begin(run: Run, state: State, folder: Path, but: tuple[str, ...] = ()) -> None:
    """Goes on from the folder's checkpoint if there is one; settings and log there then tell of this run alone.

    but: settings that may differ from the checkpoint's; a ValueError names others that do.
    """
    if run.checkpoint.exists():
        check_same(run.checkpoint, run.about, but)
        state.load(run.checkpoint)
    write_json(folder / SETTINGS, run.about)
    run.log.rewind(state.counters.step)


def export_best(run: MoleculeRun, state: State, path: Path, name: str) -> None:
    """Exports the model if its last validation is the best so far, by its loss and by the error of positions if known.

    RADM keeps its autoencoder so.
    """
    *before, last = [record for record in run.log.records if record["kind"] == "valid"]
    known = [key for key in ("valid_loss", "valid_position") if key in last]
    if all(last[key] < earlier[key] for earlier in before for key in known):
        export(run, state, path, name)


def export(run: MoleculeRun, state: State, path: Path, name: str, extra: dict[str, Any] | None = None) -> None:
    """The model with the average of lowest validation loss, in fp16, and its card."""
    last = run.log.last["valid"]
    card = make_card(run, state, name) | {"validation": {k: v for k, v in last.items() if k in _VALIDATION}}
    with state.ema.applied(last["ema"]):
        calibrate(run, state.diffusion)
        sizes = SizeDistribution(run.dataset.size_histogram())
        Model(state.diffusion, run.vocabulary, sizes, card | (extra or {})).save(path)


_VALIDATION = (
    "valid_loss", "valid_position", "valid_type", "valid_charge", "ema", "atom_stable", "molecule_stable", "valid",
)  # fmt: skip


def make_card(run: MoleculeRun, state: State, name: str) -> dict[str, Any]:
    """What a model is made of: recipe, settings, data, budget and hardware."""
    sampling = dict(find_recipe(run.about["recipe"]).sampling)
    ranges = {name: asdict(found) for name, found in (run.conditions.ranges if run.conditions else {}).items()}
    return (
        ({"sampling": sampling} if sampling else {})
        | ({"properties": ranges} if ranges else {})
        | {
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
            "flops": state.counters.flops,
            "hardware": hardware(run.device),
            "date": time.strftime("%Y-%m-%d"),
        }
    )


def fingerprint(dataset: Dataset) -> dict[str, int]:
    """Number of training molecules and a CRC-32 of their ids and sizes: a resumed run must find the same ones."""
    ids, sizes = dataset.store.ids[dataset.train], dataset.store.sizes[dataset.train]
    return {"molecules": len(ids), "crc32": zlib.crc32(sizes.tobytes(), zlib.crc32(ids.tobytes()))}


def hardware(device: str) -> str:
    """A short name of what did the work."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU thread(s), {platform.machine()}"
