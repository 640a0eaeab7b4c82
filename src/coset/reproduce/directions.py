"""Directions in molecules that lie in space: of rings, axes and groups, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from coset.bonds import to_rdkit
from coset.cloud import Cloud
from coset.data.catalog import Dataset
from coset.molecule import Molecule, Vocabulary

CARBONYL, OXYGEN_RING = Chem.MolFromSmarts("[#6]=[OX1]"), Chem.MolFromSmarts("[#8]1~[#6]~[#6]~[#6]~1")
LARGEST_RING = 6  # atoms
Vectors = Float[NDArray[np.float64], "k 3"]
MEASURES = {
    "ring_normals": "normals of rings",
    "longest_axes": "longest axes",
    "shortest_axes": "shortest axes",
    "carbonyls": "C=O",
    "oxygen_rings": "to the O of four-membered rings",
}
POLAR = ("carbonyls", "oxygen_rings")  # which have a sign


@dataclass(frozen=True)
class Posed:
    """Held-out molecules, their graphs, and the rings and groups whose directions are measured: rows and atoms."""

    clean: Cloud
    molecules: list[Molecule]
    graphs: list[Chem.Mol]
    rings: list[tuple[int, tuple[int, ...]]]
    carbonyls: list[tuple[int, tuple[int, ...]]]
    oxygen_rings: list[tuple[int, tuple[int, ...]]]

    @classmethod
    def of(cls, dataset: Dataset, count: int) -> Posed:
        """The first `count` test molecules, or validation molecules where there are none."""
        rows = (dataset.test if len(dataset.test) else dataset.valid)[:count]
        vocabulary = Vocabulary(dataset.vocabulary)
        clean = vocabulary.cloud(*dataset.store.collate(rows)).to(torch.float64).center()
        molecules = vocabulary.molecules(clean)
        graphs = [to_rdkit(molecule) for molecule in molecules]
        rings = [
            (row, ring)
            for row, graph in enumerate(graphs)
            for ring in graph.GetRingInfo().AtomRings()
            if len(ring) <= LARGEST_RING
        ]
        return cls(clean, molecules, graphs, rings, _matches(graphs, CARBONYL), _matches(graphs, OXYGEN_RING))


def _matches(graphs: Sequence[Chem.Mol], query: Chem.Mol) -> list[tuple[int, tuple[int, ...]]]:
    return [(row, atoms) for row, graph in enumerate(graphs) for atoms in graph.GetSubstructMatches(query)]


def order(held_out: Posed, turns: Float[Tensor, "b 3 3"]) -> dict[str, float]:
    """How alike directions are: 0 for directions by chance, 1 where all are one.

    Axes, which have no sign, by the order parameter of liquid crystals, (3 lambda - 1) / 2 with lambda the largest
    eigenvalue of the mean of n n^T; directions by the length of their mean.
    """
    found = directions(held_out, turns)
    return {name: polar(each) if name in POLAR else nematic(each) for name, each in found.items()}


def directions(held_out: Posed, turns: Float[Tensor, "b 3 3"]) -> dict[str, Vectors]:
    """Of molecules in their poses, by measure; axes are of length 1."""
    x = held_out.clean.rotate(turns.mT).x.numpy()
    mask = held_out.clean.mask[..., 0].numpy()
    axes = np.linalg.eigh(np.einsum("bni,bnj,bn->bij", x, x, mask))[1]
    rings = (x[row, list(ring)] for row, ring in held_out.rings)
    normals = np.array([np.linalg.svd(ring - ring.mean(0))[2][2] for ring in rings])
    carbonyls = np.array([x[row, oxygen] - x[row, carbon] for row, (carbon, oxygen) in held_out.carbonyls])
    oxygen_rings = np.array([x[row, ring[0]] - x[row, list(ring)].mean(0) for row, ring in held_out.oxygen_rings])
    return {
        "ring_normals": normals,
        "longest_axes": axes[:, :, 2],
        "shortest_axes": axes[:, :, 0],
        "carbonyls": carbonyls,
        "oxygen_rings": oxygen_rings,
    }


def nematic(axes: Vectors) -> float:
    """Of unit vectors up to their sign."""
    return float(1.5 * np.linalg.eigvalsh(np.einsum("ki,kj->ij", axes, axes) / len(axes))[-1] - 0.5)


def polar(directions: Vectors) -> float:
    """Of vectors of any length."""
    return float(np.linalg.norm((directions / np.linalg.norm(directions, axis=1, keepdims=True)).mean(0)))
