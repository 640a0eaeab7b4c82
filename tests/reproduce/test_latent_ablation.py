"""RADM's ablation: rows differ in what they say they differ in, and share their codecs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from coset.recipes.registry import build, find_recipe
from coset.reproduce import latent_ablation
from coset.reproduce.latent_ablation import CODEC, ROWS, Study, codec_errors, run
from coset.training.latents import latent_codec

TINY = Study("qm9-sample", molecules=64, draws=4, steps=2)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_what_it_says(name):
    row = ROWS[name]
    settings = find_recipe(row.recipe).resolve(CODEC | dict(row.settings))
    with torch.device("meta"):
        diffusion = build(row.recipe, settings, types=5)
    assert (latent_codec(diffusion.codec) is None) == name.startswith("data-")
    frames = {"learned": "learned", "pca": "pca"}
    kind = name.removeprefix("data-").split("-")[0]
    assert settings.frame == frames.get(kind, "none")  # type: ignore[attr-defined]
    assert (diffusion.augment is not None) == (kind == "augmentation")


def test_rows_are_kept_and_codecs_are_shared(tmp_path, monkeypatch):
    few = {name: replace(ROWS[name], settings={**ROWS[name].settings, "width": 8, "depth": 1})
           for name in ("none", "learned", "learned-flow", "data-pca")}  # fmt: skip
    monkeypatch.setattr(latent_ablation, "ROWS", few)
    monkeypatch.setattr(latent_ablation, "CODEC", {"codec_width": 8, "decoder_depth": 1, "pose_width": 8})
    table = replace(latent_ablation.TABLE, rows=few)
    table.run(TINY, tmp_path, ["learned"])
    first = json.loads((tmp_path / "rows.json").read_text())["rows"]
    table.run(TINY, tmp_path)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert set(rows) == {f"{name} seed 0" for name in few} and rows["learned seed 0"] == first["learned seed 0"]
    codecs = {path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith("codec-")}
    assert codecs == {"codec-none-gnn-0", "codec-learned-gnn-0"}
    assert rows["learned seed 0"]["codec"] == rows["learned-flow seed 0"]["codec"]
    assert rows["data-pca seed 0"]["codec"] is None and rows["none seed 0"]["codec"]["rmsd"] > 0.1
    report = (tmp_path / "report.md").read_text()
    assert "| learned | learned pose (RADM) |" in report and "| 85.8 |" in report
    with pytest.raises(ValueError, match="unknown row radm"):
        run(TINY, tmp_path, ["radm"])


def test_an_autoencoder_that_gives_back_its_input_has_no_error(tmp_path, monkeypatch):
    from coset.codecs.autoencoder import Autoencoder
    from coset.codecs.categories import CategoriesOutput
    from coset.data.catalog import open_dataset
    from coset.model import Model
    from coset.molecule import QM9
    from coset.samplers.sizes import SizeDistribution

    diffusion = build("graphldm", find_recipe("graphldm").resolve({"size": "small"}), 5)
    monkeypatch.setattr(Autoencoder, "mean", lambda self, clean: clean)
    monkeypatch.setattr(
        Autoencoder, "decode", lambda self, clean: CategoriesOutput(replace(clean, h=clean.h[..., :5]), 0)
    )
    model = Model(diffusion, QM9, SizeDistribution({9: 1}), {"name": "tiny"})
    assert codec_errors(model, open_dataset("qm9-sample"), 50) == {"rmsd": 0.0, "types": 1.0}
