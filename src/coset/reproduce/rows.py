"""Rows trained one after the other, with several seeds, measured once or by steps, kept and reported as they come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coset.data.catalog import Dataset
from coset.model import Model, load
from coset.recipes.registry import find_recipe
from coset.reproduce.record import Record
from coset.training.log import Listener
from coset.training.runs import prepare
from coset.training.start import carry_out

MakeRow = Callable[[Any, str, int, Path, str, Listener | None], dict[str, Any]]
"""From study, row, seed, folder of its trained models, device and listener to what the table says of the row."""
MeasureAt = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """A study whose rows are trained one after the other. rows: those that are known. report: writes what is there."""

    name: str
    rows: Collection[str]
    make: MakeRow
    report: Callable[[Record, Any], None]

    def run(
        self,
        study: Any,
        folder: Path,
        rows: Collection[str] | None = None,
        device: str = "cpu",
        begin: Callable[[str], Listener | None] = lambda row: None,
    ) -> Record:
        """Trains and measures the rows that are not there yet, seed by seed, and writes the report anew after each.

        study: a dataclass with `seeds`, of which further ones join those that are there. A row that was broken off goes
        on from its checkpoint. Raises ValueError for unknown rows, and where the folder holds the rows of another
        study.
        """
        check_known("row", rows or (), self.rows)
        about = {key: value for key, value in asdict(study).items() if key != "seeds"}
        record = Record.open(self.name, folder, about)
        for seed in study.seeds:
            for row in rows or self.rows:
                label = f"{row} seed {seed}"
                if label not in record.rows:
                    record.add(label, self.make(study, row, seed, folder / "runs", device, begin(label)))
                self.report(record, study)
        return record


def run_steps(
    record: Record,
    rows: Collection[str],
    steps: Sequence[int],
    seeds: Sequence[int],
    make: Callable[[str, int], MeasureAt],
    report: Callable[[], None],
    once: Collection[str] = (),
) -> Record:
    """Measures each row at each number of steps with each seed, where that is not there yet; reports after each.

    make: from a row's name and a seed, what measures it at a number of steps; called where something is missing, so a
    row is trained once. once: rows that know neither steps nor seeds, measured with 0.
    """
    for seed in seeds:
        for row in rows:
            labels = {row: 0} if row in once else {f"{row}, {count} steps, seed {seed}": count for count in steps}
            if labels.keys() <= record.rows.keys():
                continue
            measure_at = make(row, seed)
            for label, count in labels.items():
                if label not in record.rows:
                    record.add(label, measure_at(count))
                    report()
    report()
    return record


def check_known(what: str, asked: Collection[str], known: Collection[str]) -> None:
    """Raises ValueError that names what is not known, and all that is."""
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; choose among {', '.join(known)}")


def trained(recipe: str, settings: Mapping[str, Any], folder: Path, device: str, listener: Listener | None) -> Model:
    """The model of a row, trained in its folder as far as it was not."""
    carry_out(prepare(recipe, find_recipe(recipe).resolve(settings), folder, device, listener), folder, resume=True)
    return load(folder, device)


def seeds_of(rows: Mapping[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """A row's values, one for each seed that is there."""
    return [values for label, values in rows.items() if label.rpartition(" seed ")[0] == name]


def mean_of(found: Collection[dict[str, Any]], value: Callable[[dict[str, Any]], float], digits: int = 1) -> str:
    """The mean over seeds, and its standard deviation where there are several."""
    values = [value(row) for row in found]
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def seeds_told(record: Record) -> str:
    """The seeds of a record's rows, for its heading."""
    seeds = sorted({label.rpartition(" ")[2] for label in record.rows})
    return f"{', '.join(seeds) or 'none'} (mean over those that are there)"


def parts_told(dataset: Dataset) -> str:
    """A data set and the molecules of its parts, for a heading."""
    return f"{dataset.name}: {len(dataset.train):,} train, {len(dataset.valid):,} valid, {len(dataset.test):,} test"
