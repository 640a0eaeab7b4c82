"""Runs on molecules opened and measured: from a recipe's name and settings, and by the molecules that it draws."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

import coset
from coset.conditions.layout import Layout
from coset.conditions.table import Table
from coset.data.catalog import Dataset, open_dataset
from coset.energies.table import FILE, PropertyTable
from coset.metrics.evaluate import Report
from coset.model import load
from coset.molecule import Vocabulary
from coset.recipes.settings import Training
from coset.training.archive import Plan, Progress, measure_model, reference_of
from coset.training.folder import CHECKPOINT, LOG, MODEL, alone
from coset.training.log import Listener, Log
from coset.training.molecule_run import MoleculeRun


def prepare(
    recipe: str, settings: Training, folder: Path, device: str, listener: Listener | None = None
) -> MoleculeRun:
    """Opens the data of a run in a folder; nothing is written yet.

    Raises ValueError for data without molecules to train on or to validate with.
    """
    dataset = open_dataset(settings.data)
    for rows, part in ((dataset.train, "training"), (dataset.valid, "validation")):
        if not len(rows):
            raise ValueError(
                f"{dataset.name} has no {part} molecules among its {len(dataset.store):,}, and a run needs some; build "
                "it from more molecules or with other shares"
            )
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


def evaluate_run(run: MoleculeRun, folder: Path, plan: Plan, progress: Progress) -> Report:
    """Measures the model that the run left: samples.npz, metrics.json, and the rates in the model's card."""
    with alone(folder):
        model = load(folder, run.device)
        report, metrics = measure_model(model, plan, folder, reference_of(run.dataset), progress)
        replace(model, card={**model.card, "metrics": metrics}).save(folder / MODEL)
    return report


def fingerprint(dataset: Dataset) -> dict[str, int]:
    """Number of training molecules and a CRC-32 of their ids and sizes: a resumed run must find the same ones."""
    ids, sizes = dataset.store.ids[dataset.train], dataset.store.sizes[dataset.train]
    return {"molecules": len(ids), "crc32": zlib.crc32(sizes.tobytes(), zlib.crc32(ids.tobytes()))}
