"""Potential: the energy of one molecule as a function of where its atoms are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from coset.energies.atoms import Atoms

Method = Literal["mmff", "xtb"]
METHODS: dict[str, str] = {"mmff": "MMFF94", "xtb": "GFN2-xTB"}
HARTREE_KCAL, HARTREE_EV, BOHR = 627.5094740631, 27.211386245988, 0.529177210903  # CODATA 2018; Angstrom


class Potential(ABC):
    """Energy in kcal/mol and forces in kcal/mol/Å of one molecule, whose atoms and charge stay as they are."""

    @abstractmethod
    def __call__(self, positions: Float[NDArray[np.float64], "n 3"]) -> tuple[float, Float[NDArray, "n 3"]]:
        """Energy and forces (n, 3) at positions in Angstrom. Raises `Unsuited` where there is no answer."""


def check_method(method: str) -> None:
    """Raises ValueError for an unknown method, and for xtb where tblite is not installed."""
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    if method == "xtb" and None in (find_spec("tblite"), find_spec("ase")):
        raise ValueError("GFN2-xTB needs tblite and ase, which are not both installed; run: pip install 'coset[eval]'")


def potential(method: str, atoms: Atoms) -> Potential:
    """The potential of a method for a molecule. "mmff": MMFF94 with bonds by RDKit; "xtb": GFN2-xTB.

    Raises ValueError as `check_method`, and `Unsuited` for a molecule that the method cannot treat.
    """
    check_method(method)
    atoms.check()
    if method == "mmff":
        from coset.energies.mmff import MMFF94

        return MMFF94(atoms)
    from coset.energies.xtb import GFN2

    return GFN2(atoms)
