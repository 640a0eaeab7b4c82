"""Laws of automorphism groups: their orders, that they are groups, that they keep the graph, and caps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from coset.automorphisms import AutomorphismGroup, automorphisms, with_automorphisms
from coset.automorphisms.stereo import StereoMarks
from coset.cloud import Condition
from coset.interfaces import Draw
from coset.molecule import QM9, Molecule, pad
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine
from coset.symmetry.groups import Automorphisms, Rotations
from coset.symmetry.targets import OrbitMean

ENUMERATED = 5000


def with_hydrogens(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def sample() -> list[Molecule]:
    data = np.load(Path(__file__).parent / "data" / "qm9_200.npz")
    ends = np.cumsum(data["n_atoms"])
    numbers, positions = (np.split(data[key], ends[:-1]) for key in ("atomic_numbers", "positions"))
    return [Molecule(z.astype(np.int64), x) for z, x in zip(numbers, positions, strict=True)]


def label(atom: Chem.Atom) -> tuple[int, int, int, int]:
    return atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetIsotope(), atom.GetTotalNumHs(includeNeighbors=True)


def bonds(mol: Chem.Mol) -> dict[frozenset[int], Chem.BondType]:
    return {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())): b.GetBondType() for b in mol.GetBonds()}


def assert_group_of(mol: Chem.Mol, found: AutomorphismGroup) -> None:
    """The identity first, no element twice, closed, every element onto atoms and bonds of its own kind."""
    orders = found.permutations
    assert orders.dtype == np.int64 and orders.shape[1] == mol.GetNumAtoms()
    assert orders[0].tolist() == list(range(mol.GetNumAtoms()))
    listed = set(map(tuple, orders.tolist()))
    assert len(listed) == len(orders)
    for first in orders[:: max(1, len(orders) // 24)]:
        assert set(map(tuple, first[orders].tolist())) == listed
    labels, graph = [label(atom) for atom in mol.GetAtoms()], bonds(mol)
    for order in orders.tolist():
        assert [labels[i] for i in order] == labels
        assert {frozenset(order[i] for i in pair): kind for pair, kind in graph.items()} == graph


@pytest.mark.parametrize(
    ("smiles", "order", "heavy"),
    [
        ("CC(C)(C)C", 31_104, 24), ("CCCC", 288, 2), ("CCC", 144, 2), ("c1ccccc1", 12, 12), ("c1c[nH]cn1", 1, 1),
        ("C1=CC=CC=C1", 12, 12), ("CC(C)(C)C1(C)CCO1", 31_104, 6), ("C", 24, 1), ("O", 2, 1), ("N#N", 2, 2),
        ("Cc1ccccc1", 12, 2), ("CC(=O)[O-]", 6, 1), ("C[N+](=O)[O-]", 6, 1), ("[13CH3]C", 36, 1), ("[2H]C", 6, 1),
        ("[NH4+].[NH3]", 144, 1), ("O.O", 8, 2),
    ],
)  # fmt: skip
def test_orders_are_the_known_ones(smiles, order, heavy):
    mol = with_hydrogens(smiles)
    whole, alone = automorphisms(mol, limit=40_000), automorphisms(mol, hydrogens=False)
    assert (whole.order, alone.order) == (order, heavy)
    assert whole.whole and alone.whole and len(whole) == order and "all" in whole.described
    assert_group_of(mol, alone)
    if order < ENUMERATED:
        assert_group_of(mol, whole)


def test_molecules_without_heavy_atoms():
    """H2, H3+ and a bare proton, whose hydrogens hang from nothing."""
    assert [automorphisms(Chem.MolFromSmiles(s)).order for s in ("[H][H]", "[H+]", "[H][H].[H][H]")] == [2, 1, 8]


def test_hydrogens_that_are_no_atoms_count_as_colours():
    """Imidazole's two nitrogens differ by a hydrogen alone; a radical or an ion differs from its parent."""
    for smiles, order in (("c1c[nH]cn1", 1), ("c1ccncc1", 2), ("CCC", 2), ("[CH2]C", 1), ("CC", 2)):
        mol = Chem.MolFromSmiles(smiles)
        assert automorphisms(mol).order == order and automorphisms(mol).permutations.shape[1] == mol.GetNumAtoms()


def test_forms_drawn_with_alternating_bonds_keep_their_symmetry():
    mol = with_hydrogens("c1ccccc1")
    Chem.Kekulize(mol, clearAromaticFlags=True)
    assert automorphisms(mol).order == 12


