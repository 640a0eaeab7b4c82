"""Electronic properties of a molecule as it stands, from one GFN2-xTB calculation."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from coset.bonds import Located
from coset.energies.atoms import Atoms, Unsuited
from coset.energies.potentials import HARTREE_EV
from coset.energies.xtb import calculator, single_point

DEBYE = 2.5417464739297717  # of one elementary charge times one Bohr
PROPERTIES = {
    "energy_per_atom_ev": "energy less that of the free atoms, over the number of atoms, eV",
    "dipole_debye": "dipole moment, Debye",
    "gap_ev": "energy of the lowest empty orbital less that of the highest occupied one, eV",
}


def electronic(molecule: Located, charge: int | None = None) -> dict[str, float]:
    """The `PROPERTIES` of a molecule at its positions. tblite gives no polarisability, so there is none.

    energy_per_atom_ev: (E(molecule) - sum of E(free atoms)) / n, each free atom neutral and with the unpaired electrons
    of its ground state; negative for what is bound. dipole_debye: about the centre of nuclear charge, which matters
    for ions only. gap_ev: of spin-restricted orbitals; an unpaired electron's orbital counts as occupied;
    NaN where GFN2-xTB's minimal basis leaves no orbital empty. Raises `Unsuited`, and ValueError without tblite.
    """
    atoms = Atoms.of(molecule, charge)
    atoms.check()
    center = np.average(atoms.positions, axis=0, weights=atoms.numbers)
    result = single_point(calculator(Atoms(atoms.numbers, atoms.positions - center, atoms.charge)))
    free = sum(_free_atom(int(number)) for number in atoms.numbers)
    levels = np.sort(np.ravel(result["orbital-energies"]))
    filled = math.ceil(round(float(np.sum(result["orbital-occupations"]))) / 2)
    gap = (levels[filled] - levels[filled - 1]) * HARTREE_EV if filled < len(levels) else math.nan
    found = {
        "energy_per_atom_ev": (result["energy"] - free) * HARTREE_EV / len(atoms),
        "dipole_debye": np.linalg.norm(result["dipole"]) * DEBYE,
        "gap_ev": gap,
    }
    for name in ("energy_per_atom_ev", "dipole_debye"):
        if not math.isfinite(found[name]):
            raise Unsuited("not finite", f"GFN2-xTB: {name} is not finite")
    return {name: float(value) for name, value in found.items()}


def electronic_or_failure(atoms: Atoms) -> dict[str, float | str]:
    """For batches: the properties, or why there are none under "failure"."""
    try:
        return dict(electronic(atoms))
    except Unsuited as error:
        return {"failure": error.reason}


@cache
def _free_atom(number: int) -> float:
    """Energy of a free atom, in Hartree."""
    return float(single_point(calculator(Atoms(np.array([number]), np.zeros((1, 3)))))["energy"])
