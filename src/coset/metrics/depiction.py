"""Depictions: molecules as flat SVG drawings."""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from coset.bonds import bond_orders, to_rdkit
from coset.metrics.stability import stable_atoms
from coset.molecule import Molecule

_MANY = 60  # heavy atoms beyond which a drawing is no longer legible
_STABLE = "stable"


def depict(molecule: Molecule, width: int = 200, height: int = 150) -> str:
    """An `<svg>` element of a molecule with the bonds of the distance rule, hydrogens on carbon left out.

    Open valences show as radical dots, since nothing is added to what was generated. Where RDKit can lay out
    no drawing, the formula stands in its place.
    """
    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = canvas.drawOptions()
    options.clearBackground = False
    options.padding = 0.08
    options.fixedBondLength = 26.0
    options.prepareMolsBeforeDrawing = False
    options.setHighlightColour((0.97, 0.78, 0.73))
    try:
        with rdBase.BlockLogs():
            flat, unstable = _flat(molecule)
            canvas.DrawMolecule(flat, highlightAtoms=unstable, highlightBonds=[])
    except (ValueError, RuntimeError):
        return (
            f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
            f'<text x="50%" y="50%" text-anchor="middle">{molecule.formula}</text></svg>'
        )
    canvas.FinishDrawing()
    return canvas.GetDrawingText().partition("?>")[2].strip()


def _flat(molecule: Molecule) -> tuple[Chem.Mol, list[int]]:
    graph = to_rdkit(molecule)
    numbers = molecule.numbers[None]
    stable = stable_atoms(numbers, bond_orders(numbers, molecule.positions[None]))[0].tolist()
    for atom in graph.GetAtoms():
        atom.SetBoolProp(_STABLE, stable[atom.GetIdx()])
    sane = graph.GetProp("sanitized") == "true"
    options = Chem.RemoveHsParameters()
    options.showWarnings = False
    options.removeDefiningBondStereo = True
    flat = Chem.RemoveHs(graph, options, sanitize=False)
    flat.RemoveAllConformers()
    if flat.GetNumAtoms() > _MANY:
        raise ValueError("Too many atoms to draw.")
    if not sane:
        Chem.FastFindRings(flat)
    rdDepictor.Compute2DCoords(flat)
    flat = rdMolDraw2D.PrepareMolForDrawing(flat, kekulize=sane, addChiralHs=False, forceCoords=False)
    return flat, [atom.GetIdx() for atom in flat.GetAtoms() if not atom.GetBoolProp(_STABLE)]
