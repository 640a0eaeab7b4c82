"""The symmetry study: its measures on known cases, and rows that are kept, resumed and reported."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.reproduce import symmetry_study
from coset.reproduce.record import Record, markdown_table
from coset.reproduce.symmetry_study import Study, equivariance_error, pose_bias, run
from coset.symmetry.rotations import haar
from example_clouds import awake, small_molecules

TINY = Study(data="qm9-sample", molecules=256, draws=4, steps=2)


@pytest.fixture
def tiny(monkeypatch):
    """Networks of a few hundred parameters."""
    monkeypatch.setitem(symmetry_study.SIZES, "edm", {"width": 8, "depth": 1})
    monkeypatch.setitem(symmetry_study.SIZES, "transformer", {"width": 8, "depth": 1, "heads": 2, "kernels": 4})
    monkeypatch.setitem(
        symmetry_study.SIZES, "symdiff", {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 4}
    )


def test_samples_that_prefer_a_direction_are_told_from_those_that_do_not():
    flat = np.random.default_rng(0).normal(size=(1000, 9, 3)) * [3.0, 1.0, 0.3]
    turned = [x @ r.T for x, r in zip(flat, haar(Noise(torch.arange(1000))).numpy(), strict=True)]
    assert pose_bias(list(flat)) > 0.5 and pose_bias(turned) < 0.05
    assert pose_bias([x + 7.0 for x in turned]) == pytest.approx(pose_bias(turned))  # wherever they lie


def test_the_equivariance_error_is_none_for_equivariant_networks_alone():
    found = {}
    for name in ("edm", "dit", "dit_frames"):
        sizes = {"width": 16, "depth": 1} | ({} if name == "edm" else {"heads": 2, "kernels": 4})
        diffusion = build(name, find_recipe(name).resolve(sizes), 5)
        awake(diffusion.denoiser)
        found[name] = equivariance_error(diffusion, small_molecules())
    assert found["edm"] < 1e-3 and found["dit_frames"] < 1e-2 and found["dit"] > 0.05


def test_rows_are_trained_measured_kept_and_reported(tmp_path, tiny):
    """A row that is there is not trained again; another seed joins it; the report holds what the rows do."""
    record = run(TINY, tmp_path, rows=["none", "symdiff+exact-target"])
    assert list(record.rows) == ["none seed 0", "symdiff+exact-target seed 0"]
    row = record.rows["none seed 0"]
    assert (
        row["curve"][-1][0] >= 256
        and row["flops"] > 1e6
        and np.isfinite([row["nll"], row["loss_data_poses"], row["pose_bias"]]).all()
    )
    saved = json.loads((tmp_path / "rows.json").read_text())
    assert saved["rows"] == json.loads(json.dumps(record.rows)) and saved["settings"]["molecules"] == 256
    assert saved["rows"]["none seed 0"]["made_by"]["commit"]

    trained: list[str] = []

    def made(study, row, seed, *rest):
        trained.append(f"{row} {seed}")
        return dict(saved["rows"]["none seed 0"])

    watched = replace(symmetry_study.TABLE, make=made)
    watched.run(TINY, tmp_path, rows=["none"])
    assert not trained
    more = Study(**{**vars(TINY), "seeds": (0, 1)})
    watched.run(more, tmp_path, rows=["none"])
    assert trained == ["none 1"]
    text = (tmp_path / "report.md").read_text()
    assert "budget: 256 molecules seen a row" in text and "seeds: 0, 1" in text and "qm9-sample: 1," in text
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:] == [
        "| none",
        "| symdiff+exact-target",
    ]


def test_other_settings_and_unknown_rows_are_refused(tmp_path):
    Record.open("symmetry-study", tmp_path, {"a": 1}).add("none seed 0", {"x": 1})
    with pytest.raises(ValueError, match="rows of other settings; remove it or choose another --out"):
        run(TINY, tmp_path, rows=["none"])
    with pytest.raises(ValueError, match="unknown row nothing; choose among none, augmentation"):
        run(TINY, tmp_path / "new", rows=["nothing"])
    (tmp_path / "rows.json").write_text("no JSON")
    with pytest.raises(ValueError, match="is not a record of rows"):
        Record.open("symmetry-study", tmp_path, {})


def test_rows_of_two_processes_are_joined(tmp_path):
    first, second = (Record.open("study", tmp_path, {}) for _ in range(2))
    first.add("one", {"value": 1})
    second.add("two", {"value": 2})
    assert set(json.loads((tmp_path / "rows.json").read_text())["rows"]) == {"one", "two"}


def test_tables_are_markdown():
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
