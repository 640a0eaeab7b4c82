"""What a run leaves behind: logs, event files, FLOPs, sample archives, and what it says when it breaks."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from coset.data.catalog import open_dataset
from coset.diffusion import Diffusion
from coset.files import read
from coset.metrics.evaluate import evaluate
from coset.model import load
from coset.recipes.registry import RECIPES, build, find_recipe
from coset.training import archive
from coset.training.archive import Plan, draw_archive, reference_of
from coset.training.flops import Flops, count_flops
from coset.training.folder import alone, check_same, is_busy, read_settings
from coset.training.log import Log, read_log
from coset.training.runs import evaluate_run, fingerprint, prepare
from coset.training.start import carry_out

TINY = {
    "data": "qm9-sample", "width": 16, "depth": 1, "batch": 8, "molecules": 800, "lr": 1e-3, "clip": "queue",
    "warmup": 20, "decay": 0.5, "ema": [0.9, 0.99], "validate_every": 400, "validate_molecules": 16,
    "sample_molecules": 0,
}  # fmt: skip
SMALL = {"width": 8, "depth": 1, "heads": 2, "kernels": 8, "pose_width": 8, "pose_depth": 1, "pose_heads": 2}


def run_in(folder, listener=None, resume=False, events=False, **settings):
    resolved = find_recipe("edm").resolve(TINY | settings)
    run = prepare("edm", resolved, folder, "cpu", listener)
    return run, lambda: carry_out(run, folder, resume, events)


def stop_at(step):
    """A listener that presses Ctrl-C once."""

    def listen(record):
        if record["kind"] == "train" and record["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return listen


@pytest.mark.parametrize("recipe", ["edm", "gdm_aug", "symdiff_h", "symdiff"])
def test_flops_are_a_quadratic_in_the_padded_size(recipe):
    settings = find_recipe(recipe).settings
    chosen = {key: value for key, value in SMALL.items() if key in settings.model_fields}
    diffusion = build(recipe, RECIPES[recipe].resolve(chosen), 5)
    flops = Flops.measure(diffusion, 5)
    for molecules, atoms in ((1, 9), (3, 7), (2, 29)):
        assert flops(molecules, atoms) == count_flops(diffusion, 5, molecules, atoms) > 0


def test_flops_of_one_layer_are_those_of_the_textbook():
    """A matrix product of (n, k) and (k, m) takes 2 n k m; its backward pass two such products."""
    network = torch.nn.Linear(16, 32, bias=False)

    class One(Diffusion):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.first, self.second = torch.nn.Linear(6, 16, bias=False), network

        def forward(self, clean, noise):
            return self.second(self.first(clean.h)).sum((1, 2))

    first, second = 2 * 9 * 6 * 16, 2 * 9 * 16 * 32
    assert count_flops(One(), 5, 1, 9) == 2 * first + 3 * second  # types need no gradient


def test_counting_changes_neither_gradients_nor_random_numbers():
    diffusion = build("edm", find_recipe("edm").resolve({"width": 8, "depth": 1}), 5)
    before = torch.get_rng_state()
    Flops.measure(diffusion, 5)
    assert all(p.grad is None for p in diffusion.parameters()) and torch.equal(before, torch.get_rng_state())


def test_the_log_is_a_flat_table_with_three_axes(tmp_path):
    run_in(tmp_path)[1]()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["step"]) for r in records] == [("train", 50), ("valid", 50), ("train", 100), ("valid", 100)]
    for record in records:
        assert all(isinstance(value, int | float | str) for value in record.values())
        assert {"molecules", "seconds", "flops"} <= set(record)
    assert records[0]["flops"] < records[2]["flops"]
    valid = records[-1]
    assert valid["valid_loss"] == min(valid["valid_loss_0.9"], valid["valid_loss_0.99"])
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.read_json(tmp_path / "log.jsonl", lines=True)
    assert len(table) == 4 and table["molecules"].is_monotonic_increasing and table["valid_loss"].count() == 2


def test_a_log_goes_back_to_its_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"kind": kind, "step": step}) for step in (50, 100, 150) for kind in ("train", "valid")]
    path.write_text("\n".join([*lines[:4], lines[3], *lines[4:]]) + '\n{"kind": "train", "st')
    log = Log(path)
    log.rewind(100)
    assert path.read_text().splitlines() == lines[:4]
    assert log.logged("valid", 100) and not log.logged("valid", 150)
    log({"kind": "valid", "step": 150, "loss": float("nan")})
    assert read_log(path)[-1]["loss"] is None and len(read_log(path)) == 5


def test_a_run_finished_twice_says_the_same(tmp_path):
    run_in(tmp_path)[1]()
    log, settings = (tmp_path / "log.jsonl").read_text(), (tmp_path / "settings.json").read_text()
    model = (tmp_path / "model.safetensors").read_bytes()
    run_in(tmp_path, resume=True)[1]()
    assert (tmp_path / "log.jsonl").read_text() == log and (tmp_path / "settings.json").read_text() == settings
    assert len((tmp_path / "model.safetensors").read_bytes()) == len(model)
    with pytest.raises(FileExistsError, match="go on with --resume"):
        run_in(tmp_path)[1]()


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    for name in (".checkpoint.safetensors.ab12.tmp", ".log.jsonl.x_y1", ".samples.npz.k2", ".mine"):
        (tmp_path / name).touch()
    assert not is_busy(tmp_path)
    with alone(tmp_path):
        assert is_busy(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".mine"}  # half-written files are gone
        with pytest.raises(FileExistsError, match="another process trains in"):
            run_in(tmp_path)[1]()
    assert not is_busy(tmp_path) and not (tmp_path / "settings.json").exists()


def test_settings_that_were_edited_or_damaged_are_one_sentence(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, stop_at(50))[1]()
    with pytest.raises(ValueError, match=r"other settings: batch was 8 and is 16, lr was 0.001 and is 0.1;"):
        run_in(tmp_path, resume=True, lr=0.1, batch=16)[1]()
    path = tmp_path / "settings.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"settings": about["settings"] | {"widht": 3}}))
    with pytest.raises(ValueError, match=r"settings.json: setting widht: got 3"):
        read_settings(tmp_path)
    for text in ("{", "[]", '{"recipe": "edm"}', '{"recipe": "edm", "settings": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"settings.json is not the settings of a run"):
            read_settings(tmp_path)


def test_other_data_under_the_same_name_is_refused(tmp_path):
    run, train = run_in(tmp_path, stop_at(50))
    with pytest.raises(KeyboardInterrupt):
        train()
    fewer = replace(run.dataset, train=run.dataset.train[1:])
    with pytest.raises(ValueError, match=r"the training molecules of qm9-sample are not those that"):
        check_same(run.checkpoint, run.about | {"data": fingerprint(fewer)})
    check_same(run.checkpoint, run.about)


def broken_at(step):
    """A listener is told every 50 steps; from then on one molecule's position is not a number."""

    def spoil(run):
        clean = run.cloud

        def cloud(rows, step=-1):
            found = clean(rows, step)
            if run.log.last.get("train", {}).get("step") == step:
                found.x[2, 0, 0] = float("nan")
            return found

        object.__setattr__(run, "cloud", cloud)
        return run

    return spoil


