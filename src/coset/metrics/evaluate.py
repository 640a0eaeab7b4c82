"""Evaluate: the quality of generated molecules, beside the data's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rdkit import Chem

from coset.metrics.corrected import measure_corrected
from coset.metrics.distribution import count_values
from coset.metrics.file_bonds import measure_graphs
from coset.metrics.measurement import Measurement, measure
from coset.metrics.protocol import Protocol, find_protocol
from coset.metrics.rates import RATES, Rate, Row, Scores, rates_of, shares_of
from coset.metrics.reference import Reference, load_reference
from coset.molecule import Molecule, element_symbol

__all__ = ["RATES", "Larger", "Rate", "Report", "Row", "Scores", "evaluate"]


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
    those of as many molecules as were evaluated, since a small sample lies farther. file_bonds: by the bonds that the
    file holds (`measure_graphs`), without novelty, for the training set's SMILES have bonds from distances. unknown:
    atoms of elements that the reference lacks, by symbol. larger: molecules beyond the reference's sizes; None where
    there are none. protocol: that counts and rates are by (`PROTOCOLS`). corrected: by perceived bonds, aromaticity and
    charges (`measure_corrected`), where the protocol has it stand beside. measured, known: what it was all computed
    from, left out of `to_dict`.
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
    file_bonds: Scores | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    larger: Larger | None = None
    protocol: str = "qm9"
    corrected: Scores | None = None
    measured: Measurement | None = field(default=None, repr=False)
    known: Reference | None = field(default=None, repr=False)

    def rows(self) -> list[Row]:
        """See `Scores.rows`."""
        return Scores(self.counts, self.rates, self.data).rows()

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
    protocol: str | None = None,
    workers: int = 1,
) -> Report:
    """Scores molecules by the protocol of EDM (Hoogeboom et al. 2022), bonds from distances.

    reference: a name or file for `load_reference`, or a `Reference`; None leaves out novelty, distances and
    the data's own scores. graphs: the molecules' own bonds (`read_graphs`), scored beside. protocol: a name of
    `PROTOCOLS`; without, the reference's, and "qm9" where there is none. workers: processes for the corrected scores.
    Intervals are Wilson's; that of atom stability allows for atoms of a molecule failing together; those of uniqueness,
    valid and unique, novelty take SMILES as independent trials, which is rough. Raises ValueError for an
    empty list, and for another protocol than the reference's.
    """
    if not molecules:
        raise ValueError("There is no molecule to evaluate.")
    known = load_reference(reference) if isinstance(reference, str | Path) else reference
    rule = _rule(protocol, known)
    measured = measure(molecules, rule.name)
    counts = measured.counts() if known is None else known.counts_of(measured)
    report = Report(
        counts=counts,
        rates=rates_of(counts, measured),
        sizes=dict(count_values(measured.sizes)),
        by_size=measured.counts_by_size() if per_size else None,
        file_bonds=None if graphs is None else _by_file_bonds(graphs, molecules),
        protocol=rule.name,
        corrected=_corrected(molecules, workers, known) if rule.corrected else None,
        measured=measured,
    )
    return report if known is None else _beside(report, measured, known)


def _rule(asked: str | None, known: Reference | None) -> Protocol:
    """The protocol to follow. Raises ValueError for an unknown one, and for another than the reference's."""
    rule = find_protocol(asked or (known.protocol if known else "qm9"))
    if known and rule.name != known.protocol:
        raise ValueError(
            f"The reference {known.name} is by the protocol {known.protocol}, and {rule.name} was asked for; leave it "
            "out, or take no reference."
        )
    return rule


def _beside(report: Report, measured: Measurement, known: Reference) -> Report:
    """A report with the data's own scores and the distances from the data."""
    return replace(
        report,
        reference=known.name,
        data=shares_of(known.counts),
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
    return Larger(limit, *sizes, part.counts(), rates_of(part.counts(), part))


def _by_file_bonds(graphs: Sequence[Chem.Mol | None], molecules: Sequence[Molecule]) -> Scores:
    measured = measure_graphs(graphs, molecules)
    return Scores(measured.counts(), rates_of(measured.counts(), measured))


def _corrected(molecules: Sequence[Molecule], workers: int, known: Reference | None) -> Scores:
    found = measure_corrected(molecules, workers)
    own = shares_of(known.corrected) if known and known.corrected else None
    return Scores(found.counts(), rates_of(found.counts(), found.measured), own)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
