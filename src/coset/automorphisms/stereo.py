"""Stereo marks of a molecular graph, and which maps of its atoms keep them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from rdkit import Chem

_OPPOSITE = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
_SAME = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
_HANDS = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)


@dataclass(frozen=True)
class StereoMarks:
    """Hands of tetrahedral centres, sides of double bonds' reference atoms, and every atom's neighbours in order."""

    hands: dict[int, bool]
    sides: dict[tuple[int, int], tuple[int, int, bool]]
    neighbours: dict[int, list[int]]

    @classmethod
    def of(cls, graph: Chem.Mol) -> StereoMarks:
        neighbours = {
            atom.GetIdx(): [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
            for atom in graph.GetAtoms()
        }
        hands = {
            atom.GetIdx(): atom.GetChiralTag() == _HANDS[0]
            for atom in graph.GetAtoms()
            if atom.GetChiralTag() in _HANDS
        }
        sides = {}
        for bond in graph.GetBonds():
            if bond.GetStereo() in _SAME + _OPPOSITE and len(bond.GetStereoAtoms()) == 2:
                begin, end, (x, y) = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetStereoAtoms()
                same = bond.GetStereo() in _SAME
                sides[begin, end], sides[end, begin] = (x, y, same), (y, x, same)
        return cls(hands, sides, neighbours)

    def kept(self, maps: Int[NDArray[np.int64], "g n"]) -> Int[NDArray[np.int64], "h n"]:
        """The maps under which every mark is that of its image."""
        if not (self.hands or self.sides):
            return maps
        return maps[[self._keeps(each.tolist()) for each in maps]]

    def _keeps(self, image: list[int]) -> bool:
        for centre, hand in self.hands.items():
            other = image[centre]
            moved = [image[neighbour] for neighbour in self.neighbours[centre]]
            odd = _odd([self.neighbours[other].index(atom) for atom in moved])
            if other not in self.hands or self.hands[other] != (hand ^ odd):
                return False
        for (begin, end), (x, y, same) in self.sides.items():
            other = self.sides.get((image[begin], image[end]))
            # Each reference atom that maps to its side's other atom turns same into opposite.
            if other is None or other[2] != (same ^ (image[x] != other[0]) ^ (image[y] != other[1])):
                return False
        return True


def _odd(order: list[int]) -> bool:
    return sum(first > second for i, first in enumerate(order) for second in order[i + 1 :]) % 2 == 1
