"""`coset evaluate` and `coset models`: what they print, what they write, how they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import coset
from coset.cli.cards import changed_settings, describe
from coset.files import read, write_sdf, write_xyz
from coset.metrics.distances import DISTANCES
from coset.metrics.reference import save_reference
from coset.metrics.reference_building import build_reference
from coset.model import load
from coset.model_files import list_models
from coset.molecule import Molecule
from coset.recipes.registry import find_recipe

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def width() -> int:
    return 80


def test_an_sd_file_is_scored_by_distances_and_by_its_own_bonds(run):
    code, out, err = run("evaluate", DATA / "charged.sdf", "--reference", "none", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["valid"] < 16 and found["file_bonds"]["counts"]["valid"] == 16
    assert found["file_bonds"]["rates"]["validity"]["value"] == 1
    assert not {"measured", "known"} & set(found)
    code, out, _ = run("evaluate", DATA / "charged.sdf", "--reference", "none")
    assert code == 0 and "file's" in out
    assert max(map(len, out.splitlines())) <= 80 and "…" not in out


def test_files_without_bonds_have_no_such_column(run, tmp_path):
    write_xyz(tmp_path / "m.xyz", read(DATA / "qm9_200.npz")[:4])
    for file in (tmp_path / "m.xyz", DATA / "qm9_200.npz"):
        code, out, _ = run("evaluate", file)
        assert code == 0 and "file's" not in out
    code, out, _ = run("evaluate", tmp_path / "m.xyz", "--json")
    assert json.loads(out)["file_bonds"] is None


def test_distances_stand_beside_the_datas_own_in_terminal_json_and_page(run, tmp_path):
    file = DATA / "qm9_200.npz"
    code, out, _ = run("evaluate", file, "--report", tmp_path / "r.html")
    assert code == 0 and max(map(len, out.split("report ->")[0].splitlines())) <= 80 and "…" not in out
    page = (tmp_path / "r.html").read_text()
    found = json.loads(run("evaluate", file, "--json")[1])
    assert set(found["distances"]) == set(found["data_distances"]) == set(DISTANCES)
    for name, value in found["distances"].items():
        shown = DISTANCES[name]
        if name.startswith("missing") and not value:
            assert shown.name not in out and shown.name not in page
            continue
        own = shown.text(found["data_distances"][name])
        (line,) = [line for line in out.splitlines() if shown.name in line]
        assert [shown.text(value), own] == line.replace("│", " ").split(shown.name)[1].split()[:2]
        assert shown.name in page and f"<td>{shown.text(value)}</td>".replace("-", "&minus;") in page


def test_elements_that_the_reference_lacks_are_named(run, tmp_path):
    code, _, err = run("evaluate", DATA / "charged.sdf", "--json")
    assert code == 0 and "qm9 holds no Na, P, S, Cl" in err and "coset data reference" in err
    molecules = read(DATA / "charged.sdf")
    save_reference(tmp_path / "own.npz", build_reference("own", molecules, molecules))
    code, out, err = run("evaluate", DATA / "charged.sdf", "--reference", tmp_path / "own.npz", "--json")
    assert (code, err) == (0, "") and json.loads(out)["novel"] == 0


def test_the_page_says_what_was_run(run, tmp_path):
    molecules = [
        Molecule(m.numbers, m.positions, {"model": "qm9", "seed": 4, "steps": 7 + i % 2})
        for i, m in enumerate(read(DATA / "qm9_200.npz")[:6])
    ]
    write_sdf(tmp_path / "m.sdf", molecules)
    code, out, _ = run("evaluate", tmp_path / "m.sdf", "--report", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert code == 0 and "report ->" in out
    for name, value in {"file": "m.sdf", "seed": "4", "steps": "several", "coset": coset.__version__}.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text
    card = list_models()["qm9"]
    assert f"<dd>{card['parameters']:,}</dd>" in text and f"<dd>{card['molecules_seen']:,}</dd>" in text
    assert "nearly all with fluorine" in text and str(tmp_path) not in text


def test_a_page_that_cannot_be_written_is_refused_before_the_work(run, tmp_path):
    code, out, err = run("evaluate", DATA / "charged.sdf", "--report", tmp_path / "no" / "r.html")
    assert code == 2 and out == "" and "does not exist" in err


@pytest.mark.parametrize("content", [b"", b"not a reference", b"PK\x03\x04 and then nothing"])
def test_a_broken_reference_is_one_sentence(run, tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    code, _, err = run("evaluate", DATA / "charged.sdf", "--reference", tmp_path / "own.npz")
    assert code == 2 and "is not a whole reference file" in err and "Traceback" not in err


def test_molecules_of_one_and_of_five_hundred_atoms(run, tmp_path):
    rng = np.random.default_rng(0)
    large = Molecule(rng.choice([1, 6, 16, 17], size=500), rng.normal(scale=12, size=(500, 3)))
    write_sdf(tmp_path / "m.sdf", [Molecule(np.array([2]), np.zeros((1, 3))), large])
    code, out, _ = run("evaluate", tmp_path / "m.sdf", "--reference", "none", "--json", "--report", tmp_path / "r.html")
    assert code == 0 and json.loads(out)["atoms"] == 501


def test_a_models_card_and_its_table(run):
    code, out, _ = run("models", "qm9", "--json")
    card = json.loads(out)
    # In fp16: two bytes a parameter, names and card besides.
    assert len(card["sha256"]) == 64 and card["name"] == "qm9" and 2 < card["bytes"] / card["parameters"] < 2.1
    code, out, _ = run("models")
    assert code == 0 and f"{card['bytes'] / 1e6:.1f} MB" in out and "coset models NAME" in out
    code, out, _ = run("models", "qm9")
    assert code == 0 and "SHA-256" in out and f"{card['parameters']:,}" in out and "molecule stability" in out


def test_settings_that_differ_are_told_beside_the_default():
    settings = find_recipe("edm").resolve({"size": "small", "depth": 6}).model_dump(mode="json")
    card = {**list_models()["qm9"], "recipe": "edm", "settings": settings}
    size, changed = changed_settings(card)
    assert size == "small" and changed["depth"] == (5, 6) and "width" not in changed
    assert describe(card)["Settings unlike edm, size small"]["depth"] == "6 (default 5)"


def test_weights_are_checked_against_their_card(run, tmp_path):
    model = load("qm9")
    model.save(tmp_path / "own.safetensors")
    card = json.loads((tmp_path / "own.json").read_text())
    code, out, _ = run("models", tmp_path / "own.safetensors", "--verify")
    assert code == 0 and card["sha256"] in out
    del card["sha256"]
    (tmp_path / "own.json").write_text(json.dumps(card))
    code, out, _ = run("models", tmp_path / "own.safetensors", "--verify")
    assert code == 0 and "states no checksum" in out
    shutil.copy(tmp_path / "own.safetensors", tmp_path / "other.safetensors")
    (tmp_path / "other.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    code, out, err = run("models", tmp_path / "other.safetensors", "--verify")
    assert code == 2 and out == "" and "copy both files again" in err
    code, out, _ = run("models", tmp_path / "other.safetensors")
    assert code == 0 and "its card states another" in " ".join(out.split())


def test_a_model_that_is_not_there(run, tmp_path):
    code, _, err = run("models", "qm8")
    assert code == 2 and "no model 'qm8'" in err
    (tmp_path / "m.safetensors").write_bytes(b"nothing")
    code, _, err = run("models", tmp_path / "m.safetensors", "--verify")
    assert code == 2 and "Traceback" not in err


def test_both_protocols_of_drugs_stand_in_terminal_json_and_page(run, tmp_path):
    arguments = ("evaluate", DATA / "charged.sdf", "--reference", "drug-like", "--workers", 1)
    code, out, err = run(*arguments, "--report", tmp_path / "r.html")
    assert code == 0 and "drug-like holds no Na" in err
    tables = out.split("report ->")[0]
    assert max(map(len, tables.splitlines())) <= 80 and "…" not in tables
    (published, corrected) = [
        line.replace("│", " ").split() for line in tables.splitlines() if "atom stability" in line
    ]
    found = json.loads(run(*arguments, "--json")[1])
    assert found["protocol"] == "drugs" and found["reference"] == "drug-like"
    for line, value, own in (
        (published, found["rates"]["atom_stability"]["value"], found["data"]["atom_stability"]),
        (
            corrected,
            found["corrected"]["rates"]["atom_stability"]["value"],
            found["corrected"]["data"]["atom_stability"],
        ),
    ):
        assert line[2] == f"{100 * value:.2f}" and f"{100 * own:.2f}" in line
    assert found["file_bonds"]["counts"]["valid"] == 16 and found["file_bonds"]["data"] is None
    page = (tmp_path / "r.html").read_text()
    neutral = 100 * found["corrected"]["rates"]["valid_and_neutral"]["value"]
    assert 'data-label="corrected"' in page and f"<b>{neutral:.1f}</b>" in page and "by the file’s bonds" in page
    assert "every bond single" in page and "<dt>protocol</dt><dd>drugs</dd>" in page


def test_the_protocol_of_drugs_needs_no_reference(run):
    code, out, _ = run("evaluate", DATA / "charged.sdf", "--reference", "none", "--protocol", "drugs", "--json")
    found = json.loads(out)
    assert code == 0 and found["corrected"]["counts"]["valid"] > found["valid"] - 2 and found["data"] is None
    code, _, err = run("evaluate", DATA / "charged.sdf", "--protocol", "drugs")
    assert code == 2 and "The reference qm9 is by the protocol qm9" in err and "Traceback" not in err
    code, _, err = run("evaluate", DATA / "charged.sdf", "--reference", "none", "--protocol", "edm")
    assert code == 2 and "choose one of qm9, drugs" in err


def test_a_reference_measured_into_a_store_is_found_by_its_name(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path))
    write_xyz(tmp_path / "m.xyz", read(DATA / "qm9_200.npz")[:40])
    code, _, err = run("data", "build", tmp_path / "m.xyz", "-o", tmp_path / "own", "--test", "0.4")
    assert code == 0, err
    code, _, err = run("evaluate", tmp_path / "m.xyz", "--reference", "own")
    assert code == 2 and "coset data reference NAME" in err
    code, out, _ = run("data", "reference", tmp_path / "own", "--protocol", "drugs", "--workers", 1)
    assert code == 0 and "protocol drugs" in out and (tmp_path / "own" / "reference.npz").is_file()
    code, out, _ = run("evaluate", tmp_path / "m.xyz", "--reference", "own", "--workers", 1, "--json")
    assert code == 0 and json.loads(out)["protocol"] == "drugs"
