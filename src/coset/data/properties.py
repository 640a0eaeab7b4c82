"""Properties of molecules from files as columns of a store: those that are numbers everywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from coset.data.layout import BASE
from coset.molecule import Molecule

RESERVED = ("group", "geometry")  # columns that the builder itself makes


def column_names(properties: Iterable[str]) -> dict[str, str]:
    """Names of columns for names of properties: letters, digits and _; a number is added where two would agree.

    Case alone does not tell two files apart on every disk, and the names of a store's own arrays are taken.
    """
    names: dict[str, str] = {}
    taken = {*BASE, *RESERVED}
    for name in properties:
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60] or "property"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        new, number = plain, 2
        while new.lower() in taken:
            new, number = f"{plain}_{number}", number + 1
        taken.add(new.lower())
        names[name] = new
    return names


class NumericColumns:
    """Numeric properties of the first molecule, followed through all of them.

    names: property to column. incomplete: those that a later molecule lacks or has as text. late: met later only.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._started = False
        self.incomplete: set[str] = set()
        self.late: set[str] = set()

    def values(self, chunk: list[Molecule]) -> dict[str, NDArray[np.float64]]:
        """Columns (c,) of these molecules, NaN where there is no number."""
        if not self._started:
            self._started = True
            first = chunk[0].properties
            self.names = column_names(name for name, value in first.items() if _real(value) is not None)
        for molecule in chunk:
            self.late |= molecule.properties.keys() - self.names.keys()
        found = {}
        for name, column in self.names.items():
            values = [_real(molecule.properties.get(name)) for molecule in chunk]
            if None in values:
                self.incomplete.add(name)
            found[column] = np.array([math.nan if value is None else value for value in values])
        return found

    def complete(self) -> list[str]:
        """Columns that have a number for every molecule."""
        return [column for name, column in self.names.items() if name not in self.incomplete]


def _real(value: object) -> float | None:
    """A property as a finite real number, else None."""
    number = float(value) if isinstance(value, int | float) and abs(value) < 1e300 else math.nan
    return number if math.isfinite(number) else None
