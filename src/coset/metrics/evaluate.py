"""Evaluate: the quality of generated molecules, beside the data's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from rdkit import Chem

from coset.metrics.distribution import count_values
from coset.metrics.file_bonds import measure_graphs
from coset.metrics.intervals import wilson, wilson_of_clusters
from coset.metrics.measurement import Measurement, measure
from coset.metrics.reference import Reference, load_reference
from coset.molecule import Molecule, element_symbol

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

    data, difference: the data's own rate and the distance from it; None without a reference. file_bonds: the
    rate by the bonds that the file holds, where it holds them and the rate is defined by them.
    """

    name: str
    value: float
    low: float
    high: float
    data: float | None
    difference: float | None
    file_bonds: Rate | None = None


@dataclass(frozen=True)
class FileBonds:
    """Counts and rates by the bonds that the file itself holds; see `measure_graphs`. Novelty is left out: the
    training set's SMILES have bonds from distances."""

    counts: Mapping[str, int]
    rates: Mapping[str, Rate]


@dataclass(frozen=True)
class Larger:
    """The molecules with more atoms than any of the reference's training set, where rates tell of generalisation.

    limit: atoms of the largest there. smallest, largest: atoms of these. counts, rates: see `RATES`, without novelty.
    """

    limit: int
    smallest: int
    largest: int
    counts: Mapping[str, int]
    rates: Mapping[str, Rate]


@dataclass(frozen=True)
class Report:
    """What `evaluate` found.

    counts: molecules, atoms, stable_atoms, stable_molecules, valid, unique (distinct SMILES with explicit H
    among the valid), connected, valid_connected and, with a reference, novel. rates: see `RATES` for
    numerators and denominators. sizes: molecules by number of atoms. distances: from the training set, see
    `DISTANCES` for names and units; those that an older reference cannot tell are absent. by_size: counts by number of
    atoms, where asked for. data_*: the same of the data's own test split; None without a reference; data_distances are
    those of as many molecules as were evaluated, since a small sample lies farther. file_bonds: by the
    bonds that the file holds. unknown: atoms of elements that the reference lacks, by symbol. larger: molecules beyond
    the reference's sizes; None where there are none. measured, known: what it was all computed from, left out of
    `to_dict`.
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
    file_bonds: FileBonds | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    larger: Larger | None = None
    measured: Measurement | None = field(default=None, repr=False)
    known: Reference | None = field(default=None, repr=False)

    def rows(self) -> list[Row]:
        """The rates in per cent, each with its interval, the data's own rate and the difference from it."""
        rows = []
        other = self.file_bonds.rates if self.file_bonds else {}
        for name, rate in self.rates.items():
            own = 100 * self.data[name] if self.data and name in self.data else None
            value, low, high = astuple(rate.percent())
            difference = None if own is None else value - own
            bonds = other[name].percent() if name in other else None
            rows.append(Row(name.replace("_", " "), value, low, high, own, difference, bonds))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts; None in place of NaN."""
        fields = asdict(replace(self, measured=None, known=None))
        del fields["measured"], fields["known"]
        return _without_nan(fields)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)


def evaluate(
    molecules: Sequence[Molecule],
    reference: str | Path | Reference | None = "qm9",
    per_size: bool = False,
    graphs: Sequence[Chem.Mol | None] | None = None,
) -> Report:
    """Scores molecules by the protocol of EDM (Hoogeboom et al. 2022), bonds from distances.

    reference: a name or file for `load_reference`, or a `Reference`; None leaves out novelty, distances and
    the data's own scores. graphs: the molecules' own bonds (`read_graphs`), scored beside. Intervals are
    Wilson's; that of atom stability allows for atoms of a molecule failing together; those of uniqueness,
    valid and unique, novelty take SMILES as independent trials, which is rough. Raises ValueError for an
    empty list.
    """
    if not molecules:
        raise ValueError("There is no molecule to evaluate.")
    measured = measure(molecules)
    counts = measured.counts()
    known = None
    if reference is not None:
        known = reference if isinstance(reference, Reference) else load_reference(reference)
        counts = known.counts_of(measured)
    report = Report(
        counts=counts,
        rates=_rates(counts, measured),
        sizes=dict(count_values(measured.sizes)),
        by_size=measured.counts_by_size() if per_size else None,
        file_bonds=None if graphs is None else _by_file_bonds(graphs, molecules),
        measured=measured,
    )
    return report if known is None else _beside(report, measured, known)


def _beside(report: Report, measured: Measurement, known: Reference) -> Report:
    """A report with the data's own scores and the distances from the data."""
    return replace(
        report,
        reference=known.name,
        data={name: _share(known.counts, *parts) for name, parts in RATES.items() if {*parts} <= {*known.counts}},
        data_sizes=dict(known.sizes),
        distances=known.distances_of(measured),
        data_distances=known.own_distances(len(measured.sizes)),
        unknown={element_symbol(z): count for z, count in sorted(measured.types.items()) if z not in known.types},
        larger=_larger(measured, max(known.sizes)),
        known=known,
    )


def _larger(measured: Measurement, limit: int) -> Larger | None:
    beyond = measured.sizes > limit
    if not beyond.any():
        return None
    part = measured.part(beyond)
    sizes = int(part.sizes.min()), int(part.sizes.max())
    return Larger(limit, *sizes, part.counts(), _rates(part.counts(), part))


def _by_file_bonds(graphs: Sequence[Chem.Mol | None], molecules: Sequence[Molecule]) -> FileBonds:
    measured = measure_graphs(graphs, molecules)
    return FileBonds(measured.counts(), _rates(measured.counts(), measured))


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
