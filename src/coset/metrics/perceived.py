"""Perceived: one molecule judged by the bonds, charges and aromaticity that RDKit reads off its positions."""

from __future__ import annotations

from typing import Any

from rdkit import Chem, rdBase

from coset.bonds import Located, to_rdkit
from coset.metrics.graphs import judge

LABEL = f"perceived 1 {rdBase.rdkitVersion}"
_CARBON = 6


def perceived(molecule: Located) -> dict[str, Any]:
    """What `judge` finds by RDKit's perception (`to_rdkit`): stable (a number of atoms), connected, smiles, charge.

    charge: the total charge at which bonds were found; None where none were. A carbon with a charge is not stable:
    perception pays with one for a hydrogen that lacks, and drugs hardly have any. Where no bonds were found the
    molecule is not valid, and its atoms and pieces are judged by the bonds of the distance rule: one atom that fits
    nowhere says nothing of the others.
    """
    graph = to_rdkit(molecule, "rdkit")
    found, failed = judge(graph), graph.GetProp("perception") != "rdkit"
    ions = [atom.GetAtomicNum() == _CARBON and atom.GetFormalCharge() != 0 for atom in graph.GetAtoms()]
    return {
        "stable": sum(holds and not ion for holds, ion in zip(found.stable, ions, strict=True)),
        "connected": found.connected,
        "smiles": None if failed else found.smiles,
        "charge": None if failed else Chem.GetFormalCharge(graph),
    }
