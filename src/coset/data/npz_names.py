"""What an .npz of molecules is, told by the names of its arrays alone."""

from __future__ import annotations

import zipfile
from pathlib import Path


def array_names(path: Path) -> set[str]:
    """Names of the arrays of an .npz, none of which is read; empty for what is no .npz."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def holds_ensembles(path: Path) -> bool:
    """Whether they are those of ensembles (ensemble_file.py)."""
    return {"smiles", "n_conformers"} <= array_names(path)


def holds_table(path: Path) -> bool:
    """Whether they are those of a table that says itself how it is split (`qm9.Table`)."""
    return {"gdb_id", "split"} <= array_names(path)
