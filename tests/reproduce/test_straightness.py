"""How straight molecules move: rows that are kept and joined, films, a report that holds what the rows do."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch

from coset.cli import main
from coset.data.catalog import open_dataset
from coset.files import read
from coset.model import Model, load
from coset.molecule import QM9
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.reproduce import straightness
from coset.reproduce.straightness import Study, find_models, parse_models, run
from coset.reproduce.straightness_report import in_the_plane, shown_models
from coset.samplers.grids import power_grid
from coset.samplers.sizes import SizeDistribution
from coset.samplers.trajectories import noising_path, path_shape
from example_clouds import awake

STUDY = Study(data="qm9-sample", molecules=5, steps=6, seed=3)
RECIPES = {"own": "end", "still": "end_fixed", "single": "end_direct", "plain": "edm"}


def saved(folder, recipe, seed: int = 0) -> str:
    """The folder of an untrained model of a few hundred parameters, awake so that its process is its own."""
    small = {"width": 8, "depth": 1, "seed": seed}
    if recipe != "edm":
        small |= {"vector_width": 4, "edge_width": 4}
    settings = find_recipe(recipe).resolve(small)
    diffusion = build(recipe, settings, 5)
    awake(diffusion.process)
    card = {
        "name": folder.name, "recipe": recipe, "settings": settings.model_dump(mode="json"), "version": "0",
        "elements": list(QM9.numbers), "sizes": {"9": 1}, "data": {"name": "qm9-small"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    Model(diffusion, QM9, SizeDistribution({9: 1}), card).save(folder / "model.safetensors", torch.float32)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    parent = tmp_path_factory.mktemp("models")
    return {name: saved(parent / name, recipe) for name, recipe in RECIPES.items()}


@pytest.fixture(scope="module")
def done(models, tmp_path_factory):
    """All models measured once: the folder and the record."""
    folder = tmp_path_factory.mktemp("done")
    return folder, run(STUDY, models, folder)


def test_each_model_has_a_row_with_a_number_a_molecule(models, done):
    _, record = done
    assert list(record.rows) == list(RECIPES)
    assert [row["learned"] for row in record.rows.values()] == [True, False, True, False]
    assert all("noising" in row for row in record.rows.values())
    assert [name for name, row in record.rows.items() if "sampling" not in row] == ["single"]
    for name, row in record.rows.items():
        assert row["recipe"] == RECIPES[name] and len(row["atoms"]) == 5 and row["atoms"] == sorted(row["atoms"])
        for kind in row.keys() & {"noising", "sampling"}:
            assert all(len(values) == 5 for values in row[kind].values())
            assert all(0 <= value <= 1 for value in row[kind]["straightness"])
    # The same molecules for all of them.
    assert len({str(row["atoms"]) for row in record.rows.values()}) == 1


def test_a_row_holds_what_the_paths_of_held_out_molecules_are(models, done):
    dataset, diffusion = open_dataset("qm9-sample"), load(models["own"]).diffusion
    rows = STUDY.rows(dataset)
    assert set(rows.tolist()) <= set((dataset.test if len(dataset.test) else dataset.valid).tolist())
    x0 = diffusion.codec.encode(QM9.cloud(*dataset.store.collate(rows)))
    noise = Noise.from_seed(3, torch.arange(5)).fork(0)
    shape = path_shape(noising_path(diffusion.process, x0, noise, power_grid(6)), power_grid(6))
    found = done[1].rows["own"]["noising"]
    assert found["turning"] == pytest.approx(shape.turning.tolist(), abs=2e-5)
    assert found["excess"] == pytest.approx(shape.excess.tolist(), abs=2e-5)
    assert found["straightness"] == pytest.approx(shape.straightness.tolist(), abs=2e-5)


def test_the_report_holds_means_and_errors_over_molecules(done):
    folder, record = done
    text = (folder / "report.md").read_text()
    title, _, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [line[:3] for line in lines] == [
        ["own", "end", "learned"], ["still", "end_fixed", "fixed"], ["single", "end_direct", "learned"],
        ["plain", "edm", "fixed"],
    ]  # fmt: skip
    values = record.rows["own"]["sampling"]["turning"]
    error = np.std(values, ddof=1) / math.sqrt(5)
    assert lines[0][title.index("sampling: turning (rad)")] == f"{np.mean(values):.3f} ± {error:.3f}"
    assert lines[2][title.index("sampling: turning (rad)")].strip() == "" and lines[0][-1] == "0"
    assert "5 molecules a model, each followed in 6 equal steps" in text and "- [own](trajectories/own.xyz)" in text
    assert "single.xyz" not in text and "-n 5 --steps 6 --seed 3" in text


def test_films_are_molecules_that_come_out_of_noise(done):
    folder, record = done
    frames = read(folder / "trajectories" / "own.xyz")
    assert len(frames) == 2 * 7 and [frame.properties["time"] for frame in frames[:7]] == pytest.approx(
        power_grid(6).tolist(), abs=1e-4
    )
    assert {len(frame) for frame in frames} <= set(record.rows["own"]["atoms"])
    assert len({tuple(frame.numbers) for frame in frames[:7]}) == 1
    assert sum(file.stat().st_size for file in (folder / "trajectories").iterdir()) < 60_000
    assert not (folder / "trajectories" / "single.xyz").exists()


def test_the_figure_compares_learned_with_fixed(done):
    folder, record = done
    pytest.importorskip("matplotlib")
    assert {record.rows[name]["learned"] for name in shown_models(record.rows)} == {True, False}
    text = (folder / "figure.svg").read_text()
    assert all(name in text for name in RECIPES) and "straightness, sampling" in text


def test_the_plane_is_that_of_the_principal_axes():
    """Turning the molecule changes its picture by reflections alone."""
    points = np.random.default_rng(0).normal(size=(4, 6, 3)) * [3.0, 2.0, 0.1]
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    flat, turned = in_the_plane(points), in_the_plane(points @ turn.T + 5)
    assert np.allclose(np.abs(flat), np.abs(turned))
    assert np.ptp(flat[-1, :, 0]) > np.ptp(flat[-1, :, 1]) > 0.5


def test_rows_are_kept_and_models_join_them(models, tmp_path):
    begun: list[str] = []
    shares: list[float] = []
    few = Study("qm9-sample", 2, 3)
    run(few, {"a": models["still"]}, tmp_path, begin=lambda row: begun.append(row) or shares.append)
    run(
        few,
        {"a": models["still"], "b": models["plain"]},
        tmp_path,
        begin=lambda row: begun.append(row) or shares.append,
    )
    assert begun == ["a", "b"] and shares[-1] == 1
    assert list(json.loads((tmp_path / "rows.json").read_text())["rows"]) == ["a", "b"]
    with pytest.raises(ValueError, match="holds a with other weights"):
        run(few, {"a": models["plain"]}, tmp_path)
    with pytest.raises(ValueError, match="rows of other settings"):
        run(Study("qm9-sample", 2, 4), {"a": models["still"]}, tmp_path)


def test_undefined_paths_are_left_out_and_counted(models, tmp_path, monkeypatch):
    def spoiled(process, x0, noise, times):
        points = noising_path(process, x0, noise, times)
        points[2, 0] = float("nan")
        return points

    monkeypatch.setattr(straightness, "noising_path", spoiled)
    record = run(Study("qm9-sample", 4, 3), {"a": models["single"]}, tmp_path)
    values = record.rows["a"]["noising"]["straightness"]
    assert values[0] is None and None not in values[1:]
    row = next(line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| a |"))
    assert row.endswith("| 1 |") and f"{np.mean(values[1:]):.3f} ±" in row


def test_names_of_models():
    assert parse_models("a=x/y, b=z.safetensors") == {"a": "x/y", "b": "z.safetensors"}
    assert parse_models("runs/full-0,qm9") == {"full-0": "runs/full-0", "qm9": "qm9"}
    for wrong in ("a=", "=x", "a=x,a=y", "", "a=x,,", "../a=x", "a/b=x"):
        with pytest.raises(ValueError, match="expects different NAME=PATH"):
            parse_models(wrong)


def test_trained_runs_are_found_in_the_first_folder_that_has_some(models, tmp_path):
    (tmp_path / "empty" / "half-0").mkdir(parents=True)
    saved(tmp_path / "runs" / "full-0", "end_fixed")
    assert find_models([tmp_path / "empty", tmp_path / "runs"]) == {"full-0": str(tmp_path / "runs" / "full-0")}
    with pytest.raises(FileNotFoundError, match=r"no trained models in .*empty; run `coset reproduce end-steps` first"):
        find_models([tmp_path / "empty"])


def command(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["coset", "reproduce", "end-trajectories", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_command_measures_the_runs_that_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "benchmarks" / "results" / "end-steps" / "runs" / "full-0", "end_fixed")
    assert command(monkeypatch, "-n", "2", "--steps", "2", "--data", "qm9-sample") == 0
    assert "full-0" in (tmp_path / "runs" / "reproduce" / "end-trajectories" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no trained models in"),
        (["--models", "a=nowhere"], "no model 'nowhere'"),
        (["--models", "a=b=c,a=d"], "--models expects different"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "--data", "qm9-sample", *arguments) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and "Traceback" not in shown and not (tmp_path / "runs").exists()
