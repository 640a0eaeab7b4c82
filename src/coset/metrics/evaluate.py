"""Evaluate: the quality of generated molecules, beside the data's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from coset.metrics.distribution import count_values
from coset.metrics.intervals import wilson, wilson_of_clusters
from coset.metrics.measurement import Measurement, measure
from coset.metrics.reference import Reference, load_reference
from coset.molecule import Molecule

RATES = {
    "atom_stability": ("stable_atoms", "atoms"),
    "molecule_stability": ("stable_molecules", "molecules"),
    "validity": ("valid", "molecules"),
    "uniqueness": ("unique", "valid"),
    "valid_and_unique": ("unique", "molecules"),
    "novelty": ("novel", "unique"),
    "connectivity": ("connected", "molecules"),
}


@dataclass(frozen=True)
class Rate:
    """A share and its 95 % interval, all in [0, 1]; NaN where there was nothing to count."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """A line of the quality table: per cent, the last two None without a reference."""

    name: str
    value: float
    low: float
    high: float
    data: float | None
    difference: float | None


@dataclass(frozen=True)
class Report:
    """What `evaluate` found.

    counts: molecules, atoms, stable_atoms, stable_molecules, valid, unique (distinct SMILES with explicit H
    among the valid), connected, valid_connected and, with a reference, novel. rates: see `RATES` for
    numerators and denominators. sizes: molecules by number of atoms. distances: total variation of sizes,
    atom_types and bond_lengths from the training set. by_size: counts by number of atoms, where asked for.
    data_*: the same of the data's own test split; None without a reference.
    """

    counts: Mapping[str, int]
    rates: Mapping[str, Rate]
    sizes: Mapping[int, int]
    reference: str | None = None
    data: Mapping[str, float] | None = None
    data_sizes: Mapping[int, int] | None = None
    distances: Mapping[str, float] | None = None
    data_distances: Mapping[str, float] | None = None
    by_size: Mapping[int, Mapping[str, int]] | None = None

    def rows(self) -> list[Row]:
        """The rates in per cent, each with its interval, the data's own rate and the difference from it."""
        rows = []
        for name, rate in self.rates.items():
            own = None if self.data is None else 100 * self.data[name]
            values = 100 * rate.value, 100 * rate.low, 100 * rate.high
            rows.append(Row(name.replace("_", " "), *values, own, None if own is None else values[0] - own))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts; None in place of NaN."""
        return _without_nan(asdict(self))

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)


def evaluate(
    molecules: Sequence[Molecule],
    reference: str | Path | Reference | None = "qm9",
    per_size: bool = False,
) -> Report:
    """Scores molecules by the protocol of EDM (Hoogeboom et al. 2022), bonds from distances.

    reference: a name or file for `load_reference`, or a `Reference`; None leaves out novelty, distances and
    the data's own scores. Intervals are Wilson's; that of atom stability allows for atoms of a molecule
    failing together; those of uniqueness, valid and unique, novelty take SMILES as independent trials, which
    is rough. Raises ValueError for an empty list.
    """
    if not molecules:
        raise ValueError("There is no molecule to evaluate.")
    measured = measure(molecules)
    by_size = measured.counts_by_size() if per_size else None
    sizes = dict(count_values(measured.sizes))
    if reference is None:
        counts = measured.counts()
        return Report(counts, _rates(counts, measured), sizes, by_size=by_size)
    known = reference if isinstance(reference, Reference) else load_reference(reference)
    counts = known.counts_of(measured)
    return Report(
        counts=counts,
        rates=_rates(counts, measured),
        sizes=sizes,
        reference=known.name,
        data={name: _share(known.counts, *RATES[name]) for name in RATES},
        data_sizes=dict(known.sizes),
        distances=known.distances_of(measured),
        data_distances=dict(known.distances),
        by_size=by_size,
    )


def _rates(counts: Mapping[str, int], measured: Measurement) -> dict[str, Rate]:
    rates = {
        name: Rate(_share(counts, top, bottom), *wilson(counts[top], counts[bottom]))
        for name, (top, bottom) in RATES.items()
        if top in counts
    }
    interval = wilson_of_clusters(measured.stable, measured.sizes)
    return {**rates, "atom_stability": Rate(rates["atom_stability"].value, *interval)}


def _share(counts: Mapping[str, int], top: str, bottom: str) -> float:
    return counts[top] / counts[bottom] if counts[bottom] else math.nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
