"""Ensembles by name: `open_ensembles("xtb")`, "drug-like", or a path."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from coset.data.atom_order import Unusable, ordered, ordered_all
from coset.data.ensemble_file import Ensemble, Ensembles, concatenated, connectivity, parts

__all__ = [
    "NAMED",
    "Ensemble",
    "Ensembles",
    "Unusable",
    "concatenated",
    "connectivity",
    "open_ensembles",
    "ordered",
    "ordered_all",
    "parts",
]

NAMED = {"xtb": ("xtb_conformers.npz",), "drug-like": ("conformer_benchmark.npz", "flexisol_gas.npz")}
_LOOKED_AT = 300  # molecules, spread over a file, that tell whether it is in the order of its SMILES


def open_ensembles(name_or_path: str | Path, left_out: Counter[str] | None = None) -> Ensembles:
    """Ensembles by their name or by the path of an .npz, atoms in the order of each SMILES (`ordered`).

    "xtb": small molecules, GFN2-xTB. "drug-like": larger ones from two public sets of optimised conformers. Both lie in
    the folder that COSET_DATA names. Several are joined by +, as in xtb+drug-like; no molecule is then in two parts. A
    file without a split is split by molecule (`ensembles.parts`). Whether a file
    must be ordered at all is told by 300 of its molecules. left_out: what could not be ordered is counted there by
    reason. Raises FileNotFoundError and ValueError with what to do.
    """
    asked = str(name_or_path)
    names = asked.split("+") if not Path(asked).is_file() else [asked]
    files = [_file(name, each) for name in names for each in NAMED.get(name, (name,))]
    found = []
    for path in files:
        ensembles = Ensembles.load(path, split_by_molecule=True)
        if not in_order(ensembles):
            ensembles, counts = ordered_all(ensembles)
            if left_out is not None:
                left_out.update(counts)
        found.append(ensembles)
    return concatenated(found) if len(found) == 1 else _held_out_by_all(concatenated(found))


def _held_out_by_all(ensembles: Ensembles) -> Ensembles:
    """What one set holds out, no other trains on: a molecule goes to the part that is furthest from training."""
    keys = [connectivity(str(smiles)) for smiles in ensembles.smiles]
    most: dict[str, int] = {}
    for key, part in zip(keys, ensembles.split.tolist(), strict=True):
        most[key] = max(part, most.get(key, 0))
    return replace(ensembles, split=np.array([most[key] for key in keys], dtype=np.uint8))


def in_order(ensembles: Ensembles) -> bool:
    """Whether `ordered` would change none of some 300 molecules, spread evenly."""
    for row in np.unique(np.linspace(0, len(ensembles) - 1, _LOOKED_AT).astype(int)).tolist():
        own = ensembles[row]
        try:
            if not np.array_equal(ordered(own).positions, own.positions):
                return False
        except Unusable:
            return False
    return True


def _file(asked: str, name: str) -> Path:
    """The path of a file of ensembles: as given, or in the folder of data for a name."""
    if asked not in NAMED:
        if not Path(name).is_file():
            raise FileNotFoundError(
                f"{name!r} is no set of ensembles: expected {', '.join(NAMED)}, an .npz file, or several joined by +; "
                "make one with `coset data ensembles` or `coset data geom`."
            )
        return Path(name)
    folder = os.environ.get("COSET_DATA")
    if not folder or not (Path(folder) / name).is_file():
        tried = f"there is no {Path(folder) / name}" if folder else "COSET_DATA is not set"
        raise FileNotFoundError(
            f"the ensembles {asked} are not here: {tried}; set COSET_DATA to a folder that holds {name}, or make "
            "ensembles of your own with `coset data ensembles`."
        )
    return Path(folder) / name
