"""Graph: what a network is told of a molecule: its atoms, bonds, stereochemistry, modes and automorphisms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from coset.automorphisms import AutomorphismGroup, automorphisms, with_automorphisms
from coset.cloud import Cloud, Condition, per_atom
from coset.graphs.reading import read_smiles, with_hydrogens
from coset.graphs.stereo import Stereo

__all__ = ["EDGES", "NODES", "Graph", "collated", "graph_of", "read_smiles", "reflected", "with_hydrogens"]

_DEGREES = range(7)  # the last stands for more, as in all of these rows
_HYBRIDISATIONS = tuple(
    getattr(Chem.HybridizationType, name) for name in ("S", "SP", "SP2", "SP3", "SP3D", "SP3D2")
)  # others: none of them
_CHARGES = range(-2, 3)  # the ends stand for what lies beyond
_HYDROGENS = range(5)
_RINGS = range(3, 9)
_ORDERS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
_HOPS = range(2, 6)  # the last stands for more

Rings = set[frozenset[int]]

_PARTS = (1, len(_DEGREES), len(_HYBRIDISATIONS), len(_CHARGES), len(_HYDROGENS), 3, len(_RINGS))
NODES = sum(_PARTS)

BOND, CONJUGATED, RING_BOND, HOPS, SAME_RING, SAME_SIDE, OPPOSITE_SIDE, APEX, TRIANGLE, REVERSED, EDGES = np.cumsum(
    [0, 1 + len(_ORDERS), 1, 1, len(_HOPS), 1, 1, 1, 1, 1, 1]
).tolist()


@dataclass(frozen=True, eq=False)
class Graph:
    """What is known of a molecule of n atoms before it has a shape.

    numbers (n,): atomic ones. nodes (n, NODES): the atomic number, then 0 or 1 for each of: degree 0-6, hybridisation
    s, sp, sp2, sp3, sp3d, sp3d2, charge -2 to 2, hydrogens 0-4, aromatic, in a ring, stereocentre, in a ring of 3-8.
    edges (n, n, EDGES): 0 or 1 for each of: bonded; single, double, triple, aromatic; conjugated; bond in a ring;
    2, 3, 4, more than 4 bonds apart; in one ring of 3-8; on the same side, on opposite sides of a double bond; apex,
    triangle and reversed triangle of a stereocentre (see `graph_of`; counts, as a pair may belong to two centres).
    modes (n, n): column k holds u_k / sqrt(lambda_k) of the Laplacian of the bonds, in rising order, column 0 zero.
    automorphisms (g, n): orders of the atoms that leave the graph and its stereochemistry as it is, the identity first.
    Nodes and edges of the same molecule with its atoms in another order are these, in that order.
    """

    numbers: Int[NDArray[np.int64], "n"]
    nodes: Float[Tensor, "n NODES"]
    edges: Float[Tensor, "n n EDGES"]
    modes: Float[Tensor, "n n"]
    automorphisms: Int[Tensor, "g n"]

    def __len__(self) -> int:
        return len(self.numbers)


def graph_of(mol: Chem.Mol, limit: int = 24) -> Graph:
    """What a network is told of a molecule from `read_smiles` or `with_hydrogens`; limit: of automorphisms listed.

    The hand of a centre is drawn without CIP ranks: from one neighbour s, its apex, the other three p, q, r form a
    directed triangle p -> q -> r -> p with (p - s) . ((q - s) x (r - s)) > 0. Summed over all four choices of the apex
    this is the same for both hands (every pair gets both directions), so the apex is one of those neighbours that the
    graph tells from the others: see `_apexes`. A centre with a lone pair is its own apex. Substituents across a double
    bond are marked by their sides, all pairs of them.
    """
    stereo = Stereo.of(mol)
    group = automorphisms(mol, hydrogens=True, stereo=True, limit=limit)
    rings = _rings(mol)
    edges = _edges(mol, rings)
    _mark_sides(mol, stereo, edges)
    _mark_hands(mol, stereo, edges)
    return Graph(
        numbers=np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64),
        nodes=torch.from_numpy(_nodes(mol, stereo, rings)),
        edges=torch.from_numpy(edges),
        modes=torch.from_numpy(_modes(edges[..., BOND])),
        automorphisms=torch.from_numpy(group.permutations),
    )


def collated(graphs: Sequence[Graph]) -> Cloud:
    """A batch with the graphs in its condition, padded with zeros: positions zero, no features.

    Absent automorphisms are rows of -1; padding stays in its place. Raises ValueError for no graphs.
    """
    if not graphs:
        raise ValueError("a batch needs at least one graph; got none")
    most = max(map(len, graphs))
    mask = torch.zeros(len(graphs), most, 1)
    nodes = torch.zeros(len(graphs), most, NODES)
    edges = torch.zeros(len(graphs), most, most, EDGES)
    modes = torch.zeros(len(graphs), most, most)
    for i, graph in enumerate(graphs):
        n = len(graph)
        mask[i, :n], nodes[i, :n], edges[i, :n, :n], modes[i, :n, :n] = 1.0, graph.nodes, graph.edges, graph.modes
    condition = Condition(nodes=nodes, edges=edges, modes=modes)
    cloud = Cloud(mask.new_zeros(len(graphs), most, 3), mask.new_zeros(len(graphs), most, 0), mask, condition)
    return with_automorphisms(cloud, [AutomorphismGroup(graph.automorphisms.numpy(), None, "") for graph in graphs])


def reflected(cloud: Cloud, which: Bool[Tensor, "b"]) -> Cloud:
    """Some clouds, with all positions that come with them, as their mirror images, and their centres of the other hand.

    A mirror image has the energy of the molecule, so that conformers of one are those of the other. Data that hold one
    hand of a graph alone let a network take it from the graph; with both, it has to read the triangles.
    """
    sign = per_atom(1 - 2 * which.to(cloud.x.dtype))
    condition = cloud.condition
    if condition is not None:
        moved = {name: getattr(condition, name) for name in ("siblings", "end")}
        moved = {name: sign.reshape(-1, *[1] * (x.ndim - 1)) * x for name, x in moved.items() if x is not None}
        edges = condition.edges
        if edges is not None:
            order = torch.arange(edges.shape[-1], device=edges.device)
            order[[TRIANGLE, REVERSED]] = order[[REVERSED, TRIANGLE]]
            moved["edges"] = torch.where(which[:, None, None, None], edges[..., order], edges)
        condition = replace(condition, **moved)
    return replace(cloud, x=sign * cloud.x, condition=condition)


def _nodes(mol: Chem.Mol, stereo: Stereo, rings: Rings) -> NDArray[np.float32]:
    nodes = np.zeros((mol.GetNumAtoms(), NODES), dtype=np.float32)
    degree, hybrid, charge, hydrogens, others, sizes = np.cumsum(_PARTS)[:-1].tolist()
    for atom, row in zip(mol.GetAtoms(), nodes, strict=True):
        row[0] = atom.GetAtomicNum()
        row[degree + min(atom.GetDegree(), _DEGREES[-1])] = 1
        if atom.GetHybridization() in _HYBRIDISATIONS:
            row[hybrid + _HYBRIDISATIONS.index(atom.GetHybridization())] = 1
        row[charge + min(max(atom.GetFormalCharge(), _CHARGES[0]), _CHARGES[-1]) - _CHARGES[0]] = 1
        carried = sum(neighbour.GetAtomicNum() == 1 for neighbour in atom.GetNeighbors())
        row[hydrogens + min(carried, _HYDROGENS[-1])] = 1
        row[others : others + 2] = atom.GetIsAromatic(), atom.IsInRing()
    nodes[stereo.centres, others + 2] = 1
    for ring in rings:
        nodes[list(ring), sizes + len(ring) - _RINGS[0]] = 1
    return nodes


def _edges(mol: Chem.Mol, rings: Rings) -> NDArray[np.float32]:
    """All channels but those of stereochemistry."""
    edges = np.zeros((mol.GetNumAtoms(), mol.GetNumAtoms(), EDGES), dtype=np.float32)
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        row = np.zeros(EDGES, dtype=np.float32)
        row[BOND] = 1
        if bond.GetBondType() in _ORDERS:
            row[BOND + 1 + _ORDERS.index(bond.GetBondType())] = 1
        row[CONJUGATED], row[RING_BOND] = bond.GetIsConjugated(), bond.IsInRing()
        edges[i, j] = edges[j, i] = row
    hops = Chem.GetDistanceMatrix(mol)
    for channel, distance in enumerate(_HOPS, HOPS):
        edges[..., channel] = hops >= distance if distance == _HOPS[-1] else hops == distance
    for ring in map(list, rings):
        edges[np.ix_(ring, ring, [SAME_RING])] = 1
    edges[np.arange(len(edges)), np.arange(len(edges)), SAME_RING] = 0
    return edges


def _rings(mol: Chem.Mol) -> Rings:
    """The shortest rings through each bond, all of them, up to 8 atoms.

    RDKit's rings are a basis, and which one a cage gets depends on the order of its atoms; these do not.
    """
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds() if bond.IsInRing()]
    beside: dict[int, list[int]] = {}
    for i, j in bonds:
        beside.setdefault(i, []).append(j)
        beside.setdefault(j, []).append(i)
    rings: Rings = set()
    for first, last in bonds:
        paths, seen = {first: [[first]]}, {first}
        for _ in range(_RINGS[-1] - 1):  # from atom to atom, all shortest ways round to the bond's other end
            further: dict[int, list[list[int]]] = {}
            for atom, ways in paths.items():
                for other in beside[atom]:
                    if other not in seen and (atom, other) != (first, last):
                        further.setdefault(other, []).extend([*way, other] for way in ways)
            paths = further
            seen.update(paths)
            if last in paths:
                rings.update(map(frozenset, paths[last]))
                break
    return rings


def _mark_sides(mol: Chem.Mol, stereo: Stereo, edges: NDArray[np.float32]) -> None:
    for (x, a, b, y), same in zip(stereo.double_bonds.tolist(), stereo.same.tolist(), strict=True):
        for i in _neighbours(mol, a):
            for j in _neighbours(mol, b):
                if i != b and j != a:
                    channel = SAME_SIDE if same ^ (i != x) ^ (j != y) else OPPOSITE_SIDE
                    edges[i, j, channel] = edges[j, i, channel] = 1


def _mark_hands(mol: Chem.Mol, stereo: Stereo, edges: NDArray[np.float32]) -> None:
    if not len(stereo.centres):
        return
    ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    for centre, corners in zip(stereo.centres.tolist(), stereo.corners.tolist(), strict=True):
        for place in [3] if corners[3] == centre else _apexes(mol, corners, ranks):
            apex, (p, q, r) = corners[place], (corners[i] for i in range(4) if i != place)
            if place % 2 == 0:  # from its place to the last an apex passes an odd number of others
                p, q = q, p
            for i, j in ((p, q), (q, r), (r, p)):
                edges[i, j, TRIANGLE] += 1
                edges[j, i, REVERSED] += 1
            for i in (p, q, r):
                edges[i, apex, APEX] = edges[apex, i, APEX] = 1


def _apexes(mol: Chem.Mol, corners: Sequence[int], ranks: Sequence[int]) -> list[int]:
    """Places of the neighbours to stand apart: the fewest of one rank; of those, the lightest; of those, the lowest.

    The choice follows from the graph alone. One of a rank is the rule. Two and two, as at the middle of a spirane, give
    two apexes: their triangles sum to a directed ring through the four, alternating between ranks.
    """
    of = [ranks[atom] for atom in corners]
    chosen = min(
        (of.count(rank), mol.GetAtomWithIdx(atom).GetAtomicNum(), rank) for atom, rank in zip(corners, of, strict=True)
    )
    return [place for place, rank in enumerate(of) if rank == chosen[2]]


def _neighbours(mol: Chem.Mol, atom: int) -> list[int]:
    return [neighbour.GetIdx() for neighbour in mol.GetAtomWithIdx(atom).GetNeighbors()]


def _modes(bonded: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest component of each mode is positive, the first of those that are as large to 1e-9."""
    laplacian = np.diag(bonded.sum(1, dtype=np.float64)) - bonded
    squares, modes = np.linalg.eigh(laplacian)
    sizes = np.abs(modes)
    first = (sizes >= sizes.max(0) - 1e-9).argmax(0)
    modes *= np.sign(modes[first, np.arange(len(modes))])
    modes[:, 1:] /= np.sqrt(squares[1:])  # the molecule is in one piece: only the shift of all atoms is free
    modes[:, 0] = 0
    return modes.astype(np.float32)
