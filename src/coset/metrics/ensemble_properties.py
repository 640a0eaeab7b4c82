"""Ensemble properties: does a generated ensemble have the energies, dipoles and gaps of the reference one?

Nothing is computed here from positions: energies in kcal/mol, dipole moments in debye and gaps between the frontier
orbitals in eV come from outside, of one method for both ensembles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

ROOM = 298.15  # K
GAS_CONSTANT = 1.987204259e-3  # kcal/mol/K
PROPERTIES = {
    "average_energy": "kcal/mol",
    "lowest_energy": "kcal/mol",
    "average_dipole": "debye",
    "average_gap": "eV",
    "lowest_gap": "eV",
}
_GIVEN = ("energy", "dipole", "gap")


def boltzmann_weights(
    energies: Float[ArrayLike, "k"], temperature: float = ROOM, degeneracies: Float[ArrayLike, "k"] | None = None
) -> Float[NDArray[np.float64], "k"]:
    """Weights that sum to 1, in proportion to degeneracy times exp(-E / RT); infinite temperature ignores energies.

    energies: kcal/mol, from any zero; a conformer whose energy is NaN has weight 0. temperature: K.
    Raises ValueError for a temperature that is not above 0 and where no energy is known.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature in K must be above 0; got {temperature}")
    values = np.asarray(energies, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        raise ValueError(f"none of {values.size} energies is a finite number; give at least one")
    exponents = -(values - values[known].min()) / (GAS_CONSTANT * temperature)
    weights = np.where(known, np.exp(np.where(known, exponents, 0.0)), 0.0)
    if degeneracies is not None:
        weights = weights * np.asarray(degeneracies, dtype=np.float64)
    return weights / weights.sum()


def ensemble_averages(values: Mapping[str, Float[ArrayLike, "k"]], temperature: float = ROOM) -> dict[str, float]:
    """The properties of `PROPERTIES` of one ensemble: Boltzmann averages, and the lowest of its energies and gaps.

    values: `energy`, and `dipole` and `gap` where known, a number for each conformer. Conformers of which one is not
    finite are left out; properties not given, and all those of an ensemble with none left, are NaN.
    Raises ValueError for names or lengths that disagree.
    """
    table = _table(values)
    found = dict.fromkeys(PROPERTIES, float("nan"))
    if table["energy"].size == 0:
        return found
    weights = boltzmann_weights(table["energy"], temperature)
    for name, column in table.items():
        found[f"average_{name}"] = float(weights @ column)
        if f"lowest_{name}" in found:
            found[f"lowest_{name}"] = float(column.min())
    return found


def ensemble_errors(
    reference: Mapping[str, Float[ArrayLike, "l"]],
    generated: Mapping[str, Float[ArrayLike, "k"]],
    temperature: float = ROOM,
) -> dict[str, float]:
    """Absolute errors of one molecule's ensemble, by the names and in the units of `PROPERTIES`.

    Each ensemble is weighted by its own energies, which must have one zero (Jing et al. 2022); infinite temperature
    gives plain means (Shi et al. 2021). See `ensemble_averages` for what is given; NaN where one side lacks a property.
    """
    first, second = ensemble_averages(reference, temperature), ensemble_averages(generated, temperature)
    return {name: abs(second[name] - first[name]) for name in PROPERTIES}


def median_errors(errors: Sequence[Mapping[str, float] | None]) -> dict[str, float]:
    """Medians over molecules, each over those that have the property, and counts; None is a molecule that failed.

    molecules = scored + failed; one whose average energy is NaN has failed too.
    """
    found = [each for each in errors if each is not None and not np.isnan(each["average_energy"])]
    medians = {"molecules": float(len(errors)), "scored": float(len(found)), "failed": float(len(errors) - len(found))}
    for name in PROPERTIES:
        known = [each[name] for each in found if not np.isnan(each[name])]
        medians[name] = float(np.median(known)) if known else float("nan")
    return medians


def _table(values: Mapping[str, Float[ArrayLike, "k"]]) -> dict[str, Float[NDArray[np.float64], "k"]]:
    """The columns, without the conformers of which one value is not finite."""
    if "energy" not in values or not set(values) <= set(_GIVEN):
        raise ValueError(f"got values of {', '.join(values) or 'nothing'}; give energy, and dipole and gap where known")
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or columns["energy"].ndim != 1:
        raise ValueError(f"values have shapes {shapes}; give one number for each conformer")
    known = np.isfinite(list(columns.values())).all(0)
    return {name: column[known] for name, column in columns.items()}
