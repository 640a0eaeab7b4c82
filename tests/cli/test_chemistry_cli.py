"""`coset evaluate --level full`: PoseBusters, strain, drug-likeness and variation on terminal, in JSON, on the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coset.cli.chemistry import partial
from coset.files import read, write_xyz
from coset.metrics import plausibility
from coset.metrics.plausibility import TESTS
from coset.metrics.variation import VARIATIONS
from coset.molecule import Molecule

pytest.importorskip("posebusters", reason="PoseBusters is not installed: pip install 'coset[eval]'")
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def width() -> int:
    return 80


@pytest.fixture
def file(tmp_path) -> Path:
    """The three smallest molecules, an atom and a heap of atoms."""
    small = sorted(read(DATA / "qm9_200.npz"), key=len)[:3]
    bad = [Molecule(np.array([6]), np.zeros((1, 3))), Molecule(np.array([6] * 12), np.zeros((12, 3)))]
    write_xyz(tmp_path / "some.xyz", [*small, *bad])
    return tmp_path / "some.xyz"


def test_full_is_told_alike_on_terminal_in_json_and_on_the_page(run, file, tmp_path, monkeypatch):
    code, out, err = run("evaluate", file, "--level", "full", "--json", "--workers", 1)
    assert (code, err) == (0, "") and not partial(file).exists()
    full = json.loads(out)["full"]
    assert set(full) == {"posebusters", "strain", "druglikeness", "variation"}
    assert full["posebusters"]["molecules"] == 5 and set(full["posebusters"]["passed"]) == set(TESTS)
    assert full["posebusters"]["reasons"]["single atom"] == 1
    assert full["strain"]["mmff"]["molecules"] == 5 and full["strain"]["mmff"]["failures"]
    assert set(VARIATIONS) < set(full["variation"]) and full["druglikeness"]["molecules"] == 5

    monkeypatch.setattr(plausibility, "plausible", lambda atoms: {"crashed": True})
    code, out, err = run("evaluate", file, "--level", "full", "--report", tmp_path / "r.html", "--workers", 1)
    assert (code, err) == (0, "")
    lines = out.split("report ->")[0].splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in out
    page = (tmp_path / "r.html").read_text()
    for told in ("PoseBusters", "internal energy", "MMFF94, kcal/mol", "SA score", "rings of 3", "Variation by kind"):
        assert told in out and told in page
    assert page.count('href="#chemistry"') == page.count('id="chemistry"') == 1
    assert "5 crashed" in " ".join(out.split())


def test_a_run_that_was_stopped_goes_on_where_it_was(run, file, monkeypatch):
    calls = []
    real = plausibility.plausible

    def stops(atoms):
        calls.append(len(atoms))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(atoms, energy=False)

    monkeypatch.setattr(plausibility, "plausible", stops)
    code, _, _ = run("evaluate", file, "--level", "full", "--workers", 1)
    assert code == 130 and len(partial(file).read_text().splitlines()) == 1
    code, _, _ = run("evaluate", file, "--level", "full", "--workers", 1, "--json")
    assert code == 0 and len(calls) == 2 + 4 and calls[0] not in calls[2:3] and not partial(file).exists()


def test_fast_is_the_default_and_has_none_of_it(run, file):
    code, out, _ = run("evaluate", file, "--json")
    assert code == 0 and "full" not in json.loads(out)


def test_without_the_extra_or_molecules_one_sentence_says_so(run, file, tmp_path, monkeypatch):
    (tmp_path / "empty.xyz").write_text("")
    code, out, err = run("evaluate", tmp_path / "empty.xyz", "--level", "full")
    assert code == 2 and out == "" and err.count("\n") == 1
    code, out, err = run("evaluate", file, "--level", "slow")
    assert code == 2 and "Traceback" not in err
    monkeypatch.setattr(plausibility, "find_spec", lambda name: None)
    code, out, err = run("evaluate", file, "--level", "full")
    assert code == 2 and out == "" and "pip install 'coset[eval]'" in err and err.count("\n") == 1


def test_molecules_larger_than_the_references_are_told_in_one_line(run, tmp_path):
    molecules = read(DATA / "qm9_200.npz")[:6]
    numbers = np.concatenate([m.numbers for m in molecules[3:6]])
    far = np.concatenate([m.positions + 20 * i for i, m in enumerate(molecules[3:6])])
    write_xyz(tmp_path / "m.xyz", [*molecules, Molecule(numbers, far)])
    code, out, err = run("evaluate", tmp_path / "m.xyz", "--reference", "qm9-small", "--json")
    larger = json.loads(out)["larger"]
    assert code == 0 and larger["limit"] == 14 and larger["counts"]["molecules"] >= 1
    assert err.count("\n") == 1 and "than the largest of qm9-small (14)" in err and "valid and connected" in err
