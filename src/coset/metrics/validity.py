"""Validity: can RDKit make sense of the bonds?"""

from __future__ import annotations

from jaxtyping import Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.bonds import bond_graph, crowded


def valid_smiles(numbers: Int[NDArray, "n"], orders: Int[NDArray, "n n"]) -> str | None:
    """Canonical SMILES, every hydrogen written out, of a valid sample; None for an invalid one.

    The whole graph, built without charges or aromaticity, must sanitise; the SMILES is that of its largest
    fragment by atoms (Hoogeboom et al. 2022, `qm9/rdkit_functions.py`). RDKit may fill open valences with
    implicit hydrogens: a molecule that lacks hydrogens can be valid without being stable.
    For GEOM-Drugs the published code makes every bond single first (`Protocol.capped`): another quantity.
    """
    if crowded(orders):
        return None
    graph = bond_graph(numbers, orders)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(graph)
            if len(Chem.GetMolFrags(graph)) > 1:
                graph = max(Chem.GetMolFrags(graph, asMols=True), key=lambda fragment: fragment.GetNumAtoms())
                Chem.SanitizeMol(graph)
        except ValueError:  # RDKit's chemistry errors are ValueErrors
            return None
        return Chem.MolToSmiles(graph)
