"""Runs from beginning to end, of molecules or of ensembles of conformers: opened, trained, resumed and measured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from coset.diffusion import Diffusion
from coset.metrics.evaluate import Report
from coset.model import Model, load
from coset.recipes.conformer_settings import Ensembled
from coset.recipes.latent import stage_one
from coset.recipes.latent_settings import Latent
from coset.recipes.settings import Training
from coset.training.archive import Plan
from coset.training.checkpoint import write_json
from coset.training.distributed import ranks
from coset.training.ensemble_run import EnsembleRun
from coset.training.ensemble_runs import evaluate_ensembles, prepare_ensembles, with_pairs
from coset.training.events import tensorboard
from coset.training.folder import EVENTS, MODEL, SETTINGS, alone, check_same
from coset.training.log import Listener
from coset.training.loop import Run, train
from coset.training.molecule_run import MoleculeRun
from coset.training.runs import evaluate_run, prepare
from coset.training.stages import FOLDER, needs_codec, take_codec, with_latents
from coset.training.state import State
from coset.training.warm_start import warm_start


def open_run(recipe: str, settings: Training, folder: Path, device: str, listener: Listener | None = None) -> Run:
    """A run in a folder with its data opened; nothing is written yet."""
    opened = prepare_ensembles if isinstance(settings, Ensembled) else prepare
    return opened(recipe, settings, folder, device, listener)  # type: ignore[arg-type]


def carry_out(run: Run, folder: Path, resume: bool, events: bool = False) -> State:
    """Trains, or goes on training, and leaves the model in the folder.

    resume: goes on from the checkpoint with the same settings, or from the start if the run was killed before its first
    one; without it a folder that holds a checkpoint raises FileExistsError. events: TensorBoard's files too.
    """
    # Built before the folder is touched: settings that do not go together leave nothing behind.
    s, diffusion = run.settings, _built(run)
    with alone(folder):
        if run.checkpoint.exists() and not resume:
            raise FileExistsError(f"{folder} holds a run already; go on with --resume, or choose another --out")
        if needs_codec(s):
            assert isinstance(run, MoleculeRun)
            if not s.codec and not run.checkpoint.exists():
                take_codec(diffusion, run, _stage_one(run, s, folder / FOLDER))
        state = State.start(diffusion, s)
        begin(run, state, folder)
        if isinstance(run, MoleculeRun) and needs_codec(s):
            run = with_latents(run, diffusion, folder)
        run = with_pairs(run, folder)
        name = folder.resolve().name
        if s.keep == "best":
            run = replace(run, validated=lambda state: _export_if_best(run, state, folder / MODEL, name))
        with tensorboard(run.log, folder / EVENTS) if events else nullcontext():
            train(run, state)
        if s.keep == "last":
            ranks().first(lambda: run.export(state, folder / MODEL, name))
    return state


def _built(run: Run) -> Diffusion:
    """The run's model as it begins, with the weights and the codec of trained models where its settings name some."""
    s, diffusion = run.settings, run.build()
    if run.checkpoint.exists():
        return diffusion
    if s.init:
        warm_start(diffusion, run.trained(s.init), s.init)
    if needs_codec(s) and s.codec:
        assert isinstance(run, MoleculeRun)
        take_codec(diffusion, run, load(s.codec, run.device))
    return diffusion


def _stage_one(run: MoleculeRun, settings: Latent, folder: Path) -> Model:
    """The autoencoder of a latent run, trained as far as it was not."""
    listener = run.log.listeners[0] if run.log.listeners else None
    first = prepare("autoencoder", stage_one(settings), folder, run.device, listener)
    carry_out(first, folder, resume=True)
    return load(folder, run.device)


def begin(run: Run, state: State, folder: Path, but: tuple[str, ...] = ()) -> None:
    """Goes on from the folder's checkpoint if there is one; settings and log there then tell of this run alone.

    but: settings that may differ from the checkpoint's; a ValueError names others that do.
    """
    if run.checkpoint.exists():
        check_same(run.checkpoint, run.about, but)
        state.load(run.checkpoint)
    ranks().first(lambda: (write_json(folder / SETTINGS, run.about), run.log.rewind(state.counters.step)))


def _export_if_best(run: Run, state: State, path: Path, name: str) -> None:
    """Exports the model if its last validation is the best so far, by its loss and by the error of positions if known.

    RADM keeps its autoencoder so.
    """
    *before, last = [record for record in run.log.records if record["kind"] == "valid"]
    known = [key for key in ("valid_loss", "valid_position") if key in last]
    if all(last[key] < earlier[key] for earlier in before for key in known):
        run.export(state, path, name)


def evaluate(
    run: Run,
    folder: Path,
    molecules: int,
    steps: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Report | dict[str, Any]:
    """Measures the model that a run left in the folder; what it found joins the model's card.

    Molecules are drawn and reported on, or conformers of test molecules are drawn and compared with the reference
    (`ensembles.measure`). steps: 100 or the model's own without.
    """
    if isinstance(run, EnsembleRun):
        return evaluate_ensembles(run, folder, molecules, steps, progress)
    assert isinstance(run, MoleculeRun)
    plan = Plan(molecules) if steps is None else Plan(molecules, steps)
    return evaluate_run(run, folder, plan, progress)
