"""Quality against steps: samplers in words, rows that are kept and joined, a report that holds what the rows do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from coset.metrics.evaluate import evaluate
from coset.model import Model
from coset.molecule import QM9
from coset.recipes.registry import build, find_recipe
from coset.reproduce import quality_steps
from coset.reproduce.quality_steps import (
    Study,
    Teacher,
    calls_of,
    parse_sampler,
    reference_name,
    row_name,
    run,
    sampler_name,
)
from coset.samplers.generate import Sampling
from coset.samplers.sizes import SizeDistribution

STUDY = Study(molecules=6, seed=3, reference="qm9-small")


@pytest.fixture
def model():
    """An untrained model of a few hundred parameters that recommends a sampler of its own."""
    diffusion = build("edm", find_recipe("edm").resolve({"width": 8, "depth": 1}), 5)
    card = {"name": "tiny", "data": {"name": "qm9-small"}, "sampling": {"grid": "karras", "churn": 1.4, "eta": 1.0}}
    return Model(diffusion, QM9, SizeDistribution({4: 1, 5: 2}), card)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("ancestral", {}),
        ("heun karras", {"solver": "heun", "grid": "karras"}),
        ("multistep log_snr", {"solver": "multistep", "grid": "log_snr"}),
        ("ancestral karras churn=1.4", {"grid": "karras", "churn": 1.4}),
        ("ancestral eta=0 grid_power=2", {"eta": 0.0, "grid_power": 2.0}),
        ("renewed karras until=0.1", {"solver": "renewed", "grid": "karras", "until": 0.1}),
    ],
)
def test_a_sampler_and_its_words(words, options):
    sampling = Sampling(**parse_sampler(words))
    assert sampling == Sampling(**options)
    assert sampler_name(sampling) == words
    assert parse_sampler(words.replace(" ", ", ")) == parse_sampler(words)


def test_words_that_say_nothing_new_are_left_out():
    assert sampler_name(Sampling(eta=1.0)) == "ancestral"
    assert sampler_name(Sampling(solver="heun", eta=0.0)) == "heun"
    assert sampler_name(Sampling(solver="heun", eta=1.0)) == "heun eta=1"
    assert sampler_name(Sampling(grid="log_snr", grid_power=3.0)) == "ancestral log_snr"
    assert row_name(Sampling(steps=7, grid="power")) == "ancestral, 7 steps"
    assert [calls_of(Sampling(steps=7, solver=solver)) for solver in ("ancestral", "multistep", "heun")] == [8, 8, 15]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (
            "euler",
            "unknown word 'euler' in the sampler 'euler'; choose among ancestral, multistep, heun, renewed, power",
        ),
        ("heun heun", "once at most; got 'heun'"),
        (
            "steps=5",
            "a sampler has each of solver, eta, grid, grid_power, churn, late, until once at most; got 'steps=5'",
        ),
        ("heun churn=much", "churn of a sampler must be a number; got 'much'"),
        ("multistep churn=1.4", "churn makes multistep forget"),
        ("solver=other", "unknown solver 'other'"),
    ],
)
def test_samplers_that_cannot_be_are_refused_before_anything_is_drawn(words, match, model, tmp_path):
    with pytest.raises(ValueError, match=match):
        run(STUDY, model, tmp_path / "new", ["ancestral", words], [2])
    assert not (tmp_path / "new").exists()


def test_rows_are_drawn_scored_kept_and_reported(tmp_path, model, monkeypatch):
    begun: list[str] = []
    done: list[float] = []
    record = run(
        STUDY, model, tmp_path, ["ancestral", "heun karras"], [3, 2], lambda row: begun.append(row) or done.append
    )
    assert begun == list(record.rows) == [
        "ancestral, 3 steps", "ancestral, 2 steps", "heun karras, 3 steps", "heun karras, 2 steps",
    ]  # fmt: skip
    assert max(done) == pytest.approx(6)
    row = record.rows["heun karras, 3 steps"]
    own = evaluate(model.sample(6, seed=3, steps=3, solver="heun", grid="karras"), "qm9-small")
    assert row["calls"] == 7 and row["rates"]["atom_stability"][0] == own.rates["atom_stability"].value
    assert own.distances is not None and row["distances"]["atom_types"] == own.distances["atom_types"]
    saved = json.loads((tmp_path / "rows.json").read_text())
    assert saved["settings"]["molecules"] == 6 and saved["settings"]["model"] == "tiny"

    monkeypatch.setattr(model.__class__, "draw", lambda *args, **options: pytest.fail("drawn again"))
    run(STUDY, model, tmp_path, ["heun karras"], [2])
    lines = [line.split(" | ") for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| ")]
    title, _, *body = lines
    column = title.index("molecules stable %")
    assert [line[:3] for line in body] == [
        ["| ancestral", "2", "3"], ["| ancestral", "3", "4"], ["| heun karras", "2", "5"], ["| heun karras", "3", "7"],
        ["| the data's own", "", ""],
    ]  # fmt: skip
    value, low, high = (100 * part for part in row["rates"]["molecule_stability"])
    assert body[3][column] == f"{value:.1f} ({low:.1f} - {high:.1f})"
    assert float(body[-1][column]) > 80 and "distance of atom types" in title and "distance of sizes" not in title
    assert "6 molecules a row, drawn with tiny" in (tmp_path / "report.md").read_text()


def test_the_cards_own_sampler_comes_first(tmp_path, model, monkeypatch):
    monkeypatch.setattr(quality_steps, "SAMPLERS", ("ancestral karras churn=1.4", "ancestral"))
    record = run(Study(2, reference="none"), model, tmp_path, steps=[1])
    assert list(record.rows) == ["ancestral karras churn=1.4, 1 step", "ancestral, 1 step"]
    assert "compared with no data" in (tmp_path / "report.md").read_text()
    assert all(row["distances"] == {} for row in record.rows.values())


def test_a_student_stands_beside_its_teacher(tmp_path, model):
    own = {"solver": "renewed", "grid": "karras", "steps": 3, "until": 0.1}
    student = replace(model, card={**model.card, "name": "student", "sampling": own})
    teacher = Teacher(model, (3, 2))
    record = run(Study(2, reference="none"), student, tmp_path, steps=[1], teacher=teacher)
    assert list(record.rows) == [
        "renewed karras until=0.1, 1 step",
        "teacher, ancestral karras churn=1.4, 3 steps",
        "teacher, ancestral karras churn=1.4, 2 steps",
    ]
    assert record.settings["teacher"] == "tiny" and record.settings["model"] == "student"
    text = (tmp_path / "report.md").read_text()
    assert "drawn with student" in text and "and its teacher tiny" in text and "--teacher tiny" in text
    shown = [line.split(" | ")[:3] for line in text.splitlines() if "karras" in line]
    assert shown == [
        ["| renewed karras until=0.1", "1", "2"],
        ["| teacher: ancestral karras churn=1.4", "2", "3"],
        ["| teacher: ancestral karras churn=1.4", "3", "4"],
    ]
    with pytest.raises(ValueError, match="rows of other settings"):
        run(Study(2, reference="none"), student, tmp_path, steps=[1])


def test_rows_of_other_weights_or_studies_are_not_taken_for_these(tmp_path, model):
    run(Study(2, reference="none"), model, tmp_path, ["ancestral"], [1])
    with pytest.raises(ValueError, match="rows of other settings"):
        run(Study(3, reference="none"), model, tmp_path, ["ancestral"], [1])
    model.diffusion.denoiser.network.head.bias.data += 1
    with pytest.raises(ValueError, match="rows of other settings"):
        run(Study(2, reference="none"), model, tmp_path, ["ancestral"], [1])


@pytest.mark.parametrize(("data", "name"), [("qm9", "qm9"), ("qm9-small", "qm9-small"), ("qm9-sample", "qm9")])
def test_models_are_compared_with_their_own_data(data, name, model):
    model.card["data"] = {"name": data}
    assert reference_name(model) == name
    model.card["data"] = {"name": "drugs"}
    assert reference_name(model) == "none"
