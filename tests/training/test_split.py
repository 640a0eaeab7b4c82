"""A batch in parts, over processes or one after the other, is the batch at once: its draws, its gradient, its run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coset.noise import Noise
from coset.recipes.registry import find_recipe
from coset.training import loop
from coset.training.checkpoint import load_tensors
from coset.training.distributed import Ranks
from coset.training.log import read_log
from coset.training.runs import prepare

SMALL = {"data": "qm9-sample", "width": 16, "depth": 1}
PLAIN = {"heads": 2, "kernels": 8}
POSED = PLAIN | {"pose_width": 8, "pose_depth": 1, "pose_heads": 2}
# Losses that know of the whole batch: its length, its mean number of atoms, stratified times, lots for half of it.
RECIPES = {
    "edm": {"padded_loss": True},
    "end": {"vector_width": 8, "edge_width": 8, "by_atoms": True},
    "coset": {"size": "xs", "depth": 2},
    "coset_plain": {"size": "xs", "depth": 2},
    "symdiff": POSED,
    "dit_aug": PLAIN | {"target": "haar", "target_draws": 4},
}


def gradient(run, diffusion, rows, team, monkeypatch):
    """Sums over the shares of so many processes, as they would make them one after the other."""
    total = [torch.zeros_like(p, dtype=torch.float64) for p in diffusion.parameters()]
    losses = torch.zeros(len(rows))
    for rank in range(team):
        monkeypatch.setattr(loop, "ranks", lambda rank=rank: Ranks(rank, team))
        diffusion.zero_grad(set_to_none=True)
        losses[rank::team] = loop.backward(run, diffusion, rows, run.rows.sizes, step=3)
        for values, parameter in zip(total, diffusion.parameters(), strict=True):
            if parameter.grad is not None:
                values += parameter.grad
    return torch.cat([values.flatten() for values in total]), losses


@pytest.mark.parametrize("recipe", RECIPES)
def test_parts_have_the_losses_and_the_gradient_of_the_whole(recipe, tmp_path, monkeypatch):
    found = {}
    for team, accumulate in ((1, 1), (2, 1), (1, 3), (4, 2)):  # the last leaves one of its 8 parts empty
        settings = find_recipe(recipe).resolve(SMALL | RECIPES[recipe] | {"accumulate": accumulate})
        run = prepare(recipe, settings, tmp_path, "cpu")
        diffusion = run.build()
        with torch.no_grad():  # fresh networks end in zeros, which would hide what is behind
            for number, parameter in enumerate(diffusion.parameters()):
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        rows = run.rows.train[:7]
        assert len(set(run.rows.sizes[rows])) > 1
        found[team, accumulate] = gradient(run, diffusion, rows, team, monkeypatch)
    whole, losses = found.pop((1, 1))
    assert whole.norm() > 0.01
    for parts, others in found.values():
        assert torch.allclose(losses, others, rtol=2e-5)
        assert (parts - whole).norm() < 2e-6 * whole.norm()


def test_noise_of_some_remembers_the_batch_that_they_are_of():
    noise, rows = Noise.from_seed(1, torch.arange(5)), torch.tensor([4, 1])
    some = noise.take(rows, torch.full((5,), 3)).at(2).fork(1).number(3)
    whole = noise.at(2).fork(1).number(3)
    assert torch.equal(some.normal(2), whole.normal(2)[rows])
    assert torch.equal(some.own(some.batch.normal(2)), some.normal(2))
    assert torch.equal(some.batch.normal(2), whole.normal(2)) and whole.batch is whole


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What the scenarios of split.py told, and the folder of their runs."""
    if os.name != "posix":
        pytest.skip("needs processes that fork")
    folder = tmp_path_factory.mktemp("split")
    script = Path(__file__).with_name("split.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


def assert_same_run(one, two):
    """Counters and log are equal, weights, averages and moments to rounding."""
    (tensors, state), (others, other) = (load_tensors(folder / "checkpoint.safetensors") for folder in (one, two))
    assert tensors.keys() == others.keys() and state["about"] == other["about"]
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, others[name], rtol=1e-4, atol=1e-6), name
    counters = [{k: v for k, v in found["counters"].items() if k != "seconds"} for found in (state, other)]
    assert counters[0] == counters[1] and counters[0]["step"] == 20 and counters[0]["flops"] > 0
    logs = [read_log(folder / "log.jsonl") for folder in (one, two)]
    assert [(r["kind"], r["step"]) for r in logs[0]] == [(r["kind"], r["step"]) for r in logs[1]]
    assert [r["valid_loss"] for r in logs[0]] == pytest.approx([r["valid_loss"] for r in logs[1]], rel=1e-5)


def test_two_processes_train_as_one_does(played):
    told, folder = played
    assert told["alone"] == {"codes": [0], "told": ""} and told["split"] == {"codes": [0, 0], "told": ""}
    assert_same_run(folder / "alone", folder / "split")
    files = [{path.name for path in (folder / name).iterdir()} for name in ("alone", "split")]
    assert files[0] == files[1] and "model.safetensors" in files[0]


def test_a_run_that_was_stopped_goes_on_in_another_number_of_processes(played):
    """SIGTERM reaches one of two, then one of three; one ends the run."""
    told, folder = played
    assert sorted(told["stopped"]["codes"]) == [2, 130] and sorted(told["others"]["codes"]) == [2, 2, 130]
    assert told["ended"]["codes"] == [0]
    assert_same_run(folder / "alone", folder / "stopped")


def test_processes_that_torchrun_starts_again_go_on_by_themselves(played):
    """The same command, after one of two was killed."""
    told, folder = played
    assert -9 in told["killed"]["codes"] and told["again"]["codes"] == [0, 0]
    assert_same_run(folder / "alone", folder / "killed")


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    {
        "broken": "molecule 5 is not there",
        "killed": "another process of this training ended; go on from the last checkpoint",
        "disagreeing": "the processes of this training begin with different weights or steps",
    }.items(),
)
def test_what_goes_wrong_in_one_process_ends_all_with_one_sentence(played, scenario, sentence):
    told = played[0][scenario]
    assert 0 not in told["codes"] and told["told"].count("error:") == 1 and "Traceback" not in told["told"]
    assert sentence in told["told"]
