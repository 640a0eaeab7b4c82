"""Runs on ensembles opened and measured: from a recipe's name and settings, and by conformers of its test molecules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

import coset
from coset.data.ensembles import open_ensembles
from coset.ensembles.measure import References, measure
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.recipes.conformer_settings import Ensembled, Reflowed
from coset.training.checkpoint import load_state
from coset.training.distributed import ranks
from coset.training.ensemble_run import EnsembleRun
from coset.training.ensemble_source import Source
from coset.training.folder import CHECKPOINT, LOG, MODEL, alone
from coset.training.log import Listener, Log
from coset.training.loop import Run
from coset.training.pairs import FOLDER, Pairing


def prepare_ensembles(
    recipe: str, settings: Ensembled, folder: Path, device: str, listener: Listener | None = None
) -> EnsembleRun:
    """Opens the ensembles of a run in a folder and makes their graphs; nothing is written yet."""
    found = open_ensembles(settings.data)
    source = Source.of(settings.data, found, settings.most_automorphisms, settings.seen_stereo)
    if not len(source.ensembles.rows(0)) or not len(source.ensembles.rows(1)):
        raise ValueError(f"{settings.data} needs molecules to train on and to validate with; its split lacks one")
    about = {
        "recipe": recipe,
        "settings": settings.model_dump(mode="json"),
        "version": coset.__version__,
        "data": source.fingerprint(),
    }
    teacher = None
    if isinstance(settings, Reflowed):
        teacher = teacher_of(settings, source, device)
        about["teacher"] = teacher.key
    return EnsembleRun(
        settings=settings, checkpoint=folder / CHECKPOINT, about=about, log=Log(folder / LOG, listener), device=device,
        source=source, teacher=teacher,
    )  # fmt: skip


def teacher_of(s: Reflowed, source: Source, device: str) -> ConformerModel:
    """The trained model that a student's settings name, drawing as they say.

    Raises ValueError for one of another kind or size, or that does not know the elements of the training molecules, and
    what loading a model raises.
    """
    teacher = load_conformer_model(s.teacher, device)
    recipe, theirs = teacher.card["recipe"], teacher.card["settings"]
    if recipe not in s.kin:
        raise ValueError(
            f"teacher={s.teacher}: {teacher.name} is of recipe {recipe}, whose network is of another kind than the "
            f"student's; give a model of {', '.join(s.kin)}"
        )
    for name in s.network:
        if theirs.get(name) != (own := getattr(s, name)):
            raise ValueError(
                f"the teacher {teacher.name} has {name}={theirs.get(name)}, and this run asks for {name}={own}"
                f"; set {name} to the former, or give another teacher"
            )
    trained_on = set(np.concatenate([source.graphs[row].numbers for row in source.ensembles.rows(0)]).tolist())
    strange = trained_on - set(teacher.card["elements"])
    if strange:
        symbols = ", ".join(sorted(map(Chem.GetPeriodicTable().GetElementSymbol, strange)))
        raise ValueError(
            f"the teacher {teacher.name} has never seen {symbols}, which {s.data} has; give data of its elements, or "
            "another teacher"
        )
    return teacher.having(steps=s.teacher_steps, eta=0.0)


def with_pairs(run: Run, folder: Path) -> Run:
    """The run with the pairs that its teacher draws, from the folder or made now; any other run as it is.

    Raises ValueError where the run went on from pairs of another teacher, and where no pair is fit to train on.
    """
    if not isinstance(run, EnsembleRun) or run.teacher is None:
        return run
    s, ensembles = run.settings, run.source.ensembles
    assert isinstance(s, Reflowed)
    if run.checkpoint.exists() and load_state(run.checkpoint)["about"].get("teacher") != run.about["teacher"]:
        raise ValueError(
            f"{run.checkpoint} was trained on pairs of another teacher than teacher={s.teacher} is now; put that one "
            "back, or start a new run in another folder"
        )
    train, valid = ensembles.rows(0), ensembles.rows(1)[: s.validate_molecules]
    # Validation looks at the same pair of a molecule every time.
    counts = np.concatenate([np.full(len(train), s.teacher_conformers), np.ones(len(valid), np.int64)])
    pairing = Pairing(
        run.teacher, run.source, np.concatenate([train, valid]), counts, s.seed, s.only_right, run.about["data"]
    )
    found = replace(run, pairs=ranks().in_turn(lambda: pairing.made(folder / FOLDER)))
    if not len(found.rows.train) or not len(found.rows.valid):
        raise ValueError(
            f"the teacher {run.teacher.name} draws nothing whole and of the right stereo of these molecules; give a "
            "better one or more teacher_steps, or set only_right=false"
        )
    return found


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
