"""The study of conformers: rows resume, are measured at each number of steps, and settings fit their recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coset.recipes.registry import find_recipe
from coset.reproduce.conformer_study import ROWS, Study, run
from ensemble_files import small_ensembles_file

TINY = Study(molecules=32, targets=2)


def test_every_row_s_settings_fit():
    for row in ROWS.values():
        if row.recipe:
            assert find_recipe(row.recipe).resolve({"size": "xs", **row.settings})


def test_rows_are_trained_once_and_measured_at_each_number_of_steps(tmp_path):
    study = Study(str(small_ensembles_file(tmp_path / "small.npz")), TINY.molecules, TINY.targets)
    begun: list[str] = []
    chosen = ["dit-ts", "rdkit", "ceiling"]
    record = run(study, tmp_path / "out", chosen, [1, 2], begin=begun.append)
    first = (tmp_path / "out" / "rows.json").read_text()
    run(study, tmp_path / "out", chosen, [1, 2], begin=begun.append)
    assert begun == ["dit-ts seed 0"] and (tmp_path / "out" / "rows.json").read_text() == first
    assert list(record.rows) == ["dit-ts, 1 steps, seed 0", "dit-ts, 2 steps, seed 0", "rdkit", "ceiling"]
    assert record.rows["rdkit"]["coverage"]["cov_recall_mean_0.5"] > 0
    assert record.rows["dit-ts, 1 steps, seed 0"]["asked"] == record.rows["rdkit"]["asked"] == 8
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.count("plain transformer, random poses, target in closed form") == 2
    with pytest.raises(ValueError, match="unknown row dits"):
        run(study, tmp_path / "out", ["dits"])


def test_a_student_s_row_has_its_teacher_trained_first(tmp_path, monkeypatch):
    few = {"teacher_conformers": 1, "teacher_steps": 2, "only_right": False}
    monkeypatch.setitem(ROWS, "dit-reflow", replace(ROWS["dit-reflow"], settings=few))
    study = Study(str(small_ensembles_file(tmp_path / "small.npz")), 16, 1)
    record = run(study, tmp_path / "out", ["dit-reflow"], [1])
    found = record.rows["dit-reflow, 1 steps, seed 0"]
    assert list(record.rows) == ["dit-reflow, 1 steps, seed 0"] and found["pairs"] + found["left_out"]["broken"] <= 6
    assert (tmp_path / "out" / "runs" / "dit-ts-0" / "model.safetensors").exists() and found["molecules_seen"] == 16
