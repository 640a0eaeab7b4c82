"""Laws of graphs: what cannot be read, features that follow the atoms and not their order, hands, modes, padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from coset.automorphisms import automorphisms
from coset.graphs import graph as channels
from coset.graphs.graph import EDGES, NODES, Graph, collated, graph_of, read_smiles, reflected, with_hydrogens

SMILES = (
    "[H][H]", "C", "[Na+]", "CC(C)(C)O", "c1ccncc1", "CC(=O)[O-]", "C1CCCCCCCCCCCCCCC1", "CS(C)(=O)=O", "N#CC=C=C",
    "C1C2CC3CC1CC(C2)(C3)N", "C1CC2CCC1CC2", "C12C3C4C1C5C2C3C45", "O=C1NC2CC1C2", "CC1C2CN1C(C2)C#N",
)  # fmt: skip
STEREO = (
    "C[C@H](O)[C@@H](F)Cl", "C[C@H](O)[C@H](O)[C@@H](C)O", "C[C@H]1CC[C@@H](C)CC1", "C/C=C/C(/F)=C/C", "[H]/N=C/C",
    "CC[S@](C)=O", "C[P@](=O)(O)N", "C[N@@+](CC)(CCC)CO", "C1CC[C@@H]2CCCC[C@@H]2C1", "C[C@@]12CC[C@@H](C1(C)C)CC2=O",
    "C1CCCC/C=C/C1", "O1CC[C@@]2(CCO2)C1", "CC[N@@+]12CC[N@+](CC)(CC1)CC2", "F[C@H]1[C@@H](F)[C@H](F)[C@H]1F",
    "F[C@H](Cl)[C@@]([C@@H](F)Cl)([C@H](Br)I)[C@@H](Br)I",
)  # fmt: skip


def of(smiles: str, limit: int = 24) -> Graph:
    return graph_of(read_smiles(smiles), limit)


def bits(mol: Chem.Mol) -> list[tuple]:
    return [(a.GetAtomicNum(), a.GetIsotope(), a.GetChiralTag(), a.GetDegree()) for a in mol.GetAtoms()] + [
        (b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondType(), b.GetStereo(), tuple(b.GetStereoAtoms()))
        for b in mol.GetBonds()
    ]


@pytest.mark.parametrize("smiles", [*SMILES, *STEREO, "[13CH4]", "[2H]C"])
def test_molecules_come_as_rdkit_reads_them_with_hydrogens(smiles):
    mol = read_smiles(smiles)
    assert bits(mol) == bits(Chem.AddHs(Chem.MolFromSmiles(smiles))) and mol.GetNumConformers() == 0
    assert bits(with_hydrogens(mol)) == bits(mol)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a smiles", "no SMILES"), ("C(", "no SMILES"), ("", "no atoms"), ("  ", "no atoms"),
        ("[Na+].[Cl-]", "2 fragments"), ("C[CH2]", "unpaired electron"), ("[O][O]", "2 unpaired electrons"),
        ("*CC", "dummy atom"), ("[#110]", "element Ds"), ("C" * 600, "600 atoms"),
        ("C" * 200, "602 atoms with hydrogens"),
        ("CC(C)(C)(C)C", "valence"), ("c1cccc1", "kekulize"), ("[U]" + "(C)" * 29, "29 bonds"),
    ],
)  # fmt: skip
def test_what_is_no_molecule_is_refused_in_one_sentence(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        read_smiles(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_molecules_of_the_caller_keep_their_order_and_stereochemistry_and_lose_their_positions():
    given = Chem.RenumberAtoms(Chem.MolFromSmiles("C[C@H](O)C=CC"), [5, 3, 1, 0, 2, 4])
    bond = next(bond for bond in given.GetBonds() if bond.GetBondType() == Chem.BondType.DOUBLE)
    ends = bond.GetBeginAtom(), bond.GetEndAtom()
    outer = [next(a for a in end.GetNeighbors() if a.GetIdx() not in {e.GetIdx() for e in ends}) for end in ends]
    bond.SetStereoAtoms(*(atom.GetIdx() for atom in outer))
    bond.SetStereo(Chem.BondStereo.STEREOTRANS)  # by hand: no bond has a direction
    AllChem.EmbedMolecule(given, randomSeed=1)
    mol = with_hydrogens(given)
    assert given.GetNumConformers() == 1 and mol.GetNumConformers() == 0 and given.GetNumAtoms() == 6
    assert [a.GetAtomicNum() for a in mol.GetAtoms()] == [6, 6, 6, 6, 8, 6] + 10 * [1]
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles("C[C@H](O)/C=C/C")
    assert graph_of(mol).edges[..., channels.OPPOSITE_SIDE].sum() > 0
    for wrong in (Chem.Mol(), Chem.MolFromSmiles("C[CH]C"), Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)):
        with pytest.raises(ValueError):
            with_hydrogens(wrong)


@pytest.mark.parametrize("smiles", [*SMILES, *STEREO])
@pytest.mark.parametrize("seed", [0, 1])
def test_renumbering_atoms_permutes_the_features(smiles, seed):
    mol = read_smiles(smiles)
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms())
    graph, moved = graph_of(mol), graph_of(Chem.RenumberAtoms(mol, order.tolist()))
    assert np.array_equal(moved.numbers, graph.numbers[order])
    assert torch.equal(moved.nodes, graph.nodes[order])
    assert torch.equal(moved.edges, graph.edges[order][:, order])
    assert len(moved.automorphisms) == len(graph.automorphisms)
    torch.testing.assert_close(moved.modes @ moved.modes.T, (graph.modes @ graph.modes.T)[order][:, order])


@pytest.mark.parametrize("smiles", [*SMILES, *STEREO])
def test_automorphisms_leave_every_feature_as_it_is(smiles):
    graph = of(smiles, limit=200)
    assert torch.equal(graph.automorphisms[0], torch.arange(len(graph)))
    for order in graph.automorphisms:
        assert torch.equal(graph.nodes[order], graph.nodes)
        assert torch.equal(graph.edges[order][:, order], graph.edges)


def test_maps_that_would_turn_a_hand_change_the_features():
    """Of the maps of a graph without stereochemistry some are not those of the graph with it, and features show it."""
    mol = read_smiles("C[C@H](O)[C@H](O)[C@@H](C)O")
    graph, bare = graph_of(mol), automorphisms(mol, hydrogens=False, stereo=False).permutations
    same = [torch.equal(graph.edges[order][:, order], graph.edges) for order in bare]
    assert len(bare) == 2 and same == [True, False]


@pytest.mark.parametrize("smiles", [s for s in STEREO if "@" in s])
def test_a_mirror_image_has_its_triangles_reversed_and_else_the_same_features(smiles):
    mol = read_smiles(smiles)
    other = Chem.Mol(mol)
    for atom in other.GetAtoms():
        atom.InvertChirality()
    graph, image = graph_of(mol).edges, graph_of(other).edges
    swapped = list(range(EDGES))
    swapped[channels.TRIANGLE], swapped[channels.REVERSED] = channels.REVERSED, channels.TRIANGLE
    assert torch.equal(image, graph[..., swapped]) and not torch.equal(image, graph)
    assert torch.equal(graph[..., channels.REVERSED], graph[..., channels.TRIANGLE].T)
    told = reflected(collated([of(smiles), of("CCO"), of(smiles)]), torch.tensor([True, True, False]))
    first, _, last = (edges[: len(graph), : len(graph)] for edges in told.condition.edges)
    assert torch.equal(first, image) and torch.equal(last, graph)


def test_reflected_molecules_take_along_what_lies_in_their_space():
    cloud = collated([of("CCO"), of("C[C@H](O)F")])
    positions = torch.randn(2, 3, *cloud.x.shape[1:]) * cloud.mask[:, None]
    condition = replace(cloud.condition, siblings=positions[:, :2], end=positions[:, 2])
    cloud = replace(cloud, x=positions[:, 0], condition=condition)
    once = reflected(cloud, torch.tensor([False, True]))
    sign = torch.tensor([1.0, -1.0]).reshape(2, 1, 1)
    assert torch.equal(once.x, sign * cloud.x) and torch.equal(once.condition.end, sign * condition.end)
    assert torch.equal(once.condition.siblings, sign[..., None] * condition.siblings)
    twice = reflected(once, torch.tensor([False, True]))
    assert torch.equal(twice.x, cloud.x) and torch.equal(twice.condition.edges, condition.edges)


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H](O)CC", "C[C@@H](O)[C@@H](F)Cl", "CC[S@](C)=O", "CC[N@@+](C)(CCC)CO", "F[C@](Cl)(C)Br", "F[C@](C)(Cl)Br"],
)
def test_triangles_turn_as_the_atoms_do_in_space(smiles):
    """(p - s) . ((q - s) x (r - s)) > 0 for apex s and p -> q -> r -> p."""
    mol = read_smiles(smiles)
    edges = graph_of(mol).edges.bool()
    AllChem.EmbedMolecule(mol, randomSeed=3)
    x = mol.GetConformer().GetPositions()
    apex, triangle = edges[..., channels.APEX], edges[..., channels.TRIANGLE]
    found = 0
    for p, q in triangle.nonzero().tolist():
        for r in torch.nonzero(triangle[q] & triangle[:, p]).flatten().tolist():
            for s in torch.nonzero(apex[p] & apex[q] & apex[r]).flatten().tolist():
                if not {s} & {p, q, r}:
                    found += 1
                    assert np.linalg.det(np.stack([x[p] - x[s], x[q] - x[s], x[r] - x[s]])) > 0
    assert found >= 3 * int(graph_of(mol).nodes[:, 26].sum()) > 0


def test_sides_of_a_double_bond_are_told_for_all_pairs_across_it():
    mol = read_smiles("F/C(Cl)=C(/Br)I")  # F and Br on opposite sides: F 0, C 1, Cl 2, C 3, Br 4, I 5
    edges = graph_of(mol).edges
    same, opposite = edges[..., channels.SAME_SIDE], edges[..., channels.OPPOSITE_SIDE]
    assert same.nonzero().tolist() == [[0, 5], [2, 4], [4, 2], [5, 0]]
    assert opposite.nonzero().tolist() == [[0, 4], [2, 5], [4, 0], [5, 2]]
    other = of("F/C(Cl)=C(\\Br)I").edges
    assert torch.equal(other[..., channels.SAME_SIDE], opposite) and torch.equal(
        other[..., channels.OPPOSITE_SIDE], same
    )


def test_unspecified_stereochemistry_leaves_no_marks():
    for smiles in ("CC(O)C(F)Cl", "CC=CC", "FC=CC(F)Cl", "C1CCC=CC1", "CCS(C)=O"):
        assert not of(smiles).edges[..., channels.SAME_SIDE :].any(), smiles
    for smiles in ("C[C@H](C)C", "C/C=C(C)/C"):  # marks of what is no centre
        assert torch.equal(of(smiles).edges, of(smiles.replace("@", "").replace("/", "")).edges)


def test_bonds_and_hops_cover_each_pair_once():
    for smiles in SMILES:
        graph = of(smiles)
        hops = graph.edges[..., channels.HOPS : channels.HOPS + 4]
        covered = graph.edges[..., channels.BOND] + hops.sum(-1)
        assert torch.equal(covered, 1 - torch.eye(len(graph))), smiles
        assert torch.equal(graph.edges[..., 1:5].sum(-1), graph.edges[..., channels.BOND])
        assert not graph.edges.diagonal().any()
        distances = torch.from_numpy(Chem.GetDistanceMatrix(read_smiles(smiles)))
        assert torch.equal(hops[..., 1] == 1, distances == 3)
        assert torch.equal(hops[..., 3] == 1, distances > 4)


def test_features_say_what_the_chemistry_is():
    """Pyridine N-oxide: N 0, O 1; then ring carbons and their hydrogens."""
    graph = of("[n+]1([O-])ccccc1")
    assert graph.nodes.shape == (12, NODES) and graph.edges.shape == (12, 12, EDGES)
    assert graph.nodes.dtype == graph.edges.dtype == graph.modes.dtype == torch.float32
    assert graph.nodes[:, 0].tolist() == graph.numbers.tolist() == [7, 8] + 5 * [6] + 5 * [1]
    degree, hybrid, charge, hydrogens, rest, rings = graph.nodes[:, 1:].split([7, 6, 5, 5, 3, 6], 1)
    assert degree.argmax(1).tolist() == [3, 1] + 5 * [3] + 5 * [1]
    assert hybrid.argmax(1).tolist() == [2, 2] + 5 * [2] + 5 * [0]
    assert charge.argmax(1).tolist() == [3, 1] + 10 * [2]
    assert hydrogens.argmax(1).tolist() == [0, 0] + 5 * [1] + 5 * [0]
    ring = torch.tensor([1.0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert torch.equal(rest, torch.stack([ring, ring, 0 * ring], 1)) and torch.equal(rings[:, 3], ring)
    assert rings.sum() == 6
    assert torch.equal(graph.edges[..., channels.SAME_RING], ring[:, None] * ring - torch.diag(ring))
    assert graph.edges[0, 2, : channels.HOPS].tolist() == [1, 0, 0, 0, 1, 1, 1]
    assert graph.edges[0, 1, : channels.HOPS].tolist() == [1, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("smiles", ["[Na+]", "[H][H]", "CCO", "c1ccccc1", "C12C3C4C1C5C2C3C45"])
def test_modes_are_those_of_a_molecule_of_springs(smiles):
    """Their outer product is the pseudo-inverse of the Laplacian; the first is zero; each has its sign by the rule."""
    graph = of(smiles)
    bonded = graph.edges[..., channels.BOND].double()
    laplacian, modes = torch.diag(bonded.sum(1)) - bonded, graph.modes.double()
    torch.testing.assert_close(modes @ modes.T, torch.linalg.pinv(laplacian), atol=1e-6, rtol=1e-6)
    assert not modes[:, 0].any()
    lengths = modes.square().sum(0)
    assert (lengths[1:].diff() < 1e-6).all()  # 1 / lambda falls
    torch.testing.assert_close((modes.T @ modes).fill_diagonal_(0), torch.zeros_like(bonded), atol=1e-6, rtol=0)
    for mode in modes.T[1:]:
        assert mode[(mode.abs() >= mode.abs().max() - 1e-6).nonzero()[0, 0]] > 0


def test_the_group_has_at_most_the_elements_asked_for():
    assert len(of("CC(C)(C)C")) == 17
    assert [len(of("CC(C)(C)C", limit).automorphisms) <= limit for limit in (1, 24, 256)] == [True] * 3
    assert len(of("C", 24).automorphisms) == 24


def test_batches_hold_each_graph_padded():
    graphs = [of(smiles) for smiles in ("CCO", "[Na+]", "C[C@H](N)F")]
    cloud = collated(graphs)
    condition = cloud.condition
    assert condition is not None and condition.nodes is not None and condition.edges is not None
    assert condition.modes is not None and condition.automorphisms is not None
    assert cloud.x.shape == (3, 10, 3) and cloud.h.shape == (3, 10, 0) and not cloud.x.any()
    assert cloud.count.tolist() == [9, 1, 10]
    for i, graph in enumerate(graphs):
        n, g = len(graph), len(graph.automorphisms)
        for padded, own in ((condition.nodes[i], graph.nodes), (condition.modes[i], graph.modes)):
            assert torch.equal(padded[:n, : own.shape[1]], own) and not padded[n:].any()
        assert not condition.modes[i, :, n:].any()
        assert torch.equal(condition.edges[i, :n, :n], graph.edges)
        assert not condition.edges[i, n:].any() and not condition.edges[i, :, n:].any()
        assert torch.equal(condition.automorphisms[i, :g, :n], graph.automorphisms)
        assert (condition.automorphisms[i, :g, n:] == torch.arange(n, 10)).all()
        assert (condition.automorphisms[i, g:] == -1).all()
    with pytest.raises(ValueError, match="at least one graph"):
        collated([])
