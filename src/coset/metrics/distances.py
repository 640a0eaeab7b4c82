"""Distances: every number that says how far a sample lies from the training set, with its unit and direction."""

from __future__ import annotations

import math
from typing import NamedTuple

from coset.metrics.geometry import ANGLES, LENGTHS, TORSIONS, Geometry
from coset.metrics.wasserstein import compare_kinds


class Distance(NamedTuple):
    """How a distance is shown: the value times `factor`, in `unit`, with so many digits; 0 is best."""

    name: str
    unit: str
    digits: int
    meaning: str
    factor: float = 1.0
    signed: bool = False

    def text(self, value: float) -> str:
        if math.isnan(value):
            return "-"
        return f"{self.factor * value:{'+' if self.signed else ''}.{self.digits}f}"


_VARIATION = "0 for equal histograms, 1 for disjoint ones"
_RARE = "share in kinds that make less than 0.1 % of the data’s"
_LACKED = "share of the data’s in kinds that are not here"
DISTANCES = {
    "sizes": Distance("sizes, total variation", "", 3, _VARIATION),
    "atom_types": Distance("atom types, total variation", "", 3, _VARIATION),
    "bond_lengths": Distance("bond lengths, total variation", "", 3, _VARIATION),
    "valences": Distance("valences, total variation", "", 3, _VARIATION),
    "bond_length_pm": Distance("bond lengths, Wasserstein", "pm", 3, "mean over kinds of bonds"),
    "bond_shift_pm": Distance(
        "bond lengths, mean shift", "pm", 3, "mean over kinds of bonds; below 0 they are too short", signed=True
    ),
    "bond_angle_degrees": Distance("bond angles, Wasserstein", "degrees", 3, "mean over kinds of angles"),
    "torsion_degrees": Distance(
        "torsions, Wasserstein", "degrees", 3, "of |dihedral|, so mirror images are equal; mean over kinds"
    ),
    "rare_bonds": Distance("bonds of rare kinds", "%", 2, _RARE, 100.0),
    "rare_angles": Distance("angles of rare kinds", "%", 2, _RARE, 100.0),
    "rare_torsions": Distance("torsions of rare kinds", "%", 2, _RARE, 100.0),
    "missing_bonds": Distance("kinds of bonds missing", "%", 2, _LACKED, 100.0),
    "missing_angles": Distance("kinds of angles missing", "%", 2, _LACKED, 100.0),
    "missing_torsions": Distance("kinds of torsions missing", "%", 2, _LACKED, 100.0),
    "frechet": Distance("descriptors, Fréchet", "", 3, "of the graphs of valid molecules, squared, without a unit"),
}


def geometry_distances(sample: Geometry, data: Geometry) -> dict[str, float]:
    """Bond lengths (pm), bond angles and torsions (degrees) of a sample beside the data's, by the keys of `DISTANCES`.

    Of each kind (see `Geometry`) with 0.1 % or more of the data's bonds, angles or torsions, the 1-Wasserstein distance
    between its histograms; then the mean over these kinds by their shares in the data, kinds that the sample lacks
    aside. bond_shift_pm: the same mean of the difference of mean lengths, sample less data. rare_*: share of the sample
    in other kinds; missing_*: share of the data in kinds that the sample lacks. NaN where there is nothing to compare.
    """
    lengths, angles, torsions = (
        compare_kinds(drawn, known, scale)
        for drawn, known, scale in zip(sample, data, (LENGTHS, ANGLES, TORSIONS), strict=True)
    )
    parts = {"bonds": lengths, "angles": angles, "torsions": torsions}
    return {
        "bond_length_pm": lengths.mean_distance(),
        "bond_shift_pm": lengths.mean_shift(),
        "bond_angle_degrees": angles.mean_distance(),
        "torsion_degrees": torsions.mean_distance(),
        **{f"rare_{name}": part.other for name, part in parts.items()},
        **{f"missing_{name}": part.missing() for name, part in parts.items()},
    }
