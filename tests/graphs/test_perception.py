"""Stereochemistry that a SMILES leaves open is what the conformers have, where all of them agree."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from coset.graphs.graph import graph_of, read_smiles
from coset.graphs.perception import read_seen, with_seen_stereo
from coset.graphs.stereo import Stereo


def shapes(smiles: str, count: int = 3) -> np.ndarray:
    mol = read_smiles(smiles)
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=3)
    return np.stack([each.GetPositions() for each in mol.GetConformers()])


def unmarked(smiles: str) -> str:
    return smiles.replace("@", "").replace("/", "").replace("\\", "")


@pytest.mark.parametrize(
    "marked",
    ["C[CH](O)[CH](F)Cl".replace("[CH](O)", "[C@H](O)").replace("[CH](F)", "[C@@H](F)"), "F/C=C/C", "F/C=C\\C",
     "O=C[C@@H]1CCOC[C@H]1O", "C[C@H]1CN1C", "C/C=C/[C@H](C)O"],
)  # fmt: skip
def test_what_is_seen_is_what_was_marked(marked):
    plain, positions = unmarked(marked).replace("[CH]", "C"), shapes(marked)
    assert len(Stereo.of(read_smiles(plain))) == 0
    seen, asked = read_seen(plain, positions), read_smiles(marked)
    assert Chem.MolToSmiles(Chem.RemoveHs(seen)) == Chem.MolToSmiles(Chem.RemoveHs(asked))
    assert Stereo.of(seen).all_right(positions).all() and seen.GetNumConformers() == 0


def test_the_graph_is_that_of_the_marked_smiles():
    marked, plain = "C[C@H](O)CN", "CC(O)CN"
    ours, theirs = graph_of(read_seen(plain, shapes(marked))), graph_of(read_smiles(marked))
    assert ours.edges.equal(theirs.edges) and ours.nodes.equal(theirs.nodes)
    mirror = graph_of(read_seen(plain, -shapes(marked)))
    assert not mirror.edges.equal(theirs.edges)


def test_what_conformers_disagree_on_stays_open():
    positions = shapes("C[C@H](O)CN")
    assert len(Stereo.of(read_seen("CC(O)CN", np.concatenate([positions, -positions])))) == 0
    ends = np.concatenate([shapes("F/C=C/C"), shapes("F/C=C\\C")])
    assert len(Stereo.of(read_seen("FC=CC", ends))) == 0
    both = np.concatenate([shapes("C/C=C/[C@H](C)O"), shapes("C/C=C\\[C@H](C)O")])
    assert [len(part) for part in (Stereo.of(read_seen("CC=CC(C)O", both)).centres,)] == [1]


def test_marks_that_are_there_stay_whatever_the_positions():
    for marked in ("C[C@H](O)CN", "F/C=C/C"):
        asked = read_smiles(marked)
        wrong = -shapes(marked) if "@" in marked else shapes("F/C=C\\C")
        kept = with_seen_stereo(asked, wrong)
        assert Chem.MolToSmiles(kept) == Chem.MolToSmiles(asked)
        assert not Stereo.of(kept).all_right(wrong).any()


def test_nothing_to_see_changes_nothing():
    mol = read_smiles("CC(O)CN")
    assert len(Stereo.of(with_seen_stereo(mol, np.zeros((0, 13, 3))))) == 0
    with pytest.raises(ValueError, match="shape"):
        with_seen_stereo(mol, np.zeros((1, 4, 3)))
