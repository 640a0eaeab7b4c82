"""Properties of ensembles: are the energies, dipoles and gaps of generated conformers those of the reference?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coset.energies.batch import Progress
from coset.ensembles.electronics import Work, halves_errors, property_errors
from coset.ensembles.measure import References
from coset.ensembles.methods import Method
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.files import atomic_write
from coset.metrics.ensemble_properties import PROPERTIES
from coset.reproduce.record import Record, heading, markdown_table

NAME = "conformer-properties"
RELAX = {"none": None, "mmff": "mmff", "xtb": "xtb"}
RELAXED = {None: "as drawn", "mmff": "MMFF94", "xtb": "GFN2-xTB"}
HALVES = "halves of the reference"


@dataclass(frozen=True)
class Study:
    """targets: molecules of the test split, the first ones; 2 L conformers of each."""

    data: str = "xtb"
    targets: int = 100
    seed: int = 0


def run(
    study: Study,
    models: Mapping[str, Method],
    folder: Path,
    relax: Sequence[str | None] = (None,),
    workers: int = 1,
    begin: Callable[[str], Progress | None] = lambda row: None,
) -> Record:
    """Measures the models and RDKit, relaxed in each of these ways, as far as the folder has no row of that name yet.

    Results of single calculations are kept in the folder, so a stopped run goes on. Raises ValueError where the folder
    holds the rows of another study.
    """
    record = Record.open(NAME, folder, asdict(study))
    references = References.of(study.data, study.targets)
    folder.mkdir(parents=True, exist_ok=True)

    def work(row: str) -> Work:
        return Work(workers, folder / "calculations.jsonl", begin(row))

    if HALVES not in record.rows:
        record.add(HALVES, halves_errors(references, work(HALVES)))
        report(record, study, references)
    for name, method in {**models, "ETKDGv3": DistanceGeometry()}.items():
        for way in relax:
            label = f"{name}, {RELAXED[way]}"
            if label not in record.rows:
                record.add(label, property_errors(method, references, study.seed, way, work(label)))
                report(record, study, references)
    report(record, study, references)
    return record


def report(record: Record, study: Study, references: References) -> None:
    """report.md from the rows that are there."""
    text = heading(
        record,
        f"{len(references.ensembles):,} test molecules, 2 L conformers for L of the reference, "
        f"{2 * references.conformers:,} in all",
        str(study.seed),
        f"{study.data}: GFN2-xTB ensembles",
        f" --targets {study.targets}",
    )
    headings = ["ensemble", *(f"{_label(name)} ({unit})" for name, unit in PROPERTIES.items()), "molecules", "failed"]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, [_line(*row) for row in record.rows.items()]) + NOTES)


NOTES = """
Median over molecules of the absolute error of a molecule's property; averages by Boltzmann weights at 298.15 K, each
ensemble by its own energies; all values are GFN2-xTB's at the positions as they are. The reference is of minima of that
method, so that conformers as drawn lie above it: relaxed ones are to be compared with the halves.
"""


def _label(name: str) -> str:
    return name.replace("_", " ")


def _line(name: str, found: Mapping[str, Any]) -> list[str]:
    values = (found[each] for each in PROPERTIES)
    shown = ["" if value is None or math.isnan(value) else f"{value:.3f}" for value in values]
    return [name, *shown, f"{found['molecules']:.0f}", f"{found['failed']:.0f}"]
