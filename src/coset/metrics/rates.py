"""Rates: shares of molecules and atoms that pass, with their intervals, beside the data's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import NamedTuple

from coset.metrics.intervals import wilson, wilson_of_clusters
from coset.metrics.measurement import Measurement

RATES = {
    "atom_stability": ("stable_atoms", "atoms"),
    "molecule_stability": ("stable_molecules", "molecules"),
    "validity": ("valid", "molecules"),
    "uniqueness": ("unique", "valid"),
    "valid_and_unique": ("unique", "molecules"),
    "novelty": ("novel", "unique"),
    "connectivity": ("connected", "molecules"),
    "valid_and_connected": ("valid_connected", "molecules"),
}
_NEUTRAL = {"valid_and_neutral": ("valid_neutral", "molecules")}  # where charges are perceived


@dataclass(frozen=True)
class Rate:
    """A share and its 95 % interval, all in [0, 1]; NaN where there was nothing to count."""

    value: float
    low: float
    high: float

    def percent(self) -> Rate:
        return Rate(100 * self.value, 100 * self.low, 100 * self.high)


class Row(NamedTuple):
    """A line of the quality table, in per cent.

    data, difference: the data's own rate and the distance from it; None where it isn't known.
    """

    name: str
    value: float
    low: float
    high: float
    data: float | None
    difference: float | None


@dataclass(frozen=True)
class Scores:
    """Counts and rates by one way to find and judge bonds; data: the data's own rates by it, None where not known."""

    counts: Mapping[str, int]
    rates: Mapping[str, Rate]
    data: Mapping[str, float] | None = None

    def rows(self) -> list[Row]:
        """The rates in per cent, each with its interval, the data's own rate and the difference from it."""
        rows = []
        for name, rate in self.rates.items():
            own = 100 * self.data[name] if self.data and name in self.data else None
            value, low, high = astuple(rate.percent())
            rows.append(Row(name.replace("_", " "), value, low, high, own, None if own is None else value - own))
        return rows


def rates_of(counts: Mapping[str, int], measured: Measurement) -> dict[str, Rate]:
    """The rates that the counts tell. measured: of the same molecules, for the interval of atom stability."""
    rates = {
        name: Rate(_share(counts, top, bottom), *wilson(counts[top], counts[bottom]))
        for name, (top, bottom) in (RATES | _NEUTRAL).items()
        if top in counts
    }
    interval = wilson_of_clusters(measured.stable, measured.sizes)
    return {**rates, "atom_stability": Rate(rates["atom_stability"].value, *interval)}


def shares_of(counts: Mapping[str, int]) -> dict[str, float]:
    """The values of the rates that the counts tell."""
    return {name: _share(counts, *parts) for name, parts in (RATES | _NEUTRAL).items() if {*parts} <= {*counts}}


def _share(counts: Mapping[str, int], top: str, bottom: str) -> float:
    return counts[top] / counts[bottom] if counts[bottom] else math.nan
