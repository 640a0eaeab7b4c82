"""A run killed at any moment, and one whose disk was full, end where the run never stopped ends: bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coset.training.checkpoint import load_tensors
from coset.training.log import read_log

KILLED = Path(__file__).with_name("killed.py")
FILES = {"checkpoint.safetensors", "log.jsonl", "model.json", "model.safetensors", "settings.json", ".lock"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs processes that fork and signals that kill")


def play(scenario, folder):
    """What a scenario of killed.py tells."""
    done = subprocess.run(
        [sys.executable, KILLED, scenario, folder], capture_output=True, text=True, env=os.environ | {"COLUMNS": "500"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_times(record):
    return {key: value for key, value in record.items() if key not in ("time", "seconds")}


def assert_same_run(one, two):
    """Every tensor (weights, averages, moments), every counter and every line of the log; not the times."""
    (tensors, state), (other_tensors, other_state) = (load_tensors(f / "checkpoint.safetensors") for f in (one, two))
    assert tensors.keys() == other_tensors.keys() and len(tensors) > 50
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
    assert state["clip_history"] == other_state["clip_history"]
    assert without_times(state["counters"]) == without_times(other_state["counters"])
    assert state["counters"]["step"] == 100 and state["counters"]["flops"] > 0
    lines = (one / "log.jsonl").read_text().splitlines()
    assert len(lines) == len((two / "log.jsonl").read_text().splitlines()) == 6  # 2 of training, 4 of validation
    assert [*map(without_times, read_log(one / "log.jsonl"))] == [*map(without_times, read_log(two / "log.jsonl"))]
    models = [load_tensors(folder / "model.safetensors")[0] for folder in (one, two)]
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_a_run_killed_at_any_moment_ends_where_the_unbroken_one_does(tmp_path):
    told = play("runs", tmp_path)
    assert all(entry["signal"] == 9 for entry in told)  # every process was killed, none ended by itself
    saved = [entry["checkpoint"] for entry in told]
    assert saved[0] is None and saved[1] < 42  # steps were lost
    assert saved[2:7] == [saved[1]] * 5  # a checkpoint that was being written is not the one that counts
    assert 50 < saved[7] < 94  # a validation came after it, and the log tells it once
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert {path.name for path in (tmp_path / "killed").iterdir()} == FILES  # nothing half-written is left


def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_saved(tmp_path):
    (told,) = play("full", tmp_path)
    assert told["code"] == 2 and told["same"] and told["resumed"] == 0
    assert "Traceback" not in told["error"] and told["error"].count("error:") == 1
    assert "cannot write" in told["error"] and "File too large" in told["error"]
    assert set(told["files"]) == FILES - {"model.json", "model.safetensors"}
