"""A run that was stopped and resumed ends where the run that was never stopped ends, bit for bit."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from coset.recipes.registry import find_recipe
from coset.training.folder import read_settings
from coset.training.runs import prepare
from coset.training.start import carry_out

TINY = {
    "data": "qm9-sample", "width": 16, "depth": 1, "batch": 8, "molecules": 160, "lr": 1e-3, "clip": "queue",
    "warmup": 12, "decay": 0.5, "ema": [0.9, 0.99], "validate_every": 80, "validate_molecules": 4,
    "sample_molecules": 2, "sample_steps": 2,
}  # fmt: skip
RECIPES = {
    "edm": {},
    "symdiff": {"heads": 2, "kernels": 8, "pose_width": 8, "pose_depth": 1, "pose_heads": 2},
    "dit": {"heads": 2, "kernels": 8, "optimiser": "muon", "yardstick_molecules": 4},
    "end": {"vector_width": 8, "edge_width": 8},
}


def trained(recipe, folder, listener=None, resume=False):
    settings = read_settings(folder)[1] if resume else find_recipe(recipe).resolve(TINY | RECIPES[recipe])
    return carry_out(prepare(recipe, settings, folder, "cpu", listener), folder, resume)


def interrupt_once(record):
    if record["kind"] == "valid" and record["step"] == 10:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("recipe", RECIPES)
def test_resumed_equals_uninterrupted(recipe, tmp_path):
    whole = trained(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, tmp_path / "parts", interrupt_once)
    resumed = trained(recipe, tmp_path / "parts", resume=True)
    assert resumed.counters.step == whole.counters.step == 20
    assert resumed.clipper.history == whole.clipper.history and len(whole.clipper.history) > 1
    for a, b in zip(whole.diffusion.parameters(), resumed.diffusion.parameters(), strict=True):
        assert torch.equal(a, b)
    for decay in whole.ema.averages:
        for a, b in zip(whole.ema.averages[decay], resumed.ema.averages[decay], strict=True):
            assert torch.equal(a, b)


def test_interruption_saves_a_whole_step_and_the_log_tells_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained("edm", tmp_path, interrupt_once)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 10 and records[-1]["molecules"] == 80