@pytest.mark.parametrize("part", ["train", "valid"])
def test_data_without_training_or_validation_molecules_are_named(tmp_path, monkeypatch, part):
    dataset = open_dataset("qm9-sample")
    empty = replace(dataset, **{part: dataset.test[:0]})
    monkeypatch.setattr("coset.training.runs.open_dataset", lambda name: empty)
    with pytest.raises(ValueError, match=f"qm9-sample has no {part}.* molecules among its .*, and a run needs some"):
        prepare("edm", find_recipe("edm").resolve({"data": "qm9-sample"}), tmp_path, "cpu")


def test_a_loss_that_is_not_finite_names_the_step_the_molecules_and_the_last_checkpoint(tmp_path):
    run, train = run_in(tmp_path, checkpoint_minutes=1e-9)  # a checkpoint a step
    broken_at(50)(run)
    with pytest.raises(FloatingPointError) as error:
        train()
    told = json.loads((tmp_path / "nonfinite.json").read_text())
    wrong = [number for number, loss in told["molecules"] if loss == "nan"]
    assert told["step"] == 50 and len(told["molecules"]) == 8 and len(wrong) == 1
    assert re.search(
        rf"broke at step 50: loss nan, gradient norm nan, molecules {wrong[0]} \(all in ", str(error.value)
    )
    assert f"the last good checkpoint is {tmp_path / 'checkpoint.safetensors'}, of step 50" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_checkpoint_is_claimed_that_was_never_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=r"broke at step \d+: .*no checkpoint was saved before it") as error:
        run_in(tmp_path, lr=1e30, clip=None, warmup=0)[1]()
    assert "last good" not in str(error.value) and not (tmp_path / "checkpoint.safetensors").exists()


