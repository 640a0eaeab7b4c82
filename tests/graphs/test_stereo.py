"""Laws of stereochemistry from positions: the rule is RDKit's, doubt is no pass, and repairs do only what they say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from coset.graphs.graph import read_smiles
from coset.graphs.stereo import Stereo, described, mirrored, repaired

MARKS = {  # tetrahedral centres and double bonds
    "C[C@H](O)[C@@H](F)Cl": (2, 0), "C[C@H](O)[C@H](O)[C@@H](C)O": (3, 0), "C[C@H]1CC[C@@H](C)CC1": (2, 0),
    "C/C=C/C(/F)=C/C": (0, 2), "[H]/N=C/C": (0, 1), "CC[S@](C)=O": (1, 0), "C[P@](=O)(O)N": (1, 0),
    "C[N@@+](CC)(CCC)CO": (1, 0), "C1CC[C@@H]2CCCC[C@@H]2C1": (2, 0), "C[C@@]12CC[C@@H](C1(C)C)CC2=O": (2, 0),
    "C1CCCC/C=C/C1": (0, 1), "F/C(Cl)=C(/Br)[C@H](N)C": (1, 1), "O[C@H]1CN[C@@H]1C": (2, 0),
    "F[C@H]1O[C@@H]1Cl": (2, 0),
}  # fmt: skip


@cache
def embedded(smiles: str, count: int = 3) -> tuple[Chem.Mol, np.ndarray]:
    mol = read_smiles(smiles)
    found = Chem.Mol(mol)
    AllChem.EmbedMultipleConfs(found, count, randomSeed=5)
    positions = np.stack([conformer.GetPositions() for conformer in found.GetConformers()])
    positions.setflags(write=False)
    return mol, positions


def other(smiles: str, asked: str) -> tuple[Chem.Mol, Stereo, np.ndarray]:
    """Positions of one stereoisomer for the request of another, written with the atoms in the same order."""
    mol = read_smiles(asked)
    given, positions = embedded(smiles)
    assert [a.GetSymbol() for a in mol.GetAtoms()] == [a.GetSymbol() for a in given.GetAtoms()]
    return mol, Stereo.of(mol), positions


def by_rdkit(mol: Chem.Mol, stereo: Stereo, positions: np.ndarray) -> list[bool]:
    """Whether tags and labels that RDKit takes from positions are those of the molecule, mark by mark."""
    copy = Chem.Mol(mol)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(positions))
    copy.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    tags = [
        copy.GetAtomWithIdx(c).GetChiralTag() == mol.GetAtomWithIdx(c).GetChiralTag() for c in stereo.centres.tolist()
    ]
    return tags + [
        copy.GetBondBetweenAtoms(a, b).GetStereo() == mol.GetBondBetweenAtoms(a, b).GetStereo()
        for _, a, b, _ in stereo.double_bonds.tolist()
    ]


def moved_atoms(before: np.ndarray, after: np.ndarray) -> set[int]:
    return set(np.flatnonzero((before != after).any(-1)).tolist())


def bond_lengths(mol: Chem.Mol, positions: np.ndarray) -> np.ndarray:
    return np.array(
        [np.linalg.norm(positions[b.GetBeginAtomIdx()] - positions[b.GetEndAtomIdx()]) for b in mol.GetBonds()]
    )


@pytest.mark.parametrize("smiles", MARKS)
def test_the_rule_is_rdkits_on_conformers_and_on_their_mirror_images(smiles):
    mol, positions = embedded(smiles)
    stereo = Stereo.of(mol)
    assert (len(stereo.centres), len(stereo.double_bonds)) == MARKS[smiles]
    for x in (positions, -positions):
        assert stereo.right(x).tolist() == [by_rdkit(mol, stereo, each) for each in x]
    right, image = stereo.right(positions), stereo.right(-positions)
    assert right.all() and stereo.all_right(positions).all()
    assert not image[:, : len(stereo.centres)].any() and image[:, len(stereo.centres) :].all()


def test_marks_do_not_change_when_conformers_move_or_atoms_are_renumbered():
    mol, positions = embedded("F/C(Cl)=C(/Br)[C@H](N)C")
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms())
    renumbered = Stereo.of(Chem.RenumberAtoms(mol, order.tolist()))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    assert renumbered.all_right(positions[:, order] @ turn.T + 3).all()


def test_only_what_is_asked_for_is_a_mark():
    for smiles in ("CC(F)Cl", "FC=CCl", "CC=NO", "C1CCC=CC1", "C[C@H](C)C"):
        mol, positions = embedded(smiles)
        stereo = Stereo.of(mol)
        assert len(stereo) == 0 and stereo.right(positions).shape == (3, 0)
        x, kept = repaired(mol, stereo, positions)
        assert np.array_equal(x, positions) and kept.all()


def test_double_bonds_may_be_called_cis_and_trans():
    mol, positions = embedded("C/C=C/C")
    mol = Chem.Mol(mol)
    mol.GetBondWithIdx(1).SetStereo(Chem.BondStereo.STEREOTRANS)
    stereo = Stereo.of(mol)
    assert stereo.labels == ("trans",) and stereo.all_right(positions).all()


def test_a_flat_centre_passes_for_neither_hand():
    """The carbon of CHFClO in the plane of three neighbours, then ever nearer to its place."""
    mol, positions = embedded("O[C@H](F)Cl")
    stereo = Stereo.of(mol)
    centre = stereo.centres[0]
    p, q, r = positions[0][stereo.corners[0, :3]]
    normal = np.cross(q - p, r - p)
    flat = positions[0].copy()
    flat[centre] -= normal * ((flat[centre] - p) @ normal) / (normal @ normal)
    steps = np.array([flat + t * (positions[0] - flat) for t in (0, 0.05, 0.1, 1)])
    assert stereo.right(steps)[:, 0].tolist() == [False, False, False, True]
    assert not stereo.right(-steps).any()


def test_a_centre_outside_its_four_neighbours_passes_for_neither_hand():
    mol, positions = embedded("O[C@H](F)Cl")
    stereo = Stereo.of(mol)
    *three, fourth = stereo.corners[0]
    inside_out = positions.copy()
    away = positions[:, three].mean(1) - positions[:, stereo.centres[0]]
    inside_out[:, fourth] = positions[:, three].mean(1) + 3 * away  # to the others' side, and beyond their plane
    assert stereo.right(positions).all() and not stereo.right(inside_out).any() and not stereo.right(-inside_out).any()


def test_a_twisted_double_bond_passes_for_neither_side():
    mol, positions = embedded("C/C=C/C")
    other_mol, _ = embedded("C/C=C\\C")
    twisted = Chem.Mol(mol)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.array(positions[0]))
    twisted.AddConformer(conformer)
    found = []
    for degrees in (0, 50, 70, 110, 130, 180):
        AllChem.SetDihedralDeg(twisted.GetConformer(), 0, 1, 2, 3, degrees)
        x = twisted.GetConformer().GetPositions()[None]
        found.append((bool(Stereo.of(mol).right(x)[0, 0]), bool(Stereo.of(other_mol).right(x)[0, 0])))
    assert found == 2 * [(False, True)] + 2 * [(False, False)] + 2 * [(True, False)]


def test_what_is_not_finite_or_in_one_point_passes_nothing_and_is_not_kept():
    for smiles in ("C[C@H](O)[C@@H](F)Cl", "C/C=C/C"):
        mol, positions = embedded(smiles)
        stereo = Stereo.of(mol)
        bad = np.stack(
            [positions[0], np.full_like(positions[0], np.nan), np.zeros_like(positions[0]), 1e200 * positions[1]]
        )
        bad[3, 0, 0] = np.inf
        assert stereo.all_right(bad).tolist() == [True, False, False, False]
        x, kept = repaired(mol, stereo, bad)
        assert kept.tolist() == [True, False, False, False] and np.array_equal(x, bad, equal_nan=True)
    mol, positions = embedded("CC(F)Cl")
    assert repaired(mol, Stereo.of(mol), positions * np.nan)[1].tolist() == [False] * 3


def test_positions_of_another_molecule_are_refused():
    mol, positions = embedded("C/C=C/C")
    for wrong in (positions[0], positions[:, :4]):
        with pytest.raises(ValueError, match=r"shape \(k, 12, 3\)"):
            Stereo.of(mol).right(wrong)


@pytest.mark.parametrize(
    ("given", "asked", "branches"),
    [
        # Fluorine and hydrogen change places, methyl and hydrogen of a ring, oxygen and a lone pair.
        ("C[C@H](O)[C@@H](F)[C@H](N)CC", "C[C@H](O)[C@H](F)[C@H](N)CC", "FH"),
        ("C[C@H]1CC[C@@H](C)CC1", "C[C@H]1CC[C@H](C)CC1", "CHHHH"),
        ("C[C@H]1CCC[S@@]1=O", "C[C@H]1CCC[S@]1=O", "O"),
    ],
)  # fmt: skip
def test_one_wrong_centre_is_put_right_and_nothing_else_moves(given, asked, branches):
    mol, stereo, positions = other(given, asked)
    assert (~stereo.right(positions)).sum(1).tolist() == [1, 1, 1]
    wrong = int(stereo.centres[np.flatnonzero(~stereo.right(positions)[0])[0]])
    x, kept = repaired(mol, stereo, positions)
    assert kept.all() and stereo.right(x).all()
    for before, after in zip(positions, x, strict=True):
        moved = moved_atoms(before, after)
        assert "".join(sorted(stereo.symbols[atom] for atom in moved)) == branches
        assert len(moved & {a.GetIdx() for a in mol.GetAtomWithIdx(wrong).GetNeighbors()}) == min(2, len(branches))
        np.testing.assert_allclose(bond_lengths(mol, after), bond_lengths(mol, before), atol=1e-9)
        assert by_rdkit(mol, stereo, after) == [True] * len(stereo)


def test_a_double_bond_is_turned_on_its_smaller_side_and_hands_stay():
    mol, stereo, positions = other("C[C@H](O)/C=C/CC", "C[C@H](O)/C=C\\CC")
    assert stereo.right(positions).tolist() == [[True, False]] * 3
    x, kept = repaired(mol, stereo, positions)
    assert kept.all() and stereo.right(x).all()
    ethyl = [a.GetIdx() for a in mol.GetAtoms() if {4, 5, 6} & {a.GetIdx(), *(n.GetIdx() for n in a.GetNeighbors())}]
    rest = sorted(set(range(mol.GetNumAtoms())) - set(ethyl) | {3})
    for before, after in zip(positions, x, strict=True):
        assert np.array_equal(after[rest], before[rest])
        np.testing.assert_allclose(bond_lengths(mol, after), bond_lengths(mol, before), atol=1e-9)


def test_a_cage_with_every_centre_wrong_is_mirrored():
    mol, positions = embedded("C[C@@]12CC[C@@H](C1(C)C)CC2=O")
    stereo = Stereo.of(mol)
    x, kept = repaired(mol, stereo, -positions)
    assert kept.all() and np.array_equal(x, positions)
    assert np.array_equal(mirrored(stereo, -positions), positions)
    assert np.array_equal(mirrored(stereo, positions), positions)


def test_a_mirror_image_may_need_a_repair_too():
    """Two bridgeheads are wrong and one open centre is right: all but that one can only be mirrored."""
    smiles = "C[C@@]12CC[C@@H](C1(C)C)CC2=N[C@H](F)C"
    mol, stereo, positions = other(smiles, smiles.replace("N[C@H](F)C", "N[C@@H](F)C"))
    x, kept = repaired(mol, stereo, -positions)
    assert (~stereo.right(-positions)).sum(1).tolist() == [2, 2, 2] and np.array_equal(
        mirrored(stereo, -positions), -positions
    )
    assert kept.all() and stereo.right(x).all()


@pytest.mark.parametrize(
    ("given", "asked"),
    [("C1CC[C@@H]2CCCC[C@@H]2C1", "C1CC[C@@H]2CCCC[C@H]2C1"), ("C1CCCC/C=C\\C1", "C1CCCC/C=C/C1")],
)
def test_what_cannot_be_repaired_comes_back_as_it_was_and_is_not_kept(given, asked):
    mol, stereo, positions = other(given, asked)
    mixed = np.concatenate([positions[:1], embedded(asked)[1][:1], positions[1:]])
    x, kept = repaired(mol, stereo, mixed)
    assert kept.tolist() == [False, True, False, False] and np.array_equal(x, mixed)
    assert all(described(stereo, row) for row in stereo.right(x)[~kept])


def test_repairs_do_not_depend_on_the_company():
    mol, stereo, positions = other("C[C@H](O)[C@@H](F)[C@H](N)CC", "C[C@H](O)[C@H](F)[C@H](N)CC")
    mixed = np.concatenate([positions, -positions])
    together = repaired(mol, stereo, mixed)[0]
    alone = np.concatenate([repaired(mol, stereo, each[None])[0] for each in mixed])
    assert np.array_equal(together, alone)


def test_a_repair_that_would_bring_atoms_together_is_left_out():
    """At each centre of the ring one swap is possible; another atom is put where the heavier branch would go."""
    mol, stereo, positions = other("C[C@H]1CCC[C@@H]1O", "C[C@H]1CCC[C@H]1O")
    assert repaired(mol, stereo, positions)[1].all()
    crowded = positions.copy()
    for blocker, centre in zip((12, 14), stereo.centres.tolist(), strict=True):  # hydrogens of the ring's CH2
        assert mol.GetAtomWithIdx(blocker).GetNeighbors()[0].GetIdx() in (2, 3, 4)
        own = next(a.GetIdx() for a in mol.GetAtomWithIdx(centre).GetNeighbors() if a.GetAtomicNum() == 1)
        crowded[:, blocker] = positions[:, own] + 0.3 * (positions[:, own] - positions[:, centre])
    x, kept = repaired(mol, stereo, crowded)
    assert not kept.any() and np.array_equal(x, crowded)


def test_wrong_marks_are_named():
    mol, positions = embedded("F/C(Cl)=C(/Br)[C@H](N)C")
    stereo = Stereo.of(mol)
    assert described(stereo, stereo.right(positions)[0]) == ""
    assert described(stereo, stereo.right(-positions)[0]) == "centre 6 (C) is flat or has the wrong hand"
    assert described(stereo, np.array([False, False])) == (
        "centre 6 (C) is flat or has the wrong hand; bond 2=4 is not Z, as it should be"
    )
