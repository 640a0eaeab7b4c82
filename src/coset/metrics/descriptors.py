"""Descriptors: what a molecular graph looks like, in 28 numbers of RDKit's."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

DESCRIPTORS = (
    "heavy atoms", "carbon", "hydrogen", "nitrogen", "oxygen",
    "double bonds", "triple bonds", "aromatic atoms", "fraction sp3",
    "rings", "rings of 3", "rings of 4", "rings of 5", "rings of 6", "rings of 7 or more",
    "heterocycles", "spiro atoms", "bridgehead atoms",
    "amide bonds", "H-bond donors", "rotatable bonds",
    "TPSA", "Labute ASA", "Chi0v", "Chi1v", "Chi2v", "Kappa1", "Hall-Kier alpha",
)  # fmt: skip
_ROTATABLE = rdMolDescriptors.NumRotatableBondsOptions.NonStrict
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")


def descriptors(smiles: Iterable[str | None]) -> Float[NDArray[np.float64], "m d"]:
    """The `DESCRIPTORS` of valid molecules, one row each; None and what RDKit cannot describe are left out.

    smiles: of `valid_smiles`. All are of the graph, so they do not depend on the conformer. Left out on purpose: logP,
    H-bond acceptors, Balaban's J and Chi3v, which take as long as all these together; Kappa2 and Kappa3, which explode
    for small compact molecules; other elements, too rare in QM9 to be standardised.
    """
    rows = []
    with rdBase.BlockLogs():
        for text in smiles:
            graph = None if text is None else Chem.MolFromSmiles(text)
            if text is not None and graph is not None:
                rows.append(_describe(text, graph))
    table = np.array(rows, dtype=np.float64).reshape(-1, len(DESCRIPTORS))
    return table[np.isfinite(table).all(1)]


def _describe(smiles: str, graph: Chem.Mol) -> list[float]:
    formula = {symbol: int(count or 1) for symbol, count in _FORMULA.findall(rdMolDescriptors.CalcMolFormula(graph))}
    rings = [len(ring) for ring in graph.GetRingInfo().AtomRings()]
    return [
        graph.GetNumHeavyAtoms(),
        *(formula.get(symbol, 0) for symbol in ("C", "H", "N", "O")),
        smiles.count("="),  # one a bond, and far faster than a loop over them
        smiles.count("#"),
        len(graph.GetAromaticAtoms()),
        rdMolDescriptors.CalcFractionCSP3(graph),
        len(rings),
        *(rings.count(size) for size in (3, 4, 5, 6)),
        sum(size > 6 for size in rings),
        rdMolDescriptors.CalcNumHeterocycles(graph),
        rdMolDescriptors.CalcNumSpiroAtoms(graph),
        rdMolDescriptors.CalcNumBridgeheadAtoms(graph),
        rdMolDescriptors.CalcNumAmideBonds(graph),
        rdMolDescriptors.CalcNumHBD(graph),
        rdMolDescriptors.CalcNumRotatableBonds(graph, _ROTATABLE),
        rdMolDescriptors.CalcTPSA(graph),
        rdMolDescriptors.CalcLabuteASA(graph),
        rdMolDescriptors.CalcChi0v(graph),
        rdMolDescriptors.CalcChi1v(graph),
        rdMolDescriptors.CalcChi2v(graph),
        rdMolDescriptors.CalcKappa1(graph),
        rdMolDescriptors.CalcHallKierAlpha(graph),
    ]
