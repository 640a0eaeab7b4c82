"""coset train, runs and diff on the folders of runs."""

from __future__ import annotations

import json
import sys

import pytest

from coset.cli.train import told_how_to_go_on
from coset.model import load
from coset.training.folder import alone

TINY = "size=small width=8 depth=1 batch=8 molecules=160 data=qm9-sample validate_molecules=8 sample_molecules=0"


def train(run, folder, *settings, options=()):
    pairs = [word for pair in (*TINY.split(), *settings) for word in ("--set", pair)]
    return run("train", "edm", *pairs, "-o", folder, *options)


def test_two_runs_side_by_side(run, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    code, out, err = train(run, one, options=["--evaluate", 4, "--steps", 2])
    assert code == 0 and "molecule stability" in out and "metrics.json" in out, err
    assert load(one).card["metrics"]["molecules"] == 4
    assert train(run, two, "lr=5e-4", "molecules=320")[0] == 0
    code, out, _ = run("diff", one, two, "--json")
    found = json.loads(out)
    assert code == 0 and found["settings"] == {"molecules": [160, 320], "lr": [0.001, 0.0005]}
    assert found["budget"]["molecules"] == [160, 320] and found["budget"]["flops"][0] > 0
    assert found["validation"]["best_valid_loss"][0] > found["validation"]["best_valid_loss"][1]
    assert found["metrics"]["validity"][1] is None and 0 <= found["metrics"]["validity"][0] <= 1
    code, out, _ = run("diff", one, two)
    assert code == 0 and "0.0005" in out and "FLOPs" not in out and "flops" in out and "+160" in out
    code, out, _ = run("diff", one, one)
    assert code == 0 and "the settings are the same" in out

    code, out, _ = run("runs", tmp_path, "--json")
    listed = json.loads(out)
    assert code == 0 and [entry["state"] for entry in listed] == ["finished", "finished"]
    with alone(one):
        code, out, _ = run("runs", tmp_path)
    assert code == 0 and "training" in out and "finished" in out

    code, out, err = run("train", "--resume", "-o", two, "--evaluate", 3, "--steps", 2)
    assert code == 0 and "molecule stability" in out, err  # a finished run can be measured later
    (one / "metrics.json").write_text('{"report"')
    code, _, err = run("diff", one, two)
    assert code == 2 and "metrics.json is not whole" in err
    code, out, err = run("runs", tmp_path)
    assert code == 0 and "metrics.json is not whole" in err and str(two)[-3:] in out


def test_resuming_keeps_the_settings(run, tmp_path):
    folder = tmp_path / "run"
    assert train(run, folder)[0] == 0
    code, out, _ = train(run, folder, options=["--resume"])  # the same settings once more
    assert code == 0 and "model ->" in out
    code, _, err = run("train", "--resume", "-o", folder, "--set", "lr=0.1", "--minutes", "3")
    assert code == 2 and "lr was 0.001 and is 0.1" in err and "minutes was null and is 3.0" in err
    code, _, err = run("train", "gdm", "--resume", "-o", folder)
    assert code == 2 and "recipe was edm and is gdm" in err
    (folder / "checkpoint.safetensors").unlink()
    code, out, _ = run("train", "--resume", "-o", folder)
    assert code == 0 and "has no checkpoint yet: starting at the beginning" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diff", "{tmp}", "{tmp}"], "is not the folder of a run"),
        (["diff", "{tmp}/none", "{tmp}"], "is not the folder of a run"),
        (["runs", "{tmp}/none"], "there is no folder"),
        (["train", "edm", "--evaluate", "-1"], "Invalid value"),
        (["train", "--resume", "-o", "{tmp}"], "no run to resume"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, tmp_path, arguments, words):
    code, out, err = run(*[argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    assert code == 2 and words in err and "Traceback" not in err + out


def test_no_runs_at_all(run, tmp_path):
    code, out, _ = run("runs", tmp_path)
    assert code == 0 and "no runs in" in out


def test_event_files_need_their_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = train(run, tmp_path / "run", options=["--tensorboard"])
    assert code == 2 and "pip install 'coset[log]'" in err and not (tmp_path / "run").exists()


def test_a_stop_before_the_first_checkpoint_claims_none(tmp_path, capsys):
    for saved in (False, True):
        if saved:
            (tmp_path / "checkpoint.safetensors").touch()
        with pytest.raises(KeyboardInterrupt), told_how_to_go_on("this", tmp_path):
            raise KeyboardInterrupt
        said = capsys.readouterr().out
        assert ("stopped and saved; go on with: this" in said) == saved
        assert ("before anything was saved" in said) != saved


@pytest.mark.parametrize(
    ("settings", "told"), [(["init=nope"], "no model 'nope'"), (["schedule=linear"], "predicts clean data or velocity")]
)
def test_settings_that_cannot_be_built_leave_no_folder(run, tmp_path, settings, told):
    code, _, err = train(run, tmp_path / "new", *settings)
    assert code == 2 and told in err and not (tmp_path / "new").exists()
