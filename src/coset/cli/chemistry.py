"""What `coset evaluate --level full` adds: PoseBusters, strain, synthesizability, rings, variation by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as fixed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coset.cli.display import progress_bar
from coset.cli.options import warn
from coset.metrics.sections import Section, decimal

if TYPE_CHECKING:
    from coset.energies.strain import StrainReport
    from coset.metrics.evaluate import Report
    from coset.metrics.protocol import Protocol
    from coset.molecule import Molecule


@dataclass(frozen=True)
class Chemistry:
    """sections: tables to show. values: the same and more as plain values, by part."""

    sections: Sequence[Section]
    values: Mapping[str, Any]


def require() -> None:
    """Raises ValueError with what to install, where the tests cannot be run."""
    from coset.metrics.plausibility import check_installed

    check_installed()


def partial(file: Path) -> Path:
    """Where results wait until all are there."""
    return file.with_name(f"{file.name}.full.jsonl")


def chemistry(report: Report, molecules: Sequence[Molecule], file: Path, workers: int | None = None) -> Chemistry:
    """Runs every test on every molecule, over processes; results are kept beside the file as they come (`partial`).

    report: of the same molecules; where its protocol is one that the corrected rates stand beside, charges are
    perceived, and bonds for drug-likeness too, else molecules are neutral. workers: as many as cores without. Where the
    folder cannot be written to nothing is kept, and a warning says so; where tblite is not installed GFN2-xTB is left
    out.
    """
    from coset.energies.strain import DATA
    from coset.metrics import druglikeness, plausibility
    from coset.metrics.druglikeness import Druglikeness
    from coset.metrics.plausibility import Plausibility
    from coset.metrics.protocol import find_protocol

    rule, name = find_protocol(report.protocol), report.reference
    batch = _Batch(molecules, _charges(molecules, rule), _kept(file), workers)
    tested = batch.run(plausibility.plausible, plausibility.label(), "PoseBusters")
    if rule.corrected:
        graphs = batch.run(druglikeness.described_perceived, druglikeness.LABEL_PERCEIVED, "synthesizability")
    else:
        graphs = batch.run(druglikeness.described, druglikeness.LABEL, "synthesizability")
    own = name if name in DATA else None
    strains = [batch.strain(method, own) for method in _methods()]
    tests, drugs = Plausibility.of(tested, own), Druglikeness.of(graphs, own)
    sections = [tests.section(), strain_section(strains), drugs.section()]
    values = {
        "posebusters": tests.summary(),
        "strain": {found.method: {**found.summary(), "data": found.data} for found in strains},
        "druglikeness": drugs.summary(),
    }
    if report.measured is not None and report.known is not None:
        from coset.metrics.own import own_scores
        from coset.metrics.variation import Variation, by_kind, variations

        scores = own_scores(name, "variation", len(molecules))
        kinds = by_kind(report.measured, report.known)
        variation = Variation(variations(report.measured, report.known), kinds, scores)
        sections += variation.sections()
        values["variation"] = variation.summary()
    return Chemistry(sections, values)


def strain_section(strains: Sequence[StrainReport]) -> Section:
    """Energies, shifts and counts of each method, beside the data's own."""
    rows, notes = [], []
    for report in strains:
        found, own = report.summary(), report.data or {}
        name = found["method"]
        for text, key in (("kcal/mol", "strain_kcal_mol"), ("shift, Å", "rmsd_heavy_angstrom")):
            rows.append((f"{name}, {text}", _quartiles(found[key]), _quartiles(own.get(key))))
        for text, *parts in (("relaxed, %", "relaxed", "molecules"), ("bonds kept, %", "same_bonds", "relaxed")):
            rows.append((f"{name}, {text}", _percent(found, *parts), _percent(own, *parts)))
        failures = ", ".join(f"{count:,} {reason}" for reason, count in found["failures"].items())
        notes += [f"Not relaxed with {name}: {failures}."] if failures else []
    told = ["Energy lost on the way to the nearest minimum and shift of the heavy atoms: median (quartiles).", *notes]
    return Section("Strain", " ".join(told), ("relaxation", "value", "data's own"), tuple(rows))


class _Batch:
    """Molecules, and how calculations on them are run."""

    def __init__(
        self, molecules: Sequence[Molecule], charges: Sequence[int], kept: Path | None, workers: int | None
    ) -> None:
        from coset.energies import Atoms
        from coset.energies.batch import enough

        self._molecules = [Atoms.of(*each) for each in zip(molecules, charges, strict=True)]
        self._kept = kept
        self._workers = workers or enough(len(molecules))

    def run(self, task: Callable[..., dict[str, Any]], label: str, text: str) -> list[dict[str, Any]]:
        from coset.energies.batch import run

        with progress_bar(text, len(self._molecules)) as update:
            tell = fixed(_tell, update)
            return run(task, label, self._molecules, self._workers, self._kept, tell)

    def strain(self, method: str, reference: str | None) -> StrainReport:
        from coset.energies import METHODS
        from coset.energies.strain import strain

        with progress_bar(f"relaxing with {METHODS[method]}", len(self._molecules)) as update:
            tell = fixed(_tell, update)
            return strain(self._molecules, method, reference, None, self._workers, self._kept, tell)


def _charges(molecules: Sequence[Molecule], rule: Protocol) -> list[int]:
    """Total charges: those at which bonds are perceived, 0 where none are and where the protocol knows none."""
    from coset.metrics.corrected import measure_corrected

    return [charge or 0 for charge in measure_corrected(molecules).charges] if rule.corrected else [0] * len(molecules)


def _tell(update: Callable[[float], object], done: int, total: int) -> None:
    update(done)


def _methods() -> list[str]:
    """The methods at hand."""
    from coset.energies import METHODS, check_method

    found = []
    for method in METHODS:
        try:
            check_method(method)
            found.append(method)
        except ValueError as error:
            warn(f"strain by {METHODS[method]} is left out: {error}")
    return found


def _kept(file: Path) -> Path | None:
    from coset.files import check_writable

    try:
        check_writable(partial(file))
    except OSError as error:
        warn(f"results are not kept, so a run that is stopped starts anew: {error}")
        return None
    return partial(file)


def _quartiles(values: Sequence[float] | None) -> str:
    if values is None:
        return "-"
    low, middle, high = values
    return f"{decimal(middle, 2)} ({decimal(low, 2)} - {decimal(high, 2)})"


def _percent(found: Mapping[str, Any], top: str, bottom: str) -> str:
    return decimal(100 * found[top] / found[bottom], 1) if found.get(bottom) else "-"
