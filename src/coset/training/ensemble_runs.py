"""Runs on ensembles opened and measured: from a recipe's name and settings, and by conformers of its test molecules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coset
from coset.data.ensembles import open_ensembles
from coset.ensembles.measure import References, measure
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.recipes.conformer_settings import Ensembled
from coset.training.ensemble_run import EnsembleRun, Source
from coset.training.folder import CHECKPOINT, LOG, MODEL, alone
from coset.training.log import Listener, Log


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


def evaluate_ensembles(
    run: EnsembleRun,
    folder: Path,
    molecules: int,
    steps: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Measures the model that the run left on so many test molecules; what it found joins the model's card.

    steps: the model's own without.
    """
    with alone(folder):
        model = load_conformer_model(folder, run.device)
        model = model if steps is None else model.having(steps=steps)
        references = References.of(run.source.name, molecules)
        found = measure(model, references, run.settings.seed, progress)
        about = {"molecules": len(references.ensembles), "steps": model.drawing.steps, "seed": run.settings.seed}
        ConformerModel(model.diffusion, {**model.card, "metrics": about | found}).save(folder / MODEL)
    return about | found
