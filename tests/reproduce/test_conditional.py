"""The study of steering: targets are asked for one kind at a time, kept rates are the molecules' own, rows resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coset.data.catalog import Dataset, open_dataset
from coset.molecule import QM9, Molecule
from coset.reproduce import conditional
from coset.reproduce.conditional import KINDS, PARTS, Study, Targets, _kept, run

STUDY = Study("edm", "qm9-sample", molecules=32, targets=16, steps=2)


@pytest.fixture
def targets(monkeypatch):
    """Of the packaged sample, whose held-out molecules stand for the test split and have an invented gap."""
    sample = open_dataset("qm9-sample")
    held = Dataset("qm9-sample", sample.store, sample.train, sample.valid, sample.valid)
    gaps = {"gap_ev": np.linspace(2, 12, len(sample.store))}
    gaps["gap_ev"][sample.valid[::2]] = np.nan

    def with_gaps(dataset, layout):
        from coset.conditions.table import Table

        rows = np.concatenate([dataset.train, dataset.valid])
        return Table.of(dataset.store, layout, QM9, dataset.train, gaps, rows)

    monkeypatch.setattr(conditional, "open_dataset", lambda name: held)
    monkeypatch.setattr(conditional, "conditions", with_gaps)
    monkeypatch.setattr("coset.training.runs.conditions", with_gaps)
    return Targets.of(held, STUDY)


def test_gaps_that_are_not_known_are_not_made_up(targets):
    known = np.isfinite(targets.gaps)
    assert 0 < known.sum() < len(known)
    flags = targets.scalars[:, targets.layout.slices["gap_ev"].start].numpy()
    assert np.array_equal(flags == 1, known)
    assert (targets.gaps[known] >= 2).all() and (targets.gaps[known] <= 12.001).all()


def molecules(targets):
    """The targets themselves."""
    return [Molecule(n[n > 0], x[n > 0].astype(float)) for n, x in zip(targets.numbers, targets.positions, strict=True)]


def test_one_kind_is_asked_at_a_time_at_the_sizes_of_the_targets(targets):
    for kind in KINDS:
        asked = targets.asked(kind)
        for name, place in targets.layout.slices.items():
            assert bool(asked.scalars[:, place].any()) == (name == kind)
        assert asked.sizes is not None and asked.sizes.tolist() == (targets.numbers > 0).sum(1).tolist()
    parts = targets.asked("pattern").scalars
    assert torch.equal(parts[0], parts[len(PARTS)]) and not torch.equal(parts[0], parts[1])


def test_the_targets_keep_to_themselves(targets):
    own = molecules(targets)
    assert _kept("composition", own, targets, 1) == {"match": 1.0}
    morgan = _kept("morgan", own, targets, 1)
    assert morgan["tanimoto"] == morgan["same"] > 0.9
    shuffled = own[1:] + own[:1]
    assert _kept("composition", shuffled, targets, 1)["match"] < 0.5
    assert _kept("morgan", shuffled, targets, 1)["tanimoto"] < 0.6
    assert 0 < _kept("pattern", own, targets, 1)["match"] < 1


def test_rows_are_drawn_once_and_resume(tmp_path, targets):
    begun: list[str] = []
    run(STUDY, tmp_path, ["composition", "pattern"], [0.0, 2.0], begin=begun.append)
    first = (tmp_path / "rows.json").read_text()
    record = run(STUDY, tmp_path, ["composition", "pattern"], [0.0, 2.0], begin=begun.append)
    assert (tmp_path / "rows.json").read_text() == first and begun == ["model"]
    assert [(row["kind"], row["guidance"]) for row in record.rows.values()] == [
        ("composition", 0.0), ("composition", 2.0), ("pattern", 0.0), ("pattern", 2.0),
    ]  # fmt: skip
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| composition")]
    assert len(lines) == 2 and "% match" in lines[0]


def test_unknown_kinds_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="unknown kind colour; choose among composition, morgan, pattern, gap_ev"):
        run(STUDY, tmp_path, ["colour"])
    assert not list(tmp_path.iterdir())
