"""Small molecules with sulfur and chlorine, some conformers of each, made by RDKit's distance geometry."""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

from coset.molecule import Molecule

SMILES = (
    "CCS", "CCCl", "CSC", "ClCCl", "SCCS", "OCCCl", "CC(=O)CS", "c1ccsc1", "Clc1ccccc1", "CCCCCl", "CSCCO", "NCCS",
    "CC(Cl)CS", "c1ccc2ccccc2c1", "CCOC(C)=O", "CCN(C)C", "FCCCl", "CS(C)=O", "CCCS", "CC(C)Cl", "OCCS", "SCCCl",
    "ClCCCCl", "CC#CCS", "C1CCSC1", "CSSC", "CC(=O)Cl", "NCCCl", "CCSCC", "Cc1ccsc1", "OCC(O)CS", "CNCCCl",
)  # fmt: skip


@cache
def conformers(smiles: str, count: int = 3) -> tuple[Molecule, ...]:
    """Conformers of one molecule, the same at every call; property energy: a number, name: text."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    found = AllChem.EmbedMultipleConfs(mol, count, randomSeed=7)
    AllChem.MMFFOptimizeMoleculeConfs(mol, maxIters=50)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return tuple(
        Molecule(numbers, mol.GetConformer(i).GetPositions(), {"energy": float(i) - 0.25, "name": smiles})
        for i in found
    )


def library() -> list[Molecule]:
    """All of them, conformers one after the other."""
    return [molecule for smiles in SMILES for molecule in conformers(smiles)]
