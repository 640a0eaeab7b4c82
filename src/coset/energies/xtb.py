"""GFN2-xTB (Bannwarth, Ehlert, Grimme 2019) through tblite: silent, on one thread."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from coset.energies.atoms import Atoms, Unsuited, element_names
from coset.energies.potentials import BOHR, HARTREE_KCAL, Potential, check_method

if TYPE_CHECKING:
    from tblite.interface import Calculator

HEAVIEST = 86  # radon, the last element with parameters
_REASONS = {"not converged": "SCF not converged", "too close": "too close"}


class GFN2(Potential):
    """Spin-restricted GFN2-xTB of one molecule at 300 K electronic temperature.

    An odd number of electrons is a doublet, an even one a singlet; a free atom has its ground state's spin.
    Each calculation starts from the density of the last one, and from scratch where that does not converge.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._calculator = calculator(atoms)
        self._last: Any = None

    def __call__(self, positions: Float[NDArray[np.float64], "n 3"]) -> tuple[float, Float[NDArray, "n 3"]]:
        self._calculator.update(positions=np.asarray(positions) / BOHR)
        try:
            self._last = single_point(self._calculator, self._last)
        except Unsuited:
            if self._last is None:
                raise
            self._last = single_point(self._calculator)
        return self._last["energy"] * HARTREE_KCAL, -self._last["gradient"] * (HARTREE_KCAL / BOHR)


def calculator(atoms: Atoms) -> Calculator:
    """A tblite calculator that prints nothing. Raises `Unsuited` for elements without parameters."""
    heavy = atoms.numbers[atoms.numbers > HEAVIEST]
    if len(heavy):
        raise Unsuited("no parameters", f"GFN2-xTB has no parameters for {element_names(heavy)}")
    if atoms.numbers.sum() <= atoms.charge:
        raise Unsuited("no electrons", f"no electron is left at the charge {atoms.charge:+d}")
    interface = _tblite()
    try:
        made = interface.Calculator(
            "GFN2-xTB",
            atoms.numbers,
            atoms.positions / BOHR,
            atoms.charge,
            _unpaired(atoms),
            color=False,
            logger=_silent,
        )
    except (RuntimeError, ValueError) as error:
        raise _told(error) from None
    made.set("verbosity", 0)
    return made


def _unpaired(atoms: Atoms) -> int:
    """Unpaired electrons: those of the ground state for a free atom, else the fewest possible."""
    if len(atoms) > 1 or atoms.charge:
        return (int(atoms.numbers.sum()) - atoms.charge) % 2
    from ase.data import ground_state_magnetic_moments

    return int(ground_state_magnetic_moments[atoms.numbers[0]])


def single_point(made: Calculator, start: Any = None) -> Any:
    """tblite's result, in atomic units. start: an earlier result to start from. Raises `Unsuited`."""
    try:
        return made.singlepoint(start)
    except (RuntimeError, ValueError) as error:  # tblite's own errors are kinds of these
        raise _told(error) from None


def _told(error: Exception) -> Unsuited:
    text = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    reason = next((name for words, name in _REASONS.items() if words in text.lower()), "tblite refused")
    return Unsuited(reason, f"GFN2-xTB: {text}")


def _silent(text: str) -> None:
    """In place of `print`."""


@cache
def _tblite() -> Any:
    """tblite's interface. Its OpenMP runtime reads the number of threads when it is loaded and never again.

    More than one thread slows molecules of this size, and molecules are shared among processes instead.
    """
    check_method("xtb")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from tblite import interface
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return interface
