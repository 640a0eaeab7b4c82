"""Reference: what a training set looks like to the metrics, and how the data itself scores."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt64
from numpy.typing import NDArray

from coset.files import atomic_write
from coset.metrics.distribution import count_values, total_variation
from coset.metrics.measurement import Measurement, measure
from coset.metrics.novelty import novel_count, smiles_hashes
from coset.metrics.uniqueness import unique_smiles
from coset.molecule import Molecule

REFERENCES = ("qm9", "qm9-small")


@dataclass(frozen=True)
class Reference:
    """Histograms and SMILES hashes of a training set, and the scores of held-out data against it.

    sizes: molecules by number of atoms, the size prior p(N). types: atoms by atomic number. bonds: see
    `count_bond_lengths`. hashes: see `smiles_hashes`. counts, distances: of the data's own test split.
    """

    name: str
    sizes: Mapping[int, int]
    types: Mapping[int, int]
    bonds: Mapping[int, int]
    hashes: UInt64[NDArray[np.uint64], "m"]
    counts: Mapping[str, int]
    distances: Mapping[str, float]

    def distances_of(self, measured: Measurement) -> dict[str, float]:
        """Total variation of the sizes, elements and bond lengths of a sample from the training set's."""
        return {
            "sizes": total_variation(count_values(measured.sizes), self.sizes),
            "atom_types": total_variation(measured.types, self.types),
            "bond_lengths": total_variation(measured.bonds, self.bonds),
        }

    def counts_of(self, measured: Measurement) -> dict[str, int]:
        """The counts of a sample, with `novel`: its distinct SMILES that the training set lacks."""
        return {**measured.counts(), "novel": novel_count(unique_smiles(measured.smiles), self.hashes)}


def build_reference(name: str, train: Sequence[Molecule], test: Sequence[Molecule]) -> Reference:
    """Measures a training set and held-out data. About 20 s for QM9 on one core."""
    if not train or not test:
        raise ValueError(f"A reference needs molecules: got {len(train)} to train and {len(test)} to test.")
    known, own = measure(train), measure(test)
    hashes = smiles_hashes(unique_smiles(known.smiles))
    bare = Reference(name, count_values(known.sizes), known.types, known.bonds, hashes, {}, {})
    return replace(bare, counts=bare.counts_of(own), distances=bare.distances_of(own))


def save_reference(path: str | os.PathLike[str], reference: Reference) -> None:
    """Writes a reference as a compressed .npz."""
    header = {
        "name": reference.name,
        "counts": dict(reference.counts),
        "distances": dict(reference.distances),
    }
    arrays: dict[str, Any] = {
        "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        "hashes": _packed(reference.hashes),
    }
    for field in ("sizes", "types", "bonds"):
        arrays[field] = np.array(sorted(getattr(reference, field).items()), dtype=np.int64)
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


@cache
def load_reference(reference: str | Path) -> Reference:
    """The packaged reference of a name in `REFERENCES`, or one that `save_reference` wrote to a path.

    Packaged: "qm9", the standard split of QM9 less nearly all molecules with fluorine (98,600 to train,
    13,083 to test); "qm9-small", its molecules of at most 14 atoms. Raises FileNotFoundError.
    """
    if reference in REFERENCES:
        source = resources.files("coset.metrics") / f"reference_{str(reference).replace('-', '_')}.npz"
    else:
        source = Path(reference)
    if not source.is_file():
        raise FileNotFoundError(
            f"No reference {str(reference)!r}: expected one of {', '.join(REFERENCES)} or a file to read."
        )
    with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
        sizes, types, bonds = (Counter(dict(stored[field].tolist())) for field in ("sizes", "types", "bonds"))
        hashes = _unpacked(stored["hashes"])
    return Reference(header["name"], sizes, types, bonds, hashes, header["counts"], header["distances"])


def _packed(hashes: UInt64[NDArray[np.uint64], "m"]) -> UInt8[NDArray[np.uint8], "8 m"]:
    """Byte planes of the steps between sorted hashes: the high ones are zeros, which compress away."""
    steps = np.diff(hashes, prepend=np.uint64(0)).astype(">u8")
    return np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)


def _unpacked(planes: UInt8[NDArray[np.uint8], "8 m"]) -> UInt64[NDArray[np.uint64], "m"]:
    return np.cumsum(np.ascontiguousarray(planes.T).view(">u8")[:, 0].astype(np.uint64), dtype=np.uint64)
