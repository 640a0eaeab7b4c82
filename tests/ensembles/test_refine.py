"""Work after the drawing: minima, duplicates, windows, weights."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from coset.ensembles.methods import positions_of, with_conformers
from coset.ensembles.mmff import held
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.ensembles.refine import AfterWork, relaxed, thinned, whole
from coset.graphs.graph import read_smiles

needs_tblite = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite (coset[eval]) is not installed")


def drawn(smiles: str, count: int):
    mol = read_smiles(smiles)
    return mol, DistanceGeometry().positions([mol], [count], [3])[0]


def test_relaxed_by_mmff_is_at_a_minimum_of_its_own_bonds():
    """A zwitterion and a dication, whose bonds nobody need perceive."""
    for smiles in ("[NH3+]CC(=O)[O-]", "[NH3+]CCC[NH3+]"):
        mol, positions = drawn(smiles, 3)
        found = relaxed([mol], [positions], "mmff")[0]
        assert len(found.positions) == 3 and not found.lost
        shaped = with_conformers(mol, found.positions)
        types = rdForceFieldHelpers.MMFFGetMoleculeProperties(shaped)
        for number, energy in enumerate(found.energies):
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(shaped, types, confId=number)
            assert field.CalcEnergy() == pytest.approx(energy, abs=1e-6)
            assert np.abs(field.CalcGrad()).max() < 0.05


def test_relaxation_says_what_is_lost():
    mol, positions = drawn("CB(O)O", 2)
    found = relaxed([mol], [positions], "mmff")[0]
    assert len(found.positions) == len(found.energies) == 0
    assert found.lost == {"MMFF94 has no parameters for one of its atom types": 2}
    late = relaxed([drawn("CCCCCCCC", 1)[0]], [drawn("CCCCCCCC", 1)[1] * 1.5], "mmff", seconds=1e-9)[0]
    assert len(late.positions) + sum(late.lost.values()) == 1


@needs_tblite
def test_relaxed_by_xtb_with_the_charge_and_one_atom_at_rest():
    sodium, ammonium, water = drawn("[Na+]", 1), drawn("C[NH3+]", 1), drawn("O", 2)
    pairs = (sodium, ammonium, water)
    found = relaxed([mol for mol, _ in pairs], [positions for _, positions in pairs], "xtb")
    assert [len(each.positions) for each in found] == [1, 1, 2] and found[0].energies.tolist() == [0.0]
    oh = np.linalg.norm(found[2].positions[:, 1:] - found[2].positions[:, :1], axis=-1)
    assert np.allclose(oh, 0.959, atol=0.005)  # GFN2-xTB's water
    assert found[2].energies[0] == pytest.approx(found[2].energies[1], abs=1e-3)


def test_bonds_that_are_gone_are_seen():
    mol, positions = drawn("OCCN", 1)
    assert whole(mol, positions).all()
    moved = positions.copy()
    hydrogen = next(a.GetIdx() for a in mol.GetAtomWithIdx(0).GetNeighbors() if a.GetAtomicNum() == 1)
    moved[0, hydrogen] = moved[0, 3] + [0.0, 0.0, 1.0]  # onto the nitrogen
    broken = positions.copy()
    broken[0, 0] += 3.0
    assert not whole(mol, moved).any() and not whole(mol, broken).any()


def test_a_duplicate_is_one_in_any_pose_and_any_order_of_like_atoms():
    mol, positions = drawn("CC(C)(C)CCO", 4)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    swapped = positions[0].copy()
    swapped[[0, 2]] = swapped[[2, 0]]  # two methyl carbons
    every = np.concatenate([positions[:1], positions[:1] @ turn + 4, swapped[None]])
    assert thinned(mol, every, None, prune=0.05).tolist() == [0]
    kept = thinned(mol, positions, None, prune=0.1)
    assert thinned(mol, positions[kept], None, prune=0.1).tolist() == list(range(len(kept)))
    assert thinned(mol, positions, None).tolist() == [0, 1, 2, 3]
    assert thinned(mol, positions[:0], np.zeros(0), 0.1, 3.0).tolist() == []


def test_the_lowest_comes_first_and_stays_and_the_window_cuts():
    mol, positions = drawn("CCCCO", 3)
    same = np.concatenate([positions, positions[:1]])
    energies = np.array([2.0, 1.0, 9.0, 0.5])
    assert thinned(mol, same, energies).tolist() == [3, 1, 0, 2]
    assert thinned(mol, same, energies, window=1.0).tolist() == [3, 1]
    assert 0 not in thinned(mol, same, energies, prune=1e-3) and 3 in thinned(mol, same, energies, prune=1e-3)


def test_held_atoms_come_to_their_places():
    mol, positions = drawn("CCCCO", 2)
    places = positions[0, [0, 1, 2]] + 0.1
    found = held(mol, positions, [0, 1, 2], places, until=float("inf"))
    assert np.linalg.norm(found[0, :3] - places, axis=-1).max() < 0.1
    assert np.array_equal(positions_of(with_conformers(mol, found)), found)
    assert np.array_equal(held(mol, positions, [0], places[:1], until=0.0), positions)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"relax": "uff"}, "Unknown method 'uff'"),
        ({"prune": 0.0}, "prune must be above 0"),
        ({"window": 3.0}, "needs energies"),
        ({"relax": "mmff", "window": float("nan")}, "window must be above 0"),
    ],
)
def test_after_work_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        AfterWork(**options)


def test_conformers_are_copies():
    mol = Chem.AddHs(Chem.MolFromSmiles("CC"))
    found = with_conformers(mol, np.zeros((2, 8, 3)))
    assert mol.GetNumConformers() == 0 and [each.GetId() for each in found.GetConformers()] == [0, 1]
    assert positions_of(mol).shape == (0, 8, 3)
