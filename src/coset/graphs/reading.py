"""Reading: molecules from SMILES with every hydrogen an atom, or a sentence on why not."""

from __future__ import annotations

from rdkit import Chem, rdBase

from coset.bonds import CROWD

MOST_ATOMS = 512  # with hydrogens; what networks hear of pairs grows with the square
LARGEST_NUMBER = 100  # fermium: the elements that an embedding holds


def read_smiles(text: str) -> Chem.Mol:
    """The molecule of a SMILES with every hydrogen an atom, as AddHs(MolFromSmiles(text)) orders them; no conformer.

    A name may follow after a space. Charges, isotopes and single atoms are fine. Raises ValueError, one sentence, for
    text that is no SMILES, and for what `with_hydrogens` refuses.
    """
    with rdBase.BlockLogs():
        options = Chem.SmilesParserParams()
        options.sanitize = options.removeHs = False
        raw = Chem.MolFromSmiles(text.strip(), options)
        if raw is None:
            raise ValueError(f"{_quoted(text)} is no SMILES that RDKit can read")
        _refuse_heaps(raw)
        mol = Chem.MolFromSmiles(text.strip())
        if mol is None:
            problems = Chem.DetectChemistryProblems(raw)
            reason = problems[0].Message() if problems else "it cannot be sanitised"
            raise ValueError(f"{_quoted(text)} is no molecule for RDKit: {reason}")
        return with_hydrogens(mol)


def with_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """A sanitised copy with every hydrogen an atom, those that were missing last; no conformer.

    The order of the atoms and the stereochemistry stay; marks of what is no stereocentre go. Raises ValueError, one
    sentence, for: no atoms, several fragments, radicals, dummy atoms and elements beyond `LARGEST_NUMBER`, more than
    `MOST_ATOMS` atoms, and what RDKit cannot sanitise.
    """
    _refuse_heaps(mol)
    with rdBase.BlockLogs():
        whole = Chem.Mol(mol)
        whole.RemoveAllConformers()
        try:
            Chem.SanitizeMol(whole)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"RDKit cannot sanitise the molecule: {error}") from error
        whole = Chem.AddHs(whole)
        # RDKit forgets E and Z set by hand when it cleans up, unless directions of bonds say the same.
        Chem.SetDoubleBondNeighborDirections(whole)
        Chem.AssignStereochemistry(whole, cleanIt=True, force=True)
    fragments, radicals = len(Chem.GetMolFrags(whole)), sum(atom.GetNumRadicalElectrons() for atom in whole.GetAtoms())
    if fragments > 1:
        raise ValueError(f"the molecule has {fragments} fragments (a salt, say); give one at a time")
    if radicals:
        raise ValueError(f"the molecule has {radicals} unpaired electron{'s' * (radicals > 1)}; radicals are left out")
    if whole.GetNumAtoms() > MOST_ATOMS:
        raise ValueError(f"the molecule has {whole.GetNumAtoms()} atoms with hydrogens; {MOST_ATOMS} are the most")
    return whole


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _refuse_heaps(mol: Chem.Mol) -> None:
    """What RDKit would be long at, or crash on, before it is asked to sanitise it."""
    if mol.GetNumAtoms() == 0:
        raise ValueError("the molecule has no atoms")
    if mol.GetNumAtoms() > MOST_ATOMS:
        raise ValueError(f"the molecule has {mol.GetNumAtoms()} atoms; {MOST_ATOMS} with hydrogens are the most")
    for atom in mol.GetAtoms():
        if not 1 <= atom.GetAtomicNum() <= LARGEST_NUMBER:
            what = "a dummy atom" if atom.GetAtomicNum() == 0 else f"the element {atom.GetSymbol()}"
            raise ValueError(f"atom {atom.GetIdx() + 1} is {what}; elements 1 to {LARGEST_NUMBER} are known")
        if atom.GetDegree() > CROWD:
            raise ValueError(f"atom {atom.GetIdx() + 1} has {atom.GetDegree()} bonds; {CROWD} are the most")
