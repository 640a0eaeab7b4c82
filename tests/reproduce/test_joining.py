"""Joining: which parts of a molecule are kept, and rows that are kept and reported."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rdkit import Chem

from coset.bonds import to_rdkit
from coset.data.catalog import open_dataset
from coset.model import Model
from coset.molecule import QM9, Molecule
from coset.recipes.registry import build, find_recipe
from coset.reproduce import joining
from coset.reproduce.joining import KINDS, Study, run
from coset.samplers.sizes import SizeDistribution

STUDY = Study(data="qm9-sample", fragments=2, draws=3, steps=2)


def kept(kind, smiles):
    """Each part as SMILES of its heavy atoms, hydrogens counted."""
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    found = set()
    for part in KINDS[kind](graph):
        heavy = sum(graph.GetAtomWithIdx(atom).GetAtomicNum() > 1 for atom in part)
        found.add((heavy, len(part) - heavy, len(Chem.GetMolFrags(_only(graph, part)))))
    return found


def _only(graph, part):
    cut = Chem.RWMol(graph)
    for atom in sorted(set(range(graph.GetNumAtoms())) - part, reverse=True):
        cut.RemoveAtom(atom)
    return cut


def test_the_larger_part_at_each_single_bond():
    assert kept("substituent", "CCCO") == {(3, 5, 1), (2, 5, 1), (3, 7, 1)}
    assert kept("substituent", "C1CC1") == set() and kept("substituent", "C=O") == set()


def test_rings_with_what_links_them_and_their_hydrogens():
    assert kept("scaffold", "CC1CC1") == {(3, 5, 1)}  # cyclopropane less one hydrogen
    assert kept("scaffold", "C1CC1CC1CC1C") == {(7, 11, 1)}
    assert kept("scaffold", "C1CC1") == set() and kept("scaffold", "CCC") == set()


def test_two_ends_whose_middle_is_missing():
    assert kept("linker", "CCCCC") == {(4, 10, 2)}
    assert kept("linker", "CC(=O)CC") == set()  # no end of two atoms
    assert all(pieces == 2 for _, _, pieces in kept("linker", "CCOCCOCC"))


def test_molecules_whose_bonds_are_refused_are_passed_over(model, monkeypatch):
    dataset = open_dataset("qm9-sample")
    hydrogens = [[-0.4, 1, 0], [-0.4, -0.5, 0.9], [-0.4, -0.5, -0.9], [-1.1, 0, 0]]  # one too many at the first carbon
    ethane = [[0, 0, 0], [1.5, 0, 0], *hydrogens, *([1.5 - x, y, z] for x, y, z in hydrogens[:3])]
    refused = Molecule(np.array([6, 6, *[1] * 7]), np.array(ethane))
    assert to_rdkit(refused).GetProp("sanitized") == "false"
    cut = []
    monkeypatch.setattr(joining, "_held_out", lambda dataset: dataset.valid[:1])
    monkeypatch.setattr(joining, "Molecule", lambda *_: refused)
    monkeypatch.setattr(joining, "KINDS", {"scaffold": lambda graph: cut.append(graph) or iter(())})
    assert list(joining._fragments(STUDY, model, dataset, "scaffold")) == [] == cut


@pytest.fixture
def model():
    diffusion = build("edm", find_recipe("edm").resolve({"width": 8, "depth": 1}), 5)
    return Model(diffusion, QM9, SizeDistribution(dict.fromkeys(range(3, 30), 1)), {"name": "tiny"})


def test_rows_are_drawn_once_and_reported(model, tmp_path):
    record = run(STUDY, model, tmp_path, ["substituent"], [1, 2])
    assert set(record.rows) == {"free", "substituent, resample 1", "substituent, resample 2"}
    row = record.rows["substituent, resample 2"]
    assert row["drawn"] == [3, 3] and len(row["joined"]) == 2 and row["same"] == 0
    assert record.rows["free"]["drawn"] == [1] * 6
    before = (tmp_path / "rows.json").read_text()
    again = run(STUDY, model, tmp_path, ["substituent"], [1, 2])
    assert again.rows == record.rows and (tmp_path / "rows.json").read_text() == before
    assert json.loads(before)["settings"]["fragments"] == 2
    assert "| substituent | 2 | 2 | 6 |" in (tmp_path / "report.md").read_text()
    with pytest.raises(ValueError, match="unknown kind ring; choose among substituent, scaffold, linker"):
        run(STUDY, model, tmp_path, ["ring"])
