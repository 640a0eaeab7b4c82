"""What `coset data properties` does: a table of electronic properties beside a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from coset.cli.display import progress_bar, say

SPLITS = ("train", "valid", "test")


def compute(name: str, out: Path | None, split: str | None, first: int | None, workers: int | None) -> None:
    """Computes the rows asked for and writes the table; a store's rows outside them stay NaN."""
    from coset.data.catalog import open_dataset
    from coset.energies import Atoms, check_method
    from coset.energies.batch import enough
    from coset.energies.table import FILE, PropertyTable, extended
    from coset.files import check_writable

    check_method("xtb")
    if split not in (None, *SPLITS):
        raise ValueError(f"--split expects {', '.join(SPLITS)}; got {split!r}")
    dataset = open_dataset(name)
    path = out or dataset.store.path / FILE
    check_writable(path)
    chosen = [getattr(dataset, part) for part in SPLITS if split in (None, part)]
    rows = _drawn(np.sort(np.concatenate(chosen)), first)
    if not len(rows):
        raise ValueError(f"{name} has no molecules of the split {split!r} to compute")
    kept = path.with_name(f"{path.name}.jsonl")
    molecules = [
        Atoms(numbers.astype(np.int64), positions.astype(np.float64))
        for numbers, positions in (dataset.store[int(row)] for row in rows)
    ]
    with progress_bar("GFN2-xTB", len(rows)) as update:
        table = extended(
            PropertyTable.load(path) if path.is_file() else None,
            rows,
            molecules,
            len(dataset.store),
            workers or enough(len(rows), 100),
            kept,
            lambda done, total: update(len(rows) - total + done),
        )
    table.save(path)
    kept.unlink(missing_ok=True)
    _tell(table, path)


def _drawn(rows: Int[NDArray[np.int64], "r"], first: int | None) -> Int[NDArray[np.int64], "k"]:
    """All rows, or so many of them, rising; a smaller number is part of a larger one."""
    if first is None or first >= len(rows):
        return rows
    return np.sort(np.random.default_rng(0).permutation(rows)[:first])


def _tell(table, path: Path) -> None:
    """What the table holds."""
    for name, values in table.values.items():
        finite = values[np.isfinite(values)]
        if len(finite):
            low, middle, high = np.percentile(finite, [25, 50, 75])
            say(f"{name}: median {middle:.3f} ({low:.3f} - {high:.3f})")
    reasons = table.reasons()
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    say(f"{int(table.tried.sum()):,} of {len(table):,} molecules computed -> {path}")
    if reasons:
        say(f"not computed: {told}")