def brute(mol: Chem.Mol) -> int:
    """The number of matches of the coloured molecule, hydrogens and all, with itself."""
    copy, colours = Chem.RWMol(mol), {}
    labels = [label(atom) for atom in mol.GetAtoms()]
    for atom, kind in zip(copy.GetAtoms(), labels, strict=True):
        atom.SetIsotope(colours.setdefault(kind, len(colours) + 1))
        atom.SetFormalCharge(0)
    return len(copy.GetSubstructMatches(copy, uniquify=False, maxMatches=ENUMERATED + 1))


def test_the_product_formula_holds_on_real_molecules():
    """200 molecules of QM9 with bonds perceived from positions; those beyond 5,000 elements counted to there."""
    from coset.bonds import to_rdkit

    orders = []
    for molecule in sample():
        mol, found = to_rdkit(molecule), automorphisms(molecule, stereo=False)
        expected = brute(mol)
        assert found.order == expected if expected <= ENUMERATED else (found.order or 0) > ENUMERATED
        assert found.whole == (len(found) == found.order) and len(found) <= 256
        orders.append(found.order)
    assert 10 <= np.median(orders) <= 24 and np.mean(np.array(orders) <= 192) > 0.85  # the published survey's sizes


@pytest.mark.parametrize("limit", [1, 2, 5, 30, 256, 2000])
@pytest.mark.parametrize("smiles", ["CC(C)(C)C", "CCCC", "CC(C)(C)C1(C)CCO1", "C[N+](C)(C)C.[Cl-]", "CC", "C"])
def test_beyond_the_limit_a_subgroup_takes_its_place(smiles, limit):
    """Never silently: it is a group, it says what it is, and it knows the whole one's order."""
    mol = with_hydrogens(smiles)
    found, whole = automorphisms(mol, limit=limit), automorphisms(mol, limit=40_000)
    assert found.order == whole.order and len(found) <= limit and whole.order % len(found) == 0
    assert found.whole == (whole.order <= limit) == (found.described == "all automorphisms")
    assert_group_of(mol, found)
    assert {tuple(p) for p in found.permutations.tolist()} <= {tuple(p) for p in whole.permutations.tolist()}


def test_the_subgroup_that_is_taken():
    found = automorphisms(with_hydrogens("CCCC"))
    assert len(found) == 2 * 3**2 * 2**2
    assert found.described == (
        "2 maps of heavy atoms with all orders of 2 and turns of 2 of the 4 sets of hydrogens at one atom"
    )
    fixed = automorphisms(with_hydrogens("CC(C)(C)C"), limit=5)
    assert fixed.described.startswith("2 maps of heavy atoms that leave the first 3 in place")


def test_groups_too_large_to_count_say_so():
    """Four hexafluorobenzenes: 12^4 4! maps, more than are counted."""
    found = automorphisms(Chem.MolFromSmiles(".".join(["Fc1c(F)c(F)c(F)c(F)c1F"] * 4)), limit=30)
    assert found.order is None and not found.whole and 1 < len(found) <= 30


@pytest.mark.parametrize(
    ("smiles", "kept", "all_maps"),
    [
        ("C[C@H](O)[C@@H](O)C", 2, 2),  # (S, S): a twofold axis
        ("C[C@H](O)[C@H](O)C", 1, 2),  # meso: a mirror alone
        ("CC(O)C(O)C", 2, 2),  # not specified
        ("F/C=C/F", 2, 2), ("F/C=C\\F", 2, 2),
        ("CC(/C=C/C)/C=C/C", 2, 2), ("CC(/C=C/C)/C=C\\C", 1, 2),
        ("C[C@H](F)C[C@@H](F)C", 2, 2), ("C[C@H](F)C[C@H](F)C", 1, 2),
        ("C[C@@H]1CC[C@H](C)CC1", 2, 4), ("C[C@@H]1CC[C@@H](C)CC1", 2, 4),  # the ring's mirror is no motion
    ],
)  # fmt: skip
def test_maps_that_change_a_hand_or_a_side_are_left_out(smiles, kept, all_maps):
    for mol in (Chem.MolFromSmiles(smiles), with_hydrogens(smiles)):
        told = automorphisms(mol, hydrogens=False)
        assert (told.order, automorphisms(mol, hydrogens=False, stereo=False).order) == (kept, all_maps)
        assert_group_of(mol, told)


