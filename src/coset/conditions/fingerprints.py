"""Fingerprints of molecular graphs, by RDKit."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator

from coset.bonds import bond_graph, bond_orders
from coset.conditions.layout import BITS

Bits = NDArray[np.uint8]


def fingerprint(kind: str, graph: Chem.Mol) -> Bits:
    """Bits (1024,) of one graph, which must be sanitised.

    "pattern": RDKit's for screening; every bit of a part is one of the whole, so that a SMARTS query has one too.
    "morgan": circular, radius 2 (ECFP4). Hydrogens do not count. Raises ValueError for other kinds.
    """
    if kind == "pattern":
        return _bits(Chem.PatternFingerprint(graph, fpSize=BITS))
    if kind == "morgan":
        return _bits(rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS).GetFingerprint(graph))
    raise ValueError(f"unknown fingerprint {kind!r}; choose pattern or morgan")


def fingerprints(kind: str, numbers: Int[NDArray, "b n"], positions: NDArray) -> tuple[Bits, NDArray[np.bool_]]:
    """Of molecules with the bonds of the distance rule: bits (b, 1024), and which have a graph that RDKit accepts.

    The bits of the others are zero.
    """
    orders = bond_orders(numbers, positions)
    found, known = np.zeros((len(numbers), BITS), np.uint8), np.zeros(len(numbers), bool)
    for row, (elements, bonds) in enumerate(zip(numbers, orders, strict=True)):
        atoms = int((elements > 0).sum())
        graph = heavy_graph(elements[:atoms], bonds[:atoms, :atoms])
        if graph is not None:
            found[row], known[row] = fingerprint(kind, graph), True
    return found, known


def heavy_graph(numbers: Int[NDArray, "n"], orders: Int[NDArray, "n n"]) -> Chem.Mol | None:
    """A molecule's graph without its hydrogens, aromaticity perceived; None where RDKit refuses it."""
    with rdBase.BlockLogs():
        try:
            graph = bond_graph(numbers, orders)
            Chem.SanitizeMol(graph)
            return Chem.RemoveHs(graph)
        except ValueError:  # RDKit's chemistry errors are ValueErrors
            return None


def tanimoto(first: Bits, second: Bits) -> float:
    """Shared bits over all bits; 1 for two without any."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def _bits(vector: DataStructs.ExplicitBitVect) -> Bits:
    found = np.zeros(vector.GetNumBits(), np.uint8)
    DataStructs.ConvertToNumpyArray(vector, found)
    return found
