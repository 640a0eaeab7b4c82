"""Quality against steps of learned noising: rows share network and weights, resume, and a sampler may diverge."""

from __future__ import annotations

import json

import pytest

from coset.model import Model
from coset.processes.neural import Neural
from coset.processes.steps import EulerMaruyama, Renewal
from coset.recipes.registry import find_recipe
from coset.reproduce import step_efficiency
from coset.reproduce.quality_steps import parse_sampler
from coset.reproduce.step_efficiency import EQGAT, ROWS, TRAINING, Study, run
from coset.samplers.generate import Sampling

TINY = Study("qm9-sample", molecules=32, draws=4)


def test_rows_of_one_network_have_one_width_and_weights_are_shared_by_recipe_and_settings():
    for name, row in ROWS.items():
        assert Sampling(**parse_sampler(row.sampler))
        assert find_recipe(row.recipe).resolve(TRAINING | dict(row.settings))
        if row.trained:
            assert (ROWS[row.trained].recipe, ROWS[row.trained].settings) == (row.recipe, row.settings)
        if name not in ("edm", "symdiff"):
            assert EQGAT.items() <= dict(row.settings).items()


@pytest.fixture
def drawn(monkeypatch):
    """The processes that molecules were drawn with; Euler and Maruyama's step diverges in five steps."""
    seen = []
    draw = Model.draw

    def remembered(self, n, seed=0, *, steps, **options):
        step = getattr(self.diffusion.process, "step", None)
        seen.append((type(step), steps, options))
        if isinstance(step, EulerMaruyama) and steps == 5:
            raise FloatingPointError("molecules 0, 1 came out with undefined positions")
        return draw(self, n, seed, steps=2, **options)

    monkeypatch.setattr(Model, "draw", remembered)
    monkeypatch.setattr(
        step_efficiency, "TRAINING", TRAINING | {"batch": 16, "precision": "fp32", "validate_molecules": 8}
    )
    for name, value in {"width": 8, "vector_width": 8, "edge_width": 8, "depth": 1}.items():
        monkeypatch.setitem(EQGAT, name, value)  # of all rows
    return seen


def test_rows_are_trained_once_measured_at_each_number_of_steps_and_kept(tmp_path, drawn):
    begun: list[str] = []
    chosen = ["full", "full-euler", "full-heun"]
    run(TINY, tmp_path, chosen, [5, 3], begin=begun.append)
    first = (tmp_path / "rows.json").read_text()
    record = run(TINY, tmp_path, chosen, [5, 3], begin=begun.append)
    assert begun == [f"{name} seed 0" for name in chosen] and (tmp_path / "rows.json").read_text() == first
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["full-0"]
    assert [step for step, *_ in drawn] == [Renewal] * 2 + [EulerMaruyama] * 2 + [Renewal] * 2
    assert [steps for _, steps, _ in drawn] == [5, 3] * 3
    assert list(record.rows) == [f"{name}, {steps} steps, seed 0" for name in chosen for steps in (5, 3)]
    rows = list(record.rows.values())
    assert [row["diverged"] for row in rows] == [False, False, True, False, False, False]
    assert [row["calls"] for row in rows] == [6, 4, 6, 4, 11, 7]
    assert json.loads(first)["settings"] == {"data": "qm9-sample", "molecules": 32, "draws": 4}
    lines = [
        line.split(" | ") for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| full")
    ]
    assert [line[4] for line in lines] == ["3", "5"] * 3 and [line[5] for line in lines].count("diverged") == 1


def test_further_steps_and_seeds_join_those_that_are_there(tmp_path, drawn):
    run(TINY, tmp_path, ["fixed"], [3])
    record = run(TINY, tmp_path, ["fixed"], [3, 5], seeds=[0, 1])
    assert [steps for _, steps, _ in drawn] == [3, 5, 3, 5]
    assert {(row["seed"], row["steps"]) for row in record.rows.values()} == {(0, 3), (0, 5), (1, 3), (1, 5)}


def test_unknown_rows_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="unknown row fool; choose among edm, edm-eqgat, "):
        run(TINY, tmp_path, ["fool"])
    assert not list(tmp_path.iterdir())


def test_matplotlib_draws_both_panels(tmp_path, drawn):
    pytest.importorskip("matplotlib")
    run(TINY, tmp_path, ["fixed"], [3])
    figure = (tmp_path / "figure.svg").read_text()
    assert "seconds a molecule" in figure and "atoms stable %" in figure


def test_the_sampler_of_euler_is_that_of_the_trained_process(tmp_path, drawn):
    model = step_efficiency._trained(TINY, "full-euler", {"seed": 0}, tmp_path, "cpu", None)
    plain = step_efficiency._trained(TINY, "full", {"seed": 0}, tmp_path, "cpu", None)
    for found, step in ((model, EulerMaruyama), (plain, Renewal)):
        assert isinstance(found.diffusion.process, Neural) and isinstance(found.diffusion.process.step, step)
    same = zip(model.diffusion.parameters(), plain.diffusion.parameters(), strict=True)
    assert all((a == b).all() for a, b in same)


def test_the_report_gives_the_command_with_its_budget(tmp_path, drawn):
    run(TINY, tmp_path, ["fixed"], [3])
    line = next(line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("- command"))
    assert line == "- command: `coset reproduce end-steps --data qm9-sample --molecules 32 --draws 4`"