@pytest.mark.parametrize(
    "smiles",
    [
        "C[C@H](O)[C@@H](O)C", "C[C@H](O)[C@H](O)C", "CC(/C=C/C)/C=C\\C", "F/C=C/F", "C[C@@H]1CC[C@H](C)CC1",
        "C[C@H](F)C[C@@H](F)C", "C[C@@H]1CC[C@@H](C)CC1",
    ],
)  # fmt: skip
def test_the_stereo_rule_is_that_of_relabelled_molecules(smiles):
    """RDKit's own view: renumbering the atoms by a kept map gives the same marks on the same atoms, and by no other."""
    mol = Chem.MolFromSmiles(smiles)
    told = {tuple(order) for order in automorphisms(mol, hydrogens=False).permutations.tolist()}

    def marked(each: Chem.Mol) -> str:
        for atom in each.GetAtoms():
            atom.SetAtomMapNum(atom.GetIdx() + 1)
        Chem.AssignStereochemistry(each, cleanIt=True, force=True)
        return Chem.MolToSmiles(each)

    for order in automorphisms(mol, hydrogens=False, stereo=False).permutations.tolist():
        assert (marked(Chem.RenumberAtoms(mol, order)) == marked(Chem.Mol(mol))) == (tuple(order) in told)


def test_sides_may_be_told_by_any_neighbours():
    """2-butene with a carbon at one end and a hydrogen at the other as its reference atoms, as files may have it."""
    mol = with_hydrogens("C/C=C/C")
    bond = mol.GetBondBetweenAtoms(1, 2)
    hydrogen = next(n.GetIdx() for n in mol.GetAtomWithIdx(2).GetNeighbors() if n.GetAtomicNum() == 1)
    bond.SetStereoAtoms(0, hydrogen)
    bond.SetStereo(Chem.BondStereo.STEREOCIS)
    whole = automorphisms(mol, hydrogens=False, stereo=False)
    assert len(whole) == 2 and len(StereoMarks.of(mol).kept(whole.permutations)) == 2


def test_what_has_no_group_is_refused():
    with pytest.raises(ValueError, match="without atoms"):
        automorphisms(Chem.Mol())
    with pytest.raises(ValueError, match="limit=0"):
        automorphisms(Chem.MolFromSmiles("C"), limit=0)


def test_groups_ride_on_clouds_of_many_sizes():
    """Absent elements -1, padding in place, the rest of the condition kept; the exact target accepts them."""
    molecules = sorted(sample()[:12], key=len)[::5]
    groups = [automorphisms(molecule) for molecule in molecules]
    cloud = QM9.cloud(*pad(molecules, 30))
    cloud = replace(cloud, condition=Condition(scalars=torch.ones(len(cloud), 1)))
    known = with_automorphisms(cloud, groups)
    assert known.condition is not None and known.condition.scalars is not None
    table = known.condition.automorphisms
    assert table is not None and table.shape == (len(groups), max(map(len, groups)), 30)
    for row, group, molecule in zip(table, groups, molecules, strict=True):
        assert torch.equal(row[: len(group), : len(molecule)], torch.from_numpy(group.permutations))
        assert (row[: len(group), len(molecule) :] == torch.arange(len(molecule), 30)).all()
        assert (row[len(group) :] == -1).all()
    orders, there = Automorphisms().permutations(known)
    assert there.sum(1).tolist() == list(map(len, groups)) and orders.shape == table.shape
    process, t = Affine(Cosine()), torch.full((len(cloud),), 0.4, dtype=torch.float64)
    noise = Noise(torch.arange(len(cloud)))
    z = process.noised(known, t).sample(noise)
    target = OrbitMean(Rotations() * Automorphisms())(process, Draw(known, z, z, t, noise))
    assert torch.isfinite(target.x).all() and torch.allclose(target.h, known.h)


def test_groups_that_do_not_fit_a_cloud_are_refused():
    molecules = sample()[:2]
    cloud = QM9.cloud(*pad(molecules))
    groups = [automorphisms(molecule) for molecule in molecules]
    for wrong in (groups[:1], [*groups, groups[0]], [automorphisms(Chem.MolFromSmiles("C"))] * 2):
        with pytest.raises(ValueError, match="do not fit molecules of"):
            with_automorphisms(cloud, wrong)


def test_the_order_of_the_atoms_changes_no_group():
    mol = with_hydrogens("CC(C)CO")
    shuffled = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    known, other = automorphisms(mol), automorphisms(Chem.RenumberAtoms(mol, shuffled))
    rank = np.argsort(shuffled)
    conjugate = {tuple(rank[order[shuffled]].tolist()) for order in known.permutations}
    assert conjugate == set(map(tuple, other.permutations.tolist()))
