"""Which kind of run a recipe's settings ask for: on molecules, or on ensembles of conformers."""

from __future__ import annotations

from pathlib import Path

from coset.recipes.conformer_settings import Ensembled
from coset.recipes.settings import Training
from coset.training.ensemble_run import EnsembleRun
from coset.training.ensemble_runs import prepare_ensembles, run_ensembles
from coset.training.log import Listener
from coset.training.loop import Run
from coset.training.molecule_run import MoleculeRun
from coset.training.runs import prepare, run_recipe
from coset.training.state import State


def open_run(recipe: str, settings: Training, folder: Path, device: str, listener: Listener | None = None) -> Run:
    """A run in a folder with its data opened; nothing is written yet."""
    opened = prepare_ensembles if isinstance(settings, Ensembled) else prepare
    return opened(recipe, settings, folder, device, listener)  # type: ignore[arg-type]


def carry_out(run: Run, folder: Path, resume: bool, events: bool = False) -> State:
    """Trains, or goes on training, and leaves the model in the folder; see `runs.run_recipe`."""
    if isinstance(run, EnsembleRun):
        return run_ensembles(run, folder, resume, events)
    assert isinstance(run, MoleculeRun)
    return run_recipe(run, folder, resume, events)
