"""`coset data ensembles` and `coset data geom`, and how a build that was stopped goes on."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec

import numpy as np
import pytest

from coset.data.atom_order import intact, reference, stereo_kept
from coset.data.ensembles import Ensembles, parts
from coset.ensembles import build as building
from coset.ensembles.build import build, journal_file
from coset.ensembles.requests import requests
from coset.ensembles.search import Search, distinct, searched
from ensemble_files import embedded, whole_entry, write_folder

needs_tblite = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite (coset[eval]) is not installed")
FEW = Search(seeds=6, most=4)
LINES = "CCO ethanol\nC[C@H](O)C\nnonsense bad\nCC(O)F open\nCCO again\nCC[O] radical\n\n# a remark\n[H][H]\n[He]\n"


def rows(path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@needs_tblite
def test_ensembles_of_a_file_of_smiles(run, tmp_path):
    (tmp_path / "a.smi").write_text(LINES)
    code, out, err = run(
        "data", "ensembles", tmp_path / "a.smi", "-o", tmp_path / "a.npz", "--seeds", 6, "--most", 4, "--workers", 1
    )
    assert code == 0, err
    found = Ensembles.load(tmp_path / "a.npz")
    assert found.key.tolist() == ["ethanol", "line2", "open", "line9", "line10"] and "5 molecules" in out
    assert found.smiles[0] == "CCO" and "@" in found.smiles[2]  # what is left open is settled
    assert (found.split == parts(found.smiles.tolist())).all()
    for row in range(len(found)):
        own, mol = found[row], reference(found[row].smiles)
        assert own.energies[0] == 0 and (np.diff(own.energies) >= 0).all() and own.energies.max() <= 6
        assert intact(mol, own.positions).all() and stereo_kept(mol, own.positions).all()
    assert len(found[0]) >= 2  # anti and gauche
    table = rows(tmp_path / "a.failures.csv")
    assert [row[:2] for row in table] == [["line", "name"], ["3", "bad"], ["5", "again"], ["6", "radical"]]
    assert "no SMILES" in table[1][3] and "same SMILES as line 1" in table[2][3] and "unpaired" in table[3][3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.failures.csv", "a.npz", "a.smi"]


@needs_tblite
def test_a_stopped_build_goes_on_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "a.smi").write_text("CCO\nCCN\nCO\n")
    asked, out = requests(str(tmp_path / "a.smi")), tmp_path / "a.npz"

    def stop(done: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(asked, out, FEW, progress=stop)
    assert not out.exists() and len(journal_file(out).read_text().splitlines()) == 2
    with journal_file(out).open("a") as file:
        file.write('{"key": "half a li')
    done = []

    def counted(text: str, search: Search) -> dict:
        done.append(text)
        return searched(text, search)

    monkeypatch.setattr(building, "searched", counted)
    build(asked, out, FEW)
    assert done == ["CO"] and not journal_file(out).exists()
    build(asked, tmp_path / "b.npz", FEW)
    assert len(done) == 4 and out.read_bytes() == (tmp_path / "b.npz").read_bytes()


@needs_tblite
def test_results_of_other_settings_count_for_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.smi").write_text("CO\n")
    asked, out = requests(str(tmp_path / "a.smi")), tmp_path / "a.npz"
    journal_file(out).write_text(json.dumps({"key": "0" * 32, "found": {"reason": "earlier"}}) + "\n")
    assert build(asked, out, FEW).molecules == 1


@needs_tblite
def test_a_file_without_a_molecule_that_succeeds_is_told(run, tmp_path):
    (tmp_path / "a.smi").write_text("nonsense\n")
    code, _, err = run("data", "ensembles", tmp_path / "a.smi", "-o", tmp_path / "a.npz")
    assert code == 2 and "no molecule is left" in err and not (tmp_path / "a.npz").exists()
    assert rows(tmp_path / "a.failures.csv")[1][2] == "nonsense"


def test_duplicates_are_near_in_energy_and_in_place():
    """Equal up to equivalent atoms and a rotation; the hydrogen of OH counts, those of CH3 do not."""
    mol = embedded("CC(C)CO", 1)
    first = mol.GetConformer().GetPositions()
    turned = first @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    swapped = first.copy()
    order = list(range(len(first)))
    order[0], order[2] = 2, 0  # the two methyl groups, whose hydrogens are not looked at
    swapped = first[order]
    hydroxyl = next(a.GetIdx() for a in mol.GetAtomWithIdx(4).GetNeighbors() if a.GetAtomicNum() == 1)
    other = first.copy()
    other[hydroxyl] = 2 * first[4] - first[hydroxyl]
    positions = np.stack([first, turned, swapped, other, first])
    kept = distinct(mol, positions, np.array([0.0, 0.05, 0.05, 0.05, 0.2]), Search())
    assert kept.tolist() == [0, 3, 4]


@pytest.mark.parametrize("name", ["seeds", "most", "window", "same_energy", "same_rmsd", "seconds"])
def test_settings_are_above_zero(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        Search(**{name: 0})


def test_geom_is_converted(run, tmp_path):
    write_folder(tmp_path / "geom", {each: whole_entry(each) for each in ("CCO", "C/C=C/CO")} | {"CCC": b"broken"})
    code, out, err = run("data", "geom", tmp_path / "geom", "-o", tmp_path / "a.npz", "--most", 2)
    assert code == 0, err
    assert "2 molecules" in out and "molecules left out: 1 (damaged pickle)" in out and "a.failures.csv" in out
    assert Ensembles.load(tmp_path / "a.npz").counts.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ensembles", "{tmp}/none.smi", "-o", "{tmp}/a.npz"], "no such file"),
        (["ensembles", "{tmp}/a.smi", "-o", "{tmp}/a.sdf"], "ends in .npz"),
        (["ensembles", "{tmp}/a.smi", "-o", "{tmp}/a.npz", "--window", "0"], "window must be above 0"),
        (["ensembles", "{tmp}/a.smi", "-o", "{tmp}/none/a.npz"], "create it first"),
        (["geom", "{tmp}/none", "-o", "{tmp}/a.npz"], "no file"),
        (["geom", "{tmp}", "-o", "{tmp}/a.npz"], "no summary"),
        (["geom", "{tmp}", "-o", "{tmp}/a.sdf"], "ends in .npz"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(run, tmp_path, arguments, words):
    (tmp_path / "a.smi").write_text("CCO\n")
    code, out, err = run("data", *(each.replace("{tmp}", str(tmp_path)) for each in arguments))
    assert code == 2 and words in err and "Traceback" not in out + err and len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.smi"]
