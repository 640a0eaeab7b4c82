"""The ablation of the recipe: rows differ from their neighbour in one thing, resume, and say how sure they are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from coset.networks.dit import DiT
from coset.networks.outputs import WithPrevious
from coset.networks.pairformer import Pairformer
from coset.recipes.registry import build, find_recipe
from coset.reproduce import recipe_ablation
from coset.reproduce.recipe_ablation import ROWS, Study, run, stable

TINY = Study("qm9-sample", molecules=64, draws=4, steps=2, precision="fp32")


def test_each_row_differs_from_its_neighbour_in_one_part():
    """One setting, or two that make one thing (the noise mixture), or the network, or the sampler."""
    for name, row in ROWS.items():
        if not row.beside:
            continue
        other = ROWS[row.beside]
        changed = {key for key in {*row.settings, *other.settings} if row.settings.get(key) != other.settings.get(key)}
        parts = [bool(changed), row.recipe != other.recipe, bool(row.sampling)]
        assert sum(parts) == 1, name
        assert len(changed) <= 1 or changed == {"noise_median", "noise_share"}, name
        assert row.beside in ROWS and (not row.trained or ROWS[row.trained].settings == row.settings)


def test_every_row_is_a_recipe_that_can_be_built():
    for name, row in ROWS.items():
        settings = find_recipe(row.recipe).resolve({"size": "xs", **row.settings})
        assert settings.model_dump() | dict(row.settings) == settings.model_dump(), (
            name
        )  # each setting is one of its own
        with torch.device("meta"):
            denoiser: Any = build(row.recipe, settings, types=5).denoiser
        wrapped = row.recipe == "coset_plain" and row.settings["self_conditioning"]
        assert isinstance(denoiser.network, Pairformer if row.recipe == "coset" else WithPrevious if wrapped else DiT)


def test_rows_are_kept_and_shared_weights_are_trained_once(tmp_path, monkeypatch):
    begun = []
    few = {name: replace(ROWS[name], settings={**ROWS[name].settings, "width": 8, "heads": 2, "pair": 4, "move": 4,
           "depth": 1}) for name in ("base", "last-noise", "low-noise")}  # fmt: skip
    monkeypatch.setattr(recipe_ablation, "ROWS", few)
    table = replace(recipe_ablation.TABLE, rows=few)
    table.run(TINY, tmp_path, ["base", "last-noise"], begin=begun.append)
    first = json.loads((tmp_path / "rows.json").read_text())["rows"]
    table.run(TINY, tmp_path, begin=begun.append)
    assert begun == ["base seed 0", "last-noise seed 0", "low-noise seed 0"]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {name: rows[name] for name in first} == first and set(rows) == set(begun)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["base-0", "low-noise-0"]
    assert rows["base seed 0"]["flops"] == rows["last-noise seed 0"]["flops"]
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == ["| row", "| ---", "| base", "| last-noise", "| low-noise"]


def test_unknown_rows_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="unknown row bass; choose among base, last-noise, "):
        run(TINY, tmp_path, ["bass"])
    assert not list(tmp_path.iterdir())


def test_standard_errors_are_over_seeds_where_there_are_several():
    def row(share: float) -> dict:
        return {"rates": {"molecule_stability": [share, 0, 1]}}

    assert stable([row(0.5)], 400) == (50.0, pytest.approx(2.5))  # of a share: sqrt(p q / n)
    value, error = stable([row(0.4), row(0.5), row(0.6)], 400)
    assert value == pytest.approx(50) and error == pytest.approx(10 / 3**0.5)
