"""Tables of electronic properties: one row a molecule of a store, kept as an .npz to condition on."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64
from numpy.typing import ArrayLike, NDArray

from coset.bonds import Located
from coset.energies.atoms import Atoms
from coset.energies.batch import Progress, content_key, run
from coset.energies.electronic import PROPERTIES, electronic_or_failure
from coset.energies.potentials import check_method
from coset.files import atomic_write

FILE = "gfn2.npz"  # of a table, in the folder of its store


@dataclass(frozen=True)
class PropertyTable:
    """values: by the names of `PROPERTIES`, (m,), NaN where not computed or failed. keys: (m,), a hash of the molecule
    of each row that was tried, 0 for the others. failures: reasons, by the row that was tried in vain."""

    values: dict[str, Float[NDArray[np.float64], "m"]]
    keys: UInt64[NDArray[np.uint64], "m"]
    failures: dict[int, str]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tried(self) -> NDArray[np.bool_]:
        """Rows that were computed, whether it succeeded or not (m,)."""
        return self.keys != 0

    def reasons(self) -> dict[str, int]:
        """How many rows failed, by reason."""
        return dict(sorted(Counter(self.failures.values()).items()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a compressed .npz: an array for each property, `keys`, and `header`, JSON with the units."""
        header = {"method": "GFN2-xTB", "properties": PROPERTIES, "failures": self.failures}
        arrays: dict[str, Any] = {**self.values, "keys": self.keys}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        with atomic_write(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PropertyTable:
        """Reads what `save` wrote. Raises FileNotFoundError, or ValueError for a file that is no such table."""
        from coset.files.npz import load_arrays

        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no table of properties {path}; make one with: coset data properties")
        try:
            arrays = load_arrays(Path(path))
            values = {name: arrays[name].astype(np.float64) for name in PROPERTIES}
            failures = json.loads(arrays["header"].tobytes())["failures"]
            if {each.shape for each in values.values()} | {arrays["keys"].shape} != {(len(arrays["keys"]),)}:
                raise ValueError("its arrays have different lengths")
            return cls(values, arrays["keys"].astype(np.uint64), {int(k): str(v) for k, v in failures.items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{path} is not a whole table of properties; remove it and run: coset data properties"
            ) from None


def electronic_all(
    molecules: Sequence[Located],
    charge: int = 0,
    workers: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> PropertyTable:
    """`electronic` for many molecules, in their order. workers, kept, progress: see `batch.run`."""
    check_method("xtb")
    atoms = [Atoms.of(molecule, charge) for molecule in molecules]
    records = run(electronic_or_failure, _label(), atoms, workers, kept, progress)
    values = {name: np.array([each.get(name, math.nan) for each in records]) for name in PROPERTIES}
    reasons = ["crashed" if each.get("crashed") else each.get("failure") for each in records]
    failures = {row: reason for row, reason in enumerate(reasons) if reason}
    return PropertyTable(values, np.array([_key(each) for each in atoms], dtype=np.uint64), failures)


def extended(
    table: PropertyTable | None,
    rows: ArrayLike,
    molecules: Sequence[Located],
    length: int,
    workers: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> PropertyTable:
    """A table of `length` rows with these rows computed. molecules: those of the rows, in their order.

    table: an earlier one, whose rows for the same molecules are not computed again; of another length it counts for
    nothing.
    """
    rows = np.asarray(rows)
    if table is None or len(table) != length:
        table = PropertyTable({name: np.full(length, math.nan) for name in PROPERTIES}, np.zeros(length, np.uint64), {})
    keys = np.array([_key(Atoms.of(molecule)) for molecule in molecules], dtype=np.uint64)
    new = np.flatnonzero(table.keys[rows] != keys)
    found = electronic_all([molecules[i] for i in new.tolist()], 0, workers, kept, progress)
    values = {name: column.copy() for name, column in table.values.items()}
    for name, column in values.items():
        column[rows[new]] = found.values[name]
    all_keys = table.keys.copy()
    all_keys[rows[new]] = found.keys
    failures = {row: reason for row, reason in table.failures.items() if row not in set(rows[new].tolist())}
    failures |= {int(rows[new[i]]): reason for i, reason in found.failures.items()}
    return PropertyTable(values, all_keys, dict(sorted(failures.items())))


def _label() -> str:
    return f"electronic 1 tblite {version('tblite')}"


def _key(atoms: Atoms) -> int:
    return int(content_key(_label(), atoms)[:16], 16) | 1  # never 0, which means that a row was not tried
