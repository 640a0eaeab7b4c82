"""RMSD: laws of a distance between shapes, and agreement with RDKit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolAlign
from scipy.spatial.transform import Rotation

from coset.automorphisms import automorphisms
from coset.metrics import rmsd
from coset.metrics.rmsd import heavy_maps, rmsd_matrix

# SMILES and number of maps of the heavy atoms, counted by hand.
MOLECULES = {
    "CC(=O)[O-]": 2,
    "CCC(=O)O": 2,  # without hydrogens an acid is a carboxylate
    "C[N+](=O)[O-]": 2,
    "O=[N+]([O-])c1ccccc1": 4,
    "CC(C)(C)OC": 6,
    "[H]/N=C/CC": 1,  # RDKit keeps this hydrogen in a molecule without hydrogens
    "CS(=O)(=O)CC": 2,
    "COP(=O)(O)O": 6,
    "c1ccccc1": 12,
    "c1ccc(cc1)C(N)CO": 2,
    "NC(N)=[NH2+]": 6,
    "c1c[nH]cn1": 2,  # hydrogens do not count
    "C[C@H](O)[C@@H](F)Cl": 1,
    "OCC(C)CO": 2,
}


@cache
def embedded(smiles: str, count: int = 6) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule with its hydrogens, and positions of conformers."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert len(rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=11)) == count
    return mol, np.array([conformer.GetPositions() for conformer in mol.GetConformers()])


def turned(positions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each conformer in a place and pose of its own."""
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(len(positions), rng).as_matrix()
    return positions @ rotations + rng.normal(scale=10, size=(len(positions), 1, 3))


@pytest.mark.parametrize("smiles", MOLECULES)
def test_rdkit_finds_the_same_distances(smiles: str):
    mol, positions = embedded(smiles)
    bare = Chem.RemoveAllHs(mol)
    expected = [[rdMolAlign.GetBestRMS(Chem.Mol(bare), bare, k, l) for k in range(2, 6)] for l in range(2)]
    found = rmsd_matrix(mol, positions[:2], positions[2:])
    np.testing.assert_allclose(found.matrix, expected, atol=1e-6)
    assert found.maps == MOLECULES[smiles] and not found.capped


@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "CC(C)(C)OC", "C[C@H](O)[C@@H](F)Cl", "c1ccc(cc1)C(N)CO"])
def test_a_distance_of_shapes(smiles: str):
    """Zero to itself, the same both ways, blind to pose, and a triangle's sides."""
    mol, positions = embedded(smiles)
    found = rmsd_matrix(mol, positions, positions).matrix
    np.testing.assert_allclose(found, found.T, atol=1e-6)
    np.testing.assert_allclose(np.diagonal(found), 0, atol=1e-6)
    np.testing.assert_allclose(rmsd_matrix(mol, positions, turned(positions)).matrix, found, atol=1e-6)
    assert (found[:, None] <= found[:, :, None] + found[None] + 1e-6).all()


