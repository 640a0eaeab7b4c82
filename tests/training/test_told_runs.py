"""Training with conditions: tables beside the store, a card that says the ranges, a run that resumes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from coset.conditions.layout import Layout
from coset.data.catalog import Dataset, open_dataset
from coset.data.store import Store
from coset.energies.electronic import PROPERTIES
from coset.energies.table import FILE, PropertyTable
from coset.model import load
from coset.recipes.registry import find_recipe
from coset.training.runs import conditions, prepare
from coset.training.start import carry_out

SETTINGS = {
    "data": "qm9-sample", "width": 8, "depth": 1, "batch": 16, "molecules": 64, "validate_molecules": 16,
    "validate_every": 32, "sample_molecules": 2, "sample_steps": 2, "condition": ["composition", "pattern"],
    "condition_width": 4,
}  # fmt: skip


def with_table(folder, length=None):
    """The packaged sample with a table of invented properties beside it; the first row is not known."""
    sample = open_dataset("qm9-sample")
    shutil.copytree(sample.store.path, folder / "store")
    store = Store.open(folder / "store")
    length = length or len(store)
    values = {name: np.linspace(-1, 3, length) for name in PROPERTIES}
    values["gap_ev"][0] = np.nan
    PropertyTable(values, np.ones(length, np.uint64), {}).save(store.path / FILE)
    return Dataset("mine", store, sample.train, sample.valid, sample.test)


def test_properties_beside_a_store_are_standardised_by_its_training_molecules(tmp_path):
    table = conditions(with_table(tmp_path), Layout(("gap_ev",), 5))
    assert table is not None
    train = open_dataset("qm9-sample").train
    scalars = table(train).double()
    known = scalars[:, 0] == 1
    assert int((~known).sum()) == int((train == 0).sum()) and not scalars[~known].any()
    assert abs(float(scalars[known, 1].mean())) < 1e-5 and float(scalars[known, 1].std()) == pytest.approx(1, abs=1e-3)
    assert table.ranges["gap_ev"].high <= 3 and conditions(with_table, Layout((), 5)) is None  # type: ignore[arg-type]


def test_a_table_of_another_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gfn2.npz is of another store; make it anew with coset data properties mine"):
        conditions(with_table(tmp_path, length=7), Layout(("gap_ev",), 5))


def test_properties_that_are_not_there_are_named_with_what_is():
    with pytest.raises(ValueError, match=r"the data has no property gap_ev to be told of; its columns: .*properties"):
        conditions(open_dataset("qm9-sample"), Layout(("composition", "gap_ev"), 5))


def test_a_run_is_told_and_its_model_can_be_asked(tmp_path):
    run = prepare("edm", find_recipe("edm").resolve(SETTINGS), tmp_path / "run", "cpu")
    clean = run.cloud(run.dataset.train[:3])
    assert clean.condition is not None and clean.condition.scalars is not None
    assert clean.condition.scalars.shape == (3, 6 + 1025) and (clean.condition.scalars[:, 0] == 1).all()
    carry_out(run, tmp_path / "run", resume=False)
    model = load(tmp_path / "run")
    molecules = model.sample(2, steps=2, conditions={"composition": "C2H6O", "pattern": "[OX2H]"}, guidance=2)
    assert all(len(molecule) == 9 for molecule in molecules)
