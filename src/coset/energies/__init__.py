"""Energies: MMFF94 and GFN2-xTB, relaxation, strain beside the data's own, electronic properties.

Energies are in kcal/mol and forces in kcal/mol/Å, except where a name says eV. Worker processes import no torch:
table.py alone does, and none of them imports it.
"""

from coset.energies.atoms import Atoms, Unsuited
from coset.energies.electronic import PROPERTIES, electronic
from coset.energies.potentials import METHODS, Potential, check_method, potential
from coset.energies.relaxation import Limits, Relaxation, annotated, relax

__all__ = [
    "METHODS",
    "PROPERTIES",
    "Atoms",
    "Limits",
    "Potential",
    "Relaxation",
    "Unsuited",
    "annotated",
    "check_method",
    "electronic",
    "potential",
    "relax",
]
