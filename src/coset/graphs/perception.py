"""Perception: stereochemistry that a molecule leaves open, as its conformers have it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.graphs.reading import read_smiles
from coset.graphs.stereo import Stereo


def read_seen(smiles: str, positions: Float[NDArray[np.floating], "k n 3"]) -> Chem.Mol:
    """`read_smiles`, and `with_seen_stereo` where the positions are of as many atoms."""
    mol = read_smiles(smiles)
    return with_seen_stereo(mol, positions) if positions.shape[1] == mol.GetNumAtoms() else mol


def with_seen_stereo(mol: Chem.Mol, positions: Float[NDArray[np.floating], "k n 3"]) -> Chem.Mol:
    """A copy in which centres and double bonds that the molecule leaves open are as all of its conformers have them.

    A SMILES without marks stands for any stereoisomer, the conformers of an ensemble mostly for one; a network that is
    not told which cannot learn what a mark means. Marks that are there stay. Those on which conformers differ, or that
    are not clear in all (`Stereo.right`), stay open; no conformer comes with the copy. Raises ValueError for positions
    of another molecule's shape.
    """
    seen, given = Chem.Mol(mol), np.asarray(positions, dtype=np.float64)
    told = Stereo.of(mol)
    if len(given) == 0:
        return seen
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(given[0]))
    seen.RemoveAllConformers()
    seen.AddConformer(conformer)
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(seen, replaceExistingTags=True)
    found = Stereo.of(seen)
    clear = np.logical_and.reduce(found.right(given), axis=0)
    seen.RemoveAllConformers()
    _put_back(seen, mol, told)
    kept_atoms, kept_bonds = set(told.centres.tolist()), {tuple(bond[1:3]) for bond in told.double_bonds.tolist()}
    for atom, right in zip(found.centres.tolist(), clear, strict=False):
        if not right and atom not in kept_atoms:
            seen.GetAtomWithIdx(atom).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    for (_, a, b, _), right in zip(found.double_bonds.tolist(), clear[len(found.centres) :], strict=True):
        if not right and (a, b) not in kept_bonds:
            seen.GetBondBetweenAtoms(a, b).SetStereo(Chem.BondStereo.STEREONONE)
    return seen


def _put_back(seen: Chem.Mol, mol: Chem.Mol, told: Stereo) -> None:
    """What the molecule itself says, in the place of what was seen."""
    for atom in told.centres.tolist():
        seen.GetAtomWithIdx(atom).SetChiralTag(mol.GetAtomWithIdx(atom).GetChiralTag())
    for _, a, b, _ in told.double_bonds.tolist():
        own, bond = mol.GetBondBetweenAtoms(a, b), seen.GetBondBetweenAtoms(a, b)
        bond.SetStereoAtoms(*own.GetStereoAtoms())
        bond.SetStereo(own.GetStereo())
