"""MMFF94 (Halgren 1996) through RDKit, on the bonds that coset perceives."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers

from coset.bonds import to_rdkit
from coset.energies.atoms import Atoms, Unsuited, element_names
from coset.energies.potentials import Potential

COMMON = (1, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)  # elements that MMFF94 knows in covalent bonds


class MMFF94(Potential):
    """The force field of one molecule: bonds and atom types are perceived once, at the positions it is made with.

    Pieces of a molecule in several parts act on each other, as in any other method. Raises `Unsuited` for what has no
    closed-shell bonds at its charge and for atoms without parameters.
    """

    def __init__(self, atoms: Atoms) -> None:
        graph = _graph(atoms)
        with rdBase.BlockLogs():
            parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(graph)
            if parameters is None:
                strange = atoms.numbers[~np.isin(atoms.numbers, COMMON)]
                named = f"for {element_names(strange)}" if len(strange) else "for one of its atom types"
                raise Unsuited("no parameters", f"MMFF94 has no parameters {named}")
            self._graph = graph  # the force field refers to it
            self._field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
                graph, parameters, ignoreInterfragInteractions=False
            )
        if self._field is None:
            raise Unsuited("no parameters", "RDKit could not set up MMFF94 for its bonds")
        self._field.Initialize()

    def __call__(self, positions: Float[NDArray[np.float64], "n 3"]) -> tuple[float, Float[NDArray, "n 3"]]:
        flat = np.ravel(positions).tolist()
        return self._field.CalcEnergy(flat), -np.reshape(self._field.CalcGrad(flat), (-1, 3))


def _graph(atoms: Atoms) -> Chem.Mol:
    """Bonds by RDKit's perception, else by the distance rule: MMFF94 needs all electrons paired."""
    graph = to_rdkit(atoms, "rdkit")
    if graph.GetProp("sanitized") != "true":
        raise Unsuited("no bonds", "no bonds were perceived that suit every atom's valence")
    # A hydrogen that is no atom here is one that RDKit imagines.
    lacking = sum(atom.GetNumRadicalElectrons() + atom.GetTotalNumHs() > 0 for atom in graph.GetAtoms())
    if lacking:
        raise Unsuited("open shell", f"{lacking} atoms lack a bond, and MMFF94 has no radicals")
    charge = Chem.GetFormalCharge(graph)
    if charge != atoms.charge:
        told = f"bonds were perceived only with the charge {charge:+d}, and the molecule has {atoms.charge}"
        raise Unsuited("no bonds at this charge", told)
    return graph
