"""The study of drug-sized molecules: rows fit their recipes, resume, and stand beside the data by both protocols."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.recipes.registry import build, find_recipe
from coset.reproduce.drugs import DATA, ROWS, Study, run, settings_of
from ensemble_files import small_ensembles_file

pytest.importorskip("posebusters")
TINY = Study(molecules=16, draws=2, checked=1, steps=2)


@pytest.mark.parametrize("name", [name for name in ROWS if name != DATA])
def test_every_row_can_be_built_for_the_sixteen_elements(name):
    settings = find_recipe(ROWS[name].recipe).resolve(settings_of(name, TINY, 0))
    assert (settings.data, settings.molecules, settings.batch) == ("drug-like", 16, 16)
    with torch.device("meta"):
        assert build(ROWS[name].recipe, settings, 16)


def test_rows_are_kept_and_stand_beside_the_data(tmp_path):
    study = replace(TINY, data=str(small_ensembles_file(tmp_path / "small.npz")))
    begun: list[str] = []
    record = run(study, tmp_path / "out", [DATA, "dit-aug"], begin=begun.append)
    run(study, tmp_path / "out", [DATA, "dit-aug"], begin=begun.append)
    assert begun == ["data seed 0", "dit-aug seed 0"] == list(record.rows)
    data, row = record.rows.values()
    assert "parameters" not in data and row["parameters"] > 1e5
    assert data["rates"]["validity"][0] == data["corrected"]["atom_stability"][0] == 1
    assert data["plausible"] == 1 and data["strain"]["relaxed"] == 1 and row["plausible"] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| 86.5, 99.9 |" in text and "| 1/13,845,032 |" in text  # 40 epochs over 16 molecules
