"""Rows trained one after the other, with several seeds, measured once or by steps, kept and reported as they come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coset.model import Model, load
from coset.recipes.registry import find_recipe
from coset.reproduce.record import Record
from coset.training.log import Listener
from coset.training.runs import prepare
from coset.training.start import carry_out

MakeRow = Callable[[str, int, Listener | None], dict[str, Any]]
MeasureAt = Callable[[int], dict[str, Any]]


def run_rows(
    name: str,
    study: Any,
    folder: Path,
    known: Collection[str],
    rows: Collection[str] | None,
    make: MakeRow,
    report: Callable[[Record], None],
    begin: Callable[[str], Listener | None],
) -> Record:
    """Makes the rows that are not there yet, a seed of the study after the other; the report is written after each.

    study: a dataclass with `seeds`. make: from a row's name, a seed and a listener. Raises ValueError for rows that are
    not known, and where the folder holds the rows of another study; further seeds join those that are there.
    """
    check_known("row", rows or (), known)
    record = Record.open(name, folder, {key: value for key, value in asdict(study).items() if key != "seeds"})
    for seed in study.seeds:
        for row in rows or known:
            label = f"{row} seed {seed}"
            if label not in record.rows:
                record.add(label, make(row, seed, begin(label)))
            report(record)
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
