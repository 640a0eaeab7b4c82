"""Relaxation: the nearest minimum of a potential, by one optimiser and one tolerance for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize

from coset.bonds import Located, bond_orders
from coset.energies.alignment import rmsd, superimposed
from coset.energies.atoms import Atoms, Unsuited
from coset.energies.potentials import Potential, potential

if TYPE_CHECKING:
    from coset.molecule import Molecule

_FIRST_STEP = 0.1  # Angstrom, over all atoms; later ones follow from the curvature met
_MEMORY = 30  # pairs of steps and gradients that L-BFGS keeps


@dataclass(frozen=True)
class Limits:
    """force: relaxed once no atom feels more, in kcal/mol/Å. evaluations: of the energy, at most.

    seconds: of CPU time for one molecule, looked at between evaluations, so that a busy machine changes nothing.
    """

    force: float = 0.1
    evaluations: int = 1000
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not (self.force > 0 and self.evaluations > 0 and self.seconds > 0):
            raise ValueError(f"Limits of a relaxation must be above 0, got {self}.")


@dataclass(frozen=True)
class Relaxation:
    """What became of one molecule.

    positions: (n, 3) in Angstrom, laid onto those before; the lowest reached, where it failed on the way.
    energy_before, energy_after: kcal/mol. rmsd, rmsd_heavy: how far all atoms, and those heavier than hydrogen, moved
    in Angstrom, once superimposed. evaluations: of the energy. same_bonds: whether the distance rule bonds the same
    pairs as before. failure: a few words to count by, None where it is relaxed; sentence: what exactly went wrong.
    Numbers that could not be had are NaN.
    """

    method: str
    positions: Float[NDArray[np.float64], "n 3"]
    energy_before: float = math.nan
    energy_after: float = math.nan
    rmsd: float = math.nan
    rmsd_heavy: float = math.nan
    evaluations: int = 0
    same_bonds: bool = True
    failure: str | None = None
    sentence: str = ""

    @property
    def converged(self) -> bool:
        return self.failure is None

    @property
    def strain(self) -> float:
        """Energy before less energy after in kcal/mol; NaN unless converged."""
        return self.energy_before - self.energy_after if self.converged else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `Relaxation.of` reads them back exactly."""
        return {**asdict(self), "positions": self.positions.tolist()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Relaxation:
        return cls(**{**values, "positions": np.array(values["positions"], dtype=np.float64)})


def relax(
    molecule: Located, method: str = "mmff", limits: Limits | None = None, charge: int | None = None
) -> Relaxation:
    """Relaxes a molecule to the nearest minimum of "mmff" (MMFF94) or "xtb" (GFN2-xTB).

    L-BFGS (Liu and Nocedal 1989; SciPy's L-BFGS-B, history 30, first step 0.1 Å) in Cartesian coordinates, whose line
    search never lets the energy rise. MMFF94 keeps the bonds perceived at the start; GFN2-xTB may break and form them.
    charge: total charge, 0 unless told otherwise. A molecule that cannot be relaxed is no error: see
    `Relaxation.failure`. Raises ValueError for an unknown method or one that is not installed (`check_method`).
    """
    atoms, limits = Atoms.of(molecule, charge), limits or Limits()
    try:
        descent = _Descent(potential(method, atoms), atoms.positions, limits)
    except Unsuited as error:
        return Relaxation(method, atoms.positions, failure=error.reason, sentence=str(error))
    reason, sentence = None, ""
    try:
        descent.run()
    except Unsuited as error:
        reason, sentence = error.reason, str(error)
    heavy = atoms.numbers > 1
    return Relaxation(
        method, superimposed(descent.positions, atoms.positions), descent.before, descent.energy,
        rmsd(descent.positions, atoms.positions), rmsd(descent.positions[heavy], atoms.positions[heavy]),
        descent.evaluations, _same_bonds(atoms, descent.positions), reason, sentence,
    )  # fmt: skip


def annotated(molecule: Molecule, found: Relaxation) -> Molecule:
    """The relaxed molecule, with energies and shift among its properties; or as it was, with the reason."""
    name = found.method
    if not found.converged:
        told = {f"{name}_failed": f"{found.failure}: {found.sentence}"}
        return replace(molecule, properties={**molecule.properties, **told})
    told = {
        f"{name}_energy_before_kcal_mol": round(found.energy_before, 4),
        f"{name}_energy_kcal_mol": round(found.energy_after, 4),
        f"{name}_strain_kcal_mol": round(found.strain, 4),
        f"{name}_rmsd_angstrom": round(found.rmsd, 4),
        f"{name}_same_bonds": "yes" if found.same_bonds else "no",
    }
    if not math.isnan(found.rmsd_heavy):
        told[f"{name}_rmsd_heavy_angstrom"] = round(found.rmsd_heavy, 4)
    return replace(molecule, positions=found.positions, properties={**molecule.properties, **told})


class _Descent:
    """A descent on a potential: where it is, how low, and when it must stop."""

    def __init__(self, potential: Potential, positions: Float[NDArray[np.float64], "n 3"], limits: Limits) -> None:
        self._potential, self._limits, self._started = potential, limits, time.thread_time()
        self.evaluations, self.positions = 0, positions
        self.energy, self.forces = self._evaluate(positions)
        self.before = self.energy

    def run(self) -> None:
        """Descends until relaxed. Raises `Unsuited` that names a limit, or where line searches find no way down."""
        while not self._relaxed():
            before = self.energy
            # Steps of the scaled variables: SciPy makes the first one of length 1. It stops by the callback alone.
            options = {"maxiter": 10**6, "maxfun": 10**6, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
            start = self.positions.ravel() / _FIRST_STEP
            minimize(self._scaled, start, jac=True, method="L-BFGS-B", callback=self._accept, options=options)
            if not self._relaxed() and self.energy >= before:  # started anew once, it forgets a misleading history
                largest = np.linalg.norm(self.forces, axis=-1).max()
                self._stop("stalled", f"no step lowers the energy, though a force of {largest:.2f} kcal/mol/Å is left")

    def _relaxed(self) -> bool:
        return bool(np.linalg.norm(self.forces, axis=-1).max() <= self._limits.force)

    def _scaled(self, scaled: Float[NDArray[np.float64], "3n"]) -> tuple[float, Float[NDArray, "3n"]]:
        positions = (scaled * _FIRST_STEP).reshape(-1, 3)
        energy, forces = self._evaluate(positions)
        self._last = scaled.copy(), positions, energy, forces
        return energy, -forces.ravel() * _FIRST_STEP

    def _accept(self, intermediate_result: OptimizeResult) -> None:
        """After a line search, whose last point it is."""
        scaled, positions, energy, forces = self._last
        if not np.array_equal(scaled, intermediate_result.x):
            positions = (intermediate_result.x * _FIRST_STEP).reshape(-1, 3)
            energy, forces = self._evaluate(positions)
        if energy < self.energy:
            self.positions, self.energy, self.forces = positions, energy, forces
        if self._relaxed():
            raise StopIteration

    def _evaluate(self, positions: Float[NDArray[np.float64], "n 3"]) -> tuple[float, Float[NDArray, "n 3"]]:
        if self.evaluations >= self._limits.evaluations:
            self._stop("step limit", f"not relaxed after {self.evaluations} evaluations of the energy")
        if time.thread_time() - self._started > self._limits.seconds:
            self._stop("time limit", f"not relaxed after {self._limits.seconds:g} s")
        self.evaluations += 1
        energy, forces = self._potential(positions)
        if not (math.isfinite(energy) and np.isfinite(forces).all()):
            self._stop("not finite", "the energy or a force is not finite")
        return float(energy), forces

    def _stop(self, reason: str, sentence: str) -> NoReturn:
        raise Unsuited(reason, sentence)


def _same_bonds(atoms: Atoms, positions: Float[NDArray[np.float64], "n 3"]) -> bool:
    """Whether the distance rule bonds the same pairs of atoms as before."""
    numbers = np.stack([atoms.numbers, atoms.numbers])
    before, after = bond_orders(numbers, np.stack([atoms.positions, positions])) > 0
    return bool((before == after).all())