@pytest.mark.parametrize("smiles", ["CC(C)(C)OC", "c1ccccc1", "OCC(C)CO", "CS(=O)(=O)CC"])
def test_blind_to_the_names_of_atoms_that_are_alike(smiles: str):
    mol, positions = embedded(smiles)
    group = automorphisms(mol, stereo=False).permutations
    assert len(group) > 1
    found = rmsd_matrix(mol, positions[:2], positions[2:]).matrix
    for order in group[:: max(1, len(group) // 12)]:
        np.testing.assert_allclose(rmsd_matrix(mol, positions[:2], positions[2:, order]).matrix, found, atol=1e-6)


def test_hydrogens_do_not_count():
    mol, positions = embedded("[H]/N=C/CC")
    moved = positions + np.array([[[atom.GetAtomicNum() == 1] * 3 for atom in mol.GetAtoms()]]) * 0.7
    np.testing.assert_allclose(np.diagonal(rmsd_matrix(mol, positions, moved).matrix), 0, atol=1e-6)


def test_a_mirror_image_is_another_shape():
    mol, positions = embedded("C[C@H](O)[C@@H](F)Cl")
    assert rmsd_matrix(mol, positions[:1], -positions[:1]).matrix > 0.3
    flat, planar = embedded("C[N+](=O)[O-]")
    assert rmsd_matrix(flat, planar[:1], -planar[:1]).matrix < 0.1


def test_mirror_images_that_are_nearly_flat_stay_apart():
    """Where cosines are all but 1: a pyramid of 0.02 Angstrom and its mirror image, aligned by SciPy."""
    mol = Chem.MolFromSmiles("FC(Cl)Br")
    flat = np.array([[1.3, 0, 0], [0, 0, 0.02], [-0.9, 1.5, 0], [-1.0, -1.7, 0]])
    pair = np.stack([flat, flat * [1, 1, -1]])
    bent = pair * [1, -1, 1]  # as flat, F, Cl, Br the other way round: in the plane a mirror is a turn
    centred = [each - each.mean(1, keepdims=True) for each in (pair, bent)]
    apart = [[Rotation.align_vectors(a, b)[1] / 2 for b in centred[1]] for a in centred[0]]
    assert max(map(max, apart)) > 0.005
    np.testing.assert_allclose(rmsd_matrix(mol, pair, bent).matrix, apart, atol=1e-6)
    np.testing.assert_allclose(rmsd_matrix(mol, pair, pair).matrix, [[0, apart[0][0]], [apart[0][0], 0]], atol=1e-6)


def test_two_points_differ_by_half_the_difference_of_their_distances():
    mol = Chem.MolFromSmiles("N#N")
    pairs = np.array([[[0, 0, 0], [0, 0, 1.0]], [[5, 0, 0], [5, 3.0, 0]], [[1, 1, 1], [1, 1, 1.0]]])
    gaps = np.array([1.0, 3.0, 0.0])
    np.testing.assert_allclose(rmsd_matrix(mol, pairs, pairs).matrix, abs(gaps[:, None] - gaps) / 2, atol=1e-7)


@pytest.mark.parametrize("smiles", ["C#CC#C", "CC#N", "N=C=O"])
def test_atoms_on_a_line(smiles: str):
    """Singular values that vanish together, where the closed form has the fewest digits."""
    mol = Chem.MolFromSmiles(smiles)
    rng = np.random.default_rng(0)
    along = np.sort(rng.normal(size=(60, mol.GetNumAtoms())) * 3, axis=1)
    line = turned(along[..., None] * np.array([0.0, 0.6, 0.8]))
    centred = along - along.mean(1, keepdims=True)
    maps = heavy_maps(mol)[1]
    either = [np.square(centred[:, None] - sign * centred[:, order]).mean(-1) for order in maps for sign in (1, -1)]
    np.testing.assert_allclose(rmsd_matrix(mol, line, line).matrix, np.sqrt(np.min(either, axis=0)), atol=1e-6)


def test_one_heavy_atom_is_always_in_place_and_hydrogen_alone_counts():
    water, positions = embedded("O")
    assert (rmsd_matrix(water, positions, turned(positions)).matrix == 0).all()
    hydrogen = Chem.AddHs(Chem.MolFromSmiles("[H][H]"))
    pair = np.array([[[0, 0, 0], [0, 0, 0.7]], [[0, 0, 0], [0, 0.9, 0.0]]])
    np.testing.assert_allclose(rmsd_matrix(hydrogen, pair[:1], pair).matrix, [[0, 0.1]], atol=1e-6)


def test_positions_that_are_nowhere_spoil_their_own_distances_alone():
    mol, positions = embedded("CC(C)(C)OC")
    wrong = positions.copy()
    wrong[1, 0, 2], wrong[3], wrong[4] = np.nan, np.inf, 1e200 * positions[4]
    found, right = rmsd_matrix(mol, wrong, positions).matrix, rmsd_matrix(mol, positions, positions).matrix
    spoilt = np.isin(np.arange(6), [1, 3, 4])
    assert np.isnan(found[spoilt]).all()
    np.testing.assert_allclose(found[~spoilt], right[~spoilt], atol=1e-6)
    np.testing.assert_array_equal(np.isnan(rmsd_matrix(mol, positions, wrong).matrix), np.tile(spoilt, (6, 1)))


def test_a_cap_on_maps_is_told_and_bounds_from_above():
    mol, positions = embedded("CC(C)(C)c1ccc(cc1)C(C)(C)C", 4)
    whole = rmsd_matrix(mol, positions, positions)
    assert whole.maps == 144 and not whole.capped
    for most in (1, 10, 143):
        found = rmsd_matrix(mol, positions, positions, most_maps=most)
        assert found.capped and found.maps == most
        assert (found.matrix >= whole.matrix - 1e-6).all()
        np.testing.assert_allclose(np.diagonal(found.matrix), 0, atol=1e-6)  # the identity is never left out
    assert not rmsd_matrix(mol, positions, positions, most_maps=144).capped


@pytest.mark.parametrize("block", [1, 7, 50])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch):
    mol, positions = embedded("CC(C)(C)OC")
    atoms, maps, _ = heavy_maps(mol)
    other = positions[:5].copy()
    other[:, atoms] = other[:, atoms[maps[-1]]]  # each meets itself under a map of the last block
    expected = rmsd_matrix(mol, positions, other).matrix
    np.testing.assert_allclose(np.diagonal(expected), 0, atol=1e-6)
    monkeypatch.setattr(rmsd, "_BLOCK", block)
    np.testing.assert_allclose(rmsd_matrix(mol, positions, other).matrix, expected, atol=1e-6)


def test_maps_are_a_group():
    for smiles in MOLECULES:
        maps = {tuple(each) for each in heavy_maps(embedded(smiles)[0])[1]}
        assert {tuple(np.argsort(each)) for each in maps} == maps
        assert all(tuple(np.take(one, other)) in maps for one in maps for other in maps)


def test_empty_ensembles_give_empty_matrices():
    mol, positions = embedded("CC(=O)[O-]")
    assert rmsd_matrix(mol, positions, positions[:0]).matrix.shape == (6, 0)
    assert rmsd_matrix(mol, positions[:0], positions).matrix.shape == (0, 6)


def test_what_does_not_fit_is_refused():
    mol, positions = embedded("CC(=O)[O-]")
    with pytest.raises(ValueError, match=r"generated positions have shape \(6, 6, 3\); give \(conformers, 7, 3\)"):
        rmsd_matrix(mol, positions, positions[:, 1:])
    with pytest.raises(ValueError, match="reference positions have shape"):
        rmsd_matrix(mol, positions[0], positions)
    with pytest.raises(ValueError, match="most=0"):
        rmsd_matrix(mol, positions, positions, most_maps=0)
    with pytest.raises(ValueError, match="without atoms"):
        rmsd_matrix(Chem.Mol(), np.zeros((1, 0, 3)), np.zeros((1, 0, 3)))
