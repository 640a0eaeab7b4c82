"""Plausible conformers: a table that resumes, and stereo that RDKit reads for itself."""

from __future__ import annotations

import json

import pytest

from coset.ensembles.methods import Method, with_conformers
from coset.ensembles.plan import Plan
from coset.ensembles.requests import of_smiles
from coset.graphs.graph import read_smiles
from coset.reproduce import plausible_conformers as table
from coset.reproduce.plausible_conformers import Study, read_by_rdkit, run
from ensemble_files import SMILES, embedded, ensemble

ASKED = [of_smiles(smiles, line) for line, smiles in enumerate((*SMILES[:3], "C[Si]"), 1)]


class Embedded(Method):
    """Gives conformers that are made already, and counts its calls."""

    name = "embedded"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.calls = scale, 0

    def positions(self, mols, counts, seeds):
        self.calls += 1
        found = {mol.GetNumAtoms(): ensemble(smiles).positions for smiles in SMILES[:3] for mol in [embedded(smiles)]}
        return [self.scale * found[mol.GetNumAtoms()][:count] for mol, count in zip(mols, counts, strict=True)]


@pytest.mark.parametrize("smiles", ["C[C@H](O)CN", "C/C=C/CO", "C[C@@H](F)[C@H](Cl)O"])
def test_rdkit_reads_the_stereo_asked_for_and_no_other(smiles):
    mol = read_smiles(smiles)
    right = ensemble(smiles, 1).positions
    assert read_by_rdkit(with_conformers(mol, right), 0)
    other = smiles.replace("/CO", "\\CO") if "=" in smiles else smiles
    wrong = with_conformers(read_smiles(other), right if "=" in smiles else -right)
    assert not read_by_rdkit(wrong, 0)


def test_rows_are_measured_once_and_go_on_from_whole_portions(tmp_path, monkeypatch):
    pytest.importorskip("posebusters")
    monkeypatch.setattr(table, "PORTION", 1)
    study, method = Study.of("four.smi", ASKED), Embedded()
    kept = tmp_path / "four, as drawn.jsonl"

    def stop(done: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, ASKED, {"four": method}, tmp_path, begin=lambda row: stop)
    assert len(kept.read_text().splitlines()) == method.calls == 2
    with kept.open("a") as file:
        file.write('{"key": "emb')  # as a power cut leaves it
    record = run(study, ASKED, {"four": method}, tmp_path)
    row = record.rows["four, as drawn"]
    assert method.calls == 3 and not kept.exists()
    assert (row["molecules"], row["conformers"], row["right"], row["passed"]["all tests"]) == (3, 3, 3, 3)
    assert "radical" in "".join(row["reasons"]) and sum(row["reasons"].values()) == 1
    run(study, ASKED, {"four": method}, tmp_path)
    assert method.calls == 3 and json.loads((tmp_path / "rows.json").read_text())["settings"]["molecules"] == 4
    assert "| four, as drawn | 3 | 3 | 100.0 | 100.0 |" in (tmp_path / "report.md").read_text()


def test_a_test_that_none_passes_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PORTION", 1)
    counts = {"wall": 1.0, "seconds": 1.0, "molecules": 1, "conformers": 1, "right": 1, "reasons": {}}
    kept = tmp_path / "one.jsonl"
    kept.write_text(2 * (json.dumps({"key": "embedded", **counts, "passed": {"bond_lengths": 0, "clash": 1}}) + "\n"))
    row = table._row(Embedded(), ASKED[:2], Plan(1), kept, lambda done: None)
    assert row["passed"] == {"bond_lengths": 0, "clash": 2} and row["conformers"] == 2
    assert "bond lengths 0.0" in table._line("one", row)[5]


def test_portions_of_another_model_are_not_taken_for_these(tmp_path):
    kept = tmp_path / "one.jsonl"
    kept.write_text('{"key": "a"}\n{"key": "b"}\n')
    assert table._portions(kept, "a") == [{"key": "a"}] and kept.read_text() == '{"key": "a"}\n'
    assert table._portions(kept, "b") == []


def test_bonds_that_are_too_long_fail_a_test_of_posebusters():
    pytest.importorskip("posebusters")
    mol = embedded("CCCC", 1)
    stretched = with_conformers(mol, 1.4 * ensemble("CCCC", 1).positions)
    assert not all(table.plausible_conformer(stretched).values())
    assert all(table.plausible_conformer(with_conformers(mol, ensemble("CCCC", 1).positions)).values())
