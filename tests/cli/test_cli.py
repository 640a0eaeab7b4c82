"""The command line as its user meets it: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import json

import pytest

from coset.files import read, write_sdf
from coset.model import load


def test_recipes_and_their_published_sizes(run):
    code, out, _ = run("recipes", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert {"edm", "gdm", "gdm_aug", "dit", "dit_aug", "symdiff_h", "symdiff"} <= set(found)
    assert found["edm"]["parameters"] == 5_339_920
    assert found["symdiff"]["sizes"]["small"] * 2 < 9_000_000  # bytes in fp16


def test_models_lists_cards(run):
    code, out, _ = run("models", "--json")
    cards = json.loads(out)
    assert code == 0 and "qm9" in [card["name"] for card in cards]
    for card in cards:
        found = card["metrics"]
        if "coverage" in found:
            assert found["coverage"]["molecules"] >= 200 and found["stereo_repaired"] > 0.9
            continue
        assert found["counts"]["molecules"] >= 1000 and set(found["rates"]) == set(found["data"])


def test_sample_then_evaluate(run, tmp_path):
    file = tmp_path / "molecules.sdf"
    code, out, _ = run("sample", "-n", 5, "--seed", 3, "--steps", 5, "-o", file)
    assert code == 0 and "5 molecules" in out
    molecules = read(file)
    assert [m.properties["number"] for m in molecules] == list(range(5))
    assert {m.properties["model"] for m in molecules} == {"qm9"}
    assert {m.properties["stable"] for m in molecules} <= {"yes", "no"}
    code, out, _ = run("evaluate", file, "--json", "--report", tmp_path / "report.html")
    counts = json.loads(out)
    assert code == 0 and counts["molecules"] == 5 and counts["atoms"] == sum(map(len, molecules))
    assert {"stable_atoms", "stable_molecules", "valid", "unique"} <= set(counts)
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_precision_is_an_option_and_told_in_the_file(run, tmp_path):
    told = []
    for more in ([], ["--precision", "bf16"]):
        assert run("sample", "-n", 2, "--steps", 2, *more, "-o", tmp_path / "m.sdf")[0] == 0
        told.append([molecule.properties.get("precision") for molecule in read(tmp_path / "m.sdf")])
    assert told == [[None] * 2, ["bf16"] * 2]
    code, _, err = run("sample", "-n", 1, "--precision", "fp8", "-o", tmp_path / "m.sdf")
    assert code == 2 and "fp8" in err


@pytest.mark.parametrize("name", ["m.xyz", "m.smi", "m.sdf.gz"])
def test_other_formats(run, tmp_path, name):
    code, _, _ = run("sample", "-n", 2, "--steps", 2, "-o", tmp_path / name)
    assert code == 0 and (tmp_path / name).exists()


def test_keep_draws_until_enough_pass(run, tmp_path, monkeypatch):
    from coset.metrics import flags

    monkeypatch.setattr(flags, "flags", lambda molecules, protocol: [{"stable": len(m) % 2 == 0} for m in molecules])
    monkeypatch.setattr(flags, "flag", lambda molecules, protocol: molecules)
    code, out, _ = run("sample", "-n", 4, "--steps", 2, "--keep", "stable", "-o", tmp_path / "m.xyz")
    assert code == 0 and "acceptance (stable)" in out
    assert [len(m) % 2 for m in read(tmp_path / "m.xyz")] == [0] * 4


def test_train_dry_run_and_a_short_run(run, tmp_path):
    small = ["--set", "size=small", "--set", "width=16", "--set", "depth=1", "--set", "data=qm9-sample"]
    code, out, _ = run("train", "edm", *small, "--dry-run")
    settings = json.loads(out)
    assert code == 0 and settings["width"] == 16 and settings["recipe"] == "edm"
    short = [*small, "--set", "molecules=300", "--set", "validate_molecules=8", "--set", "sample_molecules=0"]
    code, out, _ = run("train", "edm", *short, "-o", tmp_path / "run")
    assert code == 0 and (tmp_path / "run" / "model.safetensors").exists()
    assert load(tmp_path / "run").card["molecules_seen"] >= 300
    code, _, err = run("train", "edm", *short, "-o", tmp_path / "run")
    assert code == 2 and "--resume" in err


def test_data_sets_are_described(run):
    code, out, _ = run("data")
    assert code == 0 and "qm9-sample: 2,000 molecules" in out
    code, out, _ = run("data", "info", "qm9-sample")
    assert code == 0 and "CC0-1.0" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "edmm"], "unknown recipe 'edmm' (did you mean edm?); choose one of edm"),
        (["train", "edm", "--set", "wdth=3"], "did you mean width?"),
        (["train", "edm", "--set", "width"], "key=value"),
        (["train", "edm", "--set", "width=wide"], "setting width: got 'wide'"),
        (["train", "edm", "--set", "size=huge"], "unknown size 'huge'"),
        (["train", "edm", "--set", "data=nowhere", "-o", "{tmp}/x"], "nowhere"),
        (["train"], "needs a recipe"),
        (["train", "--resume", "-o", "{tmp}/none"], "no run to resume"),
        (["sample", "--model", "nobody"], "no model 'nobody'"),
        (["sample", "-n", "0"], "at least 1"),
        (["sample", "--atoms", "4000"], "this model has seen molecules of 3 to 29 atoms; got atoms=4000"),
        (["sample", "--atoms", "1000000000"], "more than 1,000"),
        (["sample", "--atoms", "-1"], "atoms must be at least 1"),
        (["sample", "-n", "1000000000000"], "at most 10,000,000"),
        (["sample", "--steps", "1000000000"], "steps must be at most 100,000"),
        (["sample", "--seed", "99999999999999999999"], "a seed must fit into 64 bits"),
        (["sample", "--eta", "nan"], "eta must lie in"),
        (["sample", "--grid-power", "nan"], "the power of a grid must be positive"),
        (["sample", "--grid-power", "inf"], "the power of a grid must be positive"),
        (["sample", "--model", "qm"], "did you mean qm9?"),
        (["sample", "-o", "{tmp}/folder.sdf"], "it is a folder"),
        (["sample", "--steps", "0"], "steps must be at least 1"),
        (["sample", "--eta", "2"], "eta must lie in"),
        (["sample", "-o", "molecules.pdb"], "expected a name that ends in"),
        (["sample", "-o", "{tmp}/no/m.sdf"], "does not exist"),
        (["sample", "--keep", "pretty"], "unknown filter pretty"),
        (["sample", "--device", "toaster"], "device must be"),
        (["evaluate", "{tmp}/none.sdf"], "no such file"),
        (["evaluate", "{tmp}/empty.sdf"], "holds no molecule"),
        (["evaluate", "{tmp}/water.xyz", "--reference", "mars"], "mars"),
        (["leg", "--minutes", "1", "--queue", "{tmp}/none.md"], "no training queue"),
        (["data", "info", "{tmp}/none"], "none"),
        (["sample", "--frobnicate"], "No such option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, tmp_path, arguments, words):
    (tmp_path / "empty.sdf").write_text("")
    (tmp_path / "folder.sdf").mkdir()
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    code, out, err = run(*[argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    assert code == 2, (out, err)
    assert words in err and "Traceback" not in err + out


def test_evaluation_of_a_file_without_a_reference(run, tmp_path):
    write_sdf(tmp_path / "m.sdf", load("qm9").sample(2, steps=2))
    code, out, _ = run("evaluate", tmp_path / "m.sdf", "--reference", "none")
    assert code == 0 and "molecule stability" in out and "novelty" not in out


def test_a_leg_trains_the_top_of_the_queue_and_installs_it(run, tmp_path):
    queue = tmp_path / "training" / "QUEUE.md"
    queue.parent.mkdir()
    queue.write_text(
        "## tiny\n- recipe: edm\n- settings: size=small width=16 depth=1 sample_molecules=0 validate_molecules=8\n"
        "- weights: w/tiny.safetensors\n- raw: w/tiny.raw.safetensors\n- molecules seen: 0\n- metrics: none yet\n"
    )
    options = ["--minutes", "0.01", "--data", "qm9-sample", "--evaluate", "2", "-o", tmp_path / "leg", "--install"]
    code, out, err = run("leg", "--queue", queue, *options)
    assert code == 0, err
    assert "atom stability" in out and "is up to date" in out
    assert load(tmp_path / "w" / "tiny.safetensors").card["molecules_seen"] > 0
    assert "molecules seen: 0" not in queue.read_text()
