"""Automorphisms: the permutations of a molecule's atoms that leave its graph as it is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial, prod

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.automorphisms.stereo import StereoMarks
from coset.bonds import to_rdkit
from coset.cloud import Cloud, Condition
from coset.molecule import Molecule

LIMIT = 256  # a group's elements: half of QM9's molecules have 16 or fewer, nine in ten 192
MOST_MAPS = 40_000  # of the heavy atoms, that are counted

Maps = Int[NDArray[np.int64], "g n"]
Carried = dict[int, list[int]]


@dataclass(frozen=True, eq=False)
class AutomorphismGroup:
    """permutations (g, n): each an order of the atoms, the identity first, closed under composition.

    order: number of elements of the whole group, None where it is too large to count. described: in words, which group
    the permutations are. An average over a subgroup is a conditional expectation too: exact, only of less.
    """

    permutations: Int[NDArray[np.int64], "g n"]
    order: int | None
    described: str

    @property
    def whole(self) -> bool:
        """Whether these are all there are."""
        return self.order == len(self.permutations)

    def __len__(self) -> int:
        return len(self.permutations)


def automorphisms(
    molecule: Chem.Mol | Molecule, hydrogens: bool = True, stereo: bool = True, limit: int = LIMIT
) -> AutomorphismGroup:
    """Permutations that keep element, charge, isotope, number of hydrogens and bonds, aromatic ones as such.

    molecule: with the hydrogens that it has as atoms; of a `Molecule` the bonds are perceived (`bonds.to_rdkit`).
    hydrogens: whether those of one atom change places among themselves; without it each follows its atom, in order.
    stereo: keeps the hand of each tetrahedral centre and the E or Z of each double bond that has one; leave it out for
    networks that are not told. limit: of the elements listed. A larger group gives way to a subgroup: first hydrogens
    are restricted to turns of XH3 and swaps of XH2, then those of some atoms stay, at last some heavy atoms do.
    The two oxygens of a nitro group or a carboxylate drawn with charges differ. Raises ValueError for a limit below 1
    and a molecule without atoms.
    """
    if limit < 1:
        raise ValueError(f"a group has at least 1 element, its identity; got limit={limit}")
    with rdBase.BlockLogs():
        graph = _prepared(to_rdkit(molecule) if isinstance(molecule, Molecule) else molecule, stereo)
    if graph.GetNumAtoms() == 0:
        raise ValueError("a molecule without atoms has no automorphisms")
    carried, marks = _carried_hydrogens(graph), StereoMarks.of(graph) if stereo else StereoMarks({}, {}, {})
    maps, fixed = _kept(graph, carried, marks, MOST_MAPS), 0
    # The rest of the group is that of the hydrogens of each atom among themselves: a product, exactly.
    of_hydrogens = prod(factorial(len(hs)) for hs in carried.values()) if hydrogens else 1
    order = None if maps is None else len(maps) * of_hydrogens
    if maps is None or len(maps) > limit:
        fixed, maps = _smaller(graph, carried, marks, limit)
    groups = _hydrogen_groups(maps, carried, limit, order) if hydrogens else {}
    elements = maps
    for anchor, group in groups.items():
        hs = np.array(carried[anchor])
        # (first the map, then the hydrogens of one atom): x_i -> x_map[i], and the hydrogens' own order within.
        own = np.tile(np.arange(elements.shape[1]), (len(group), 1))
        own[:, hs] = hs[group]
        elements = elements[:, own].reshape(-1, elements.shape[1])
    described = _description(maps, fixed, groups, carried, hydrogens, len(elements) == order)
    return AutomorphismGroup(elements, order, described)


def with_automorphisms(cloud: Cloud, groups: Sequence[AutomorphismGroup]) -> Cloud:
    """The cloud with a group for each molecule in its condition; the rest of the condition stays.

    Absent elements are rows of -1; padding stays in its place. Raises ValueError where numbers of molecules or atoms
    differ.
    """
    counts = cloud.count.long().tolist()
    if [group.permutations.shape[1] for group in groups] != counts:
        raise ValueError(
            f"groups of {[group.permutations.shape[1] for group in groups]} atoms do not fit molecules of {counts}; "
            "give one group a molecule, in the molecules' order"
        )
    atoms = cloud.mask.shape[1]
    table = torch.full((len(cloud), max(map(len, groups), default=1), atoms), -1)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = torch.arange(atoms)
        row[: len(group), : group.permutations.shape[1]] = torch.from_numpy(group.permutations)
    return replace(cloud, condition=replace(cloud.condition or Condition(), automorphisms=table.to(cloud.x.device)))


def _prepared(mol: Chem.Mol, stereo: bool) -> Chem.Mol:
    """A copy with aromatic bonds (Kekule forms lose symmetry) and without stereo marks that mark nothing."""
    graph = Chem.Mol(mol)
    graph.UpdatePropertyCache(strict=False)
    with suppress(ValueError, RuntimeError):
        Chem.FastFindRings(graph)
        Chem.SetAromaticity(graph)
    if stereo:
        with suppress(ValueError, RuntimeError):
            Chem.AssignStereochemistry(graph, cleanIt=True, force=True)
    return graph


def _carried_hydrogens(graph: Chem.Mol) -> Carried:
    """Plain hydrogens by the heavy atom that each hangs from; H2, bridges, ions and deuterium count as heavy."""
    found: dict[int, list[int]] = {}
    for atom in graph.GetAtoms():
        if atom.GetAtomicNum() == 1 and atom.GetDegree() == 1 and not atom.GetIsotope() and not atom.GetFormalCharge():
            anchor, bond = atom.GetNeighbors()[0], atom.GetBonds()[0]
            if anchor.GetAtomicNum() > 1 and bond.GetBondType() == Chem.BondType.SINGLE:
                found.setdefault(anchor.GetIdx(), []).append(atom.GetIdx())
    return found


def _smaller(graph: Chem.Mol, carried: Carried, marks: StereoMarks, limit: int) -> tuple[int, Maps]:
    """The fewest atoms, the first ones, that must stay in place for `limit` maps or fewer; and those maps."""
    most = MOST_MAPS if marks.hands or marks.sides else limit

    def fits(fixed: int) -> bool:
        found = _kept(graph, carried, marks, most, fixed)
        return found is not None and len(found) <= limit

    fixed = 1 + bisect_left(range(1, graph.GetNumAtoms()), True, key=fits)
    maps = _kept(graph, carried, marks, most, fixed)
    assert maps is not None, "only the identity leaves every atom in place"
    return fixed, maps


def _kept(graph: Chem.Mol, carried: Carried, marks: StereoMarks, most: int, fixed: int = 0) -> Maps | None:
    maps = _maps(graph, carried, most, fixed)
    return None if maps is None else marks.kept(maps)


def _maps(graph: Chem.Mol, carried: Carried, most: int, fixed: int) -> Maps | None:
    """Maps of the other atoms that leave the first `fixed` in place, identity first; hydrogens follow in order.

    None where there are more than `most`. RDKit matches a bare copy with itself whose colours are isotopes: a query
    of its own would let neutral atoms match charged ones, and it stops at 1,000 matches unless told otherwise.
    """
    followers = {h for hs in carried.values() for h in hs}
    heavy = [i for i in range(graph.GetNumAtoms()) if i not in followers]
    matches = _self_matches(graph, heavy, carried, fixed, most + 1)
    if len(matches) > most:
        return None
    images = np.array(heavy)[np.array(matches, dtype=np.int64)]
    images = images[np.lexsort(images.T[::-1])]  # the identity is the first in lexical order
    maps = np.tile(np.arange(graph.GetNumAtoms()), (len(images), 1))
    maps[:, heavy] = images
    for anchor, hs in carried.items():
        table = np.zeros((graph.GetNumAtoms(), len(hs)), dtype=np.int64)
        for other, theirs in carried.items():
            if len(theirs) == len(hs):
                table[other] = theirs
        maps[:, hs] = table[maps[:, anchor]]
    return maps


def _self_matches(
    graph: Chem.Mol, heavy: list[int], carried: Carried, fixed: int, most: int
) -> tuple[tuple[int, ...], ...]:
    """Matches of the graph of the heavy atoms with itself, by their number in `heavy`; `most` of them at most."""
    place = {atom: number for number, atom in enumerate(heavy)}
    colours: dict[tuple, int] = {}
    bare = Chem.RWMol()
    for number, i in enumerate(heavy):
        atom = graph.GetAtomWithIdx(i)
        kind = (atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetIsotope(), len(carried.get(i, ())))
        label = (*kind, atom.GetTotalNumHs(), number if number < fixed else -1)
        dot = Chem.Atom(6)
        dot.SetIsotope(colours.setdefault(label, len(colours) + 1))
        bare.AddAtom(dot)
    for bond in graph.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if ends[0] in place and ends[1] in place:
            # A bond of order zero would match any other.
            kind = bond.GetBondType() if bond.GetBondType() != Chem.BondType.ZERO else Chem.BondType.HEXTUPLE
            bare.AddBond(place[ends[0]], place[ends[1]], kind)
    return bare.GetSubstructMatches(bare, uniquify=False, useChirality=False, maxMatches=most)


def _hydrogen_groups(
    maps: Maps, carried: Carried, limit: int, order: int | None
) -> dict[int, Int[NDArray[np.int64], "k h"]]:
    """A group of orders of the hydrogens at each heavy atom, the same for atoms that the maps exchange.

    All orders if the whole group fits. Else turns of XH3, then swaps of XH2, then all orders, where they still fit.
    """
    anchors = [anchor for anchor, hs in carried.items() if len(hs) > 1]
    if order is not None and order <= limit:
        return {anchor: _all_orders(len(carried[anchor])) for anchor in anchors}
    orbits = sorted({tuple(sorted(set(maps[:, anchor].tolist()))) for anchor in anchors}, key=lambda o: (len(o), o))
    chosen: dict[tuple[int, ...], NDArray] = {}
    size = len(maps)
    for candidate, least in ((_turns, 3), (_turns, 2), (_all_orders, 3)):
        for orbit in orbits:
            hydrogens = len(carried[orbit[0]])
            group = candidate(hydrogens)
            grown = (len(group) // len(chosen.get(orbit, [0]))) ** len(orbit)
            if hydrogens >= least and size * grown <= limit:
                chosen[orbit], size = group, size * grown
    return {anchor: group for orbit, group in chosen.items() for anchor in orbit}


def _turns(count: int) -> Int[NDArray[np.int64], "k h"]:
    return (np.arange(count)[:, None] + np.arange(count)) % count


def _all_orders(count: int) -> Int[NDArray[np.int64], "k h"]:
    return np.array(list(permutations(range(count))))


def _description(
    maps: Maps, fixed: int, groups: Mapping[int, NDArray], carried: Carried, hydrogens: bool, whole: bool
) -> str:
    if whole:
        return "all automorphisms" if hydrogens else "all maps of heavy atoms, hydrogens carried along"
    parts = [f"{len(maps)} maps of heavy atoms" + (f" that leave the first {fixed} in place" if fixed else "")]
    if hydrogens:
        sets = sum(len(hs) > 1 for hs in carried.values())
        orders = sum(len(group) == factorial(group.shape[1]) for group in groups.values())
        turns = len(groups) - orders
        parts.append(f"all orders of {orders} and turns of {turns} of the {sets} sets of hydrogens at one atom")
    return " with ".join(parts)