def test_an_archive_holds_the_molecules_behind_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "CHUNK", 4)
    run, train = run_in(tmp_path)
    train()
    told = []
    report = evaluate_run(run, tmp_path, Plan(10, steps=3, seed=5), told.append)
    molecules = read(tmp_path / "samples.npz")
    assert [m.properties["number"] for m in molecules] == list(range(10)) and max(told) == 10
    assert evaluate(molecules).counts == report.counts
    model = load(tmp_path)
    for one, other in zip(molecules, model.sample(10, seed=5, steps=3), strict=True):
        assert np.array_equal(one.numbers, other.numbers) and np.allclose(one.positions, other.positions, atol=1e-3)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["report"] == json.loads(json.dumps(report.to_dict()))
    assert stored["sampling"] == {"molecules": 10, "steps": 3, "seed": 5, "redrawn": 0}
    assert stored["budget"]["molecules_seen"] == 800 and stored["budget"]["flops"] > 0
    assert model.card["metrics"]["rates"].keys() == report.rates.keys()
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as file:
        assert file["positions"].dtype == np.float32 and file["n_atoms"].dtype == np.int16


def test_an_archive_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "CHUNK", 4)
    model = load("qm9")
    plan, path = Plan(10, steps=2), tmp_path / "samples.npz"
    draw_archive(model, plan, tmp_path / "whole.npz")

    def stop(done):
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_archive(model, plan, path, stop)
    (parts,) = tmp_path.glob("samples.*.parts")
    kept = {file: file.stat().st_mtime_ns for file in parts.iterdir()}
    assert len(kept) == 2 and not path.exists()
    monkeypatch.setattr(archive, "_write", keeping(archive._write, kept))
    draw_archive(model, plan, path)
    assert not parts.exists() and path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def keeping(write, kept):
    """`write`, which must not write again what is there."""

    def checked(path, columns):
        assert path not in kept
        write(path, columns)

    return checked


def test_the_reference_follows_the_data():
    assert reference_of(open_dataset("qm9-sample")) == "qm9"
    sample = open_dataset("qm9-sample")
    own = replace(sample, name="mine", train=sample.train[:20], test=sample.train[20:30])
    found = reference_of(own)
    assert not isinstance(found, str) and found is not None and found.name == "mine"
    assert reference_of(replace(own, test=own.test[:0], valid=own.test[:0])) is None


@pytest.mark.filterwarnings("ignore")
def test_event_files_hold_the_log_once(tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, stop_at(50), events=True)[1]()
    run_in(tmp_path, resume=True, events=True)[1]()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for kind, key in (("train", "loss"), ("train", "flops"), ("train", "seconds"), ("valid", "valid_loss_0.99")):
        found = [(event.step, event.value) for event in events.Scalars(f"{kind}/{key}")]
        logged = [(r["molecules"], r[key]) for r in read_log(tmp_path / "log.jsonl") if r["kind"] == kind]
        assert [step for step, _ in found] == [step for step, _ in logged] and len(found) == 2
        singles = [struct.unpack("f", struct.pack("f", value))[0] for _, value in logged]
        assert [value for _, value in found] == singles


def test_event_files_need_their_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'coset\[log\]'"):
        run_in(tmp_path, events=True)[1]()
