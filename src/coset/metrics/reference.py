"""Reference: what a training set looks like to the metrics, and how the data itself scores."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt64
from numpy.typing import NDArray

from coset.data.catalog import cache_folder
from coset.files import atomic_write
from coset.metrics.descriptors import DESCRIPTORS, descriptors
from coset.metrics.distances import geometry_distances
from coset.metrics.distribution import count_values, total_variation
from coset.metrics.frechet import Moments, descriptor_distance
from coset.metrics.geometry import Geometry
from coset.metrics.measurement import Measurement
from coset.metrics.novelty import novel_count
from coset.metrics.own import interpolated
from coset.metrics.packing import columns, counter, packed, unpacked
from coset.metrics.uniqueness import unique_smiles

REFERENCES = ("qm9", "qm9-small", "drug-like")
# Of the file; 3 lacks protocol and corrected counts; 2 the geometry, the descriptors and the nearer numbers too; 1,
# without a number, the valences.
VERSION = 4
KEPT = "reference.npz"  # in the store of the data set
_HISTOGRAMS = ("sizes", "types", "bonds", "valences")


@dataclass(frozen=True)
class Reference:
    """Histograms and SMILES hashes of a training set, and the scores of held-out data against it.

    sizes: molecules by number of atoms, the size prior p(N). types: atoms by atomic number. bonds, valences:
    see `count_bond_lengths`, `count_valences`; valences are empty where a file of version 1 lacks them.
    hashes: see `smiles_hashes`. counts, distances: of the data's own test split. geometry, descriptors: of the training
    set, common kinds alone; None where a file of version 2 lacks them. own: distances of parts of the test split, by
    their number of molecules. protocol: the name of the one that all of it is by. corrected: counts of the test split
    by perceived bonds (`Corrected.counts`), empty where the protocol or the file has none.
    """

    name: str
    sizes: Mapping[int, int]
    types: Mapping[int, int]
    bonds: Mapping[int, int]
    hashes: UInt64[NDArray[np.uint64], "m"]
    counts: Mapping[str, int]
    distances: Mapping[str, float]
    valences: Mapping[int, int] = field(default_factory=dict)
    geometry: Geometry | None = None
    descriptors: Moments | None = None
    own: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    protocol: str = "qm9"
    corrected: Mapping[str, int] = field(default_factory=dict)

    def distances_of(self, measured: Measurement) -> dict[str, float]:
        """How far a sample lies from the training set, by the keys of `DISTANCES`; those it cannot tell are absent."""
        found = {
            "sizes": total_variation(count_values(measured.sizes), self.sizes),
            "atom_types": total_variation(measured.types, self.types),
            "bond_lengths": total_variation(measured.bonds, self.bonds),
        }
        if self.valences:
            found["valences"] = total_variation(measured.valences, self.valences)
        if self.geometry:
            found |= geometry_distances(measured.geometry, self.geometry)
        if self.descriptors:
            found["frechet"] = descriptor_distance(descriptors(measured.smiles), self.descriptors)
        return found

    def own_distances(self, molecules: int) -> dict[str, float]:
        """What so many molecules of the data's own test split would score, on average: a small sample lies farther.

        Between the numbers measured, linear in the inverse root; beyond them that of the nearest.
        """
        if not self.own:
            return dict(self.distances)
        found = interpolated(self.own, molecules)
        return {name: found[name] for name in self.distances}

    def counts_of(self, measured: Measurement) -> dict[str, int]:
        """The counts of a sample, with `novel`: its distinct SMILES that the training set lacks."""
        return {**measured.counts(), "novel": novel_count(unique_smiles(measured.smiles), self.hashes)}


def save_reference(path: str | os.PathLike[str], reference: Reference) -> None:
    """Writes a reference as a compressed .npz."""
    header: dict[str, Any] = {
        "version": VERSION,
        "name": reference.name,
        "counts": dict(reference.counts),
        "distances": dict(reference.distances),
        "own": {str(molecules): dict(found) for molecules, found in reference.own.items()},
        "protocol": reference.protocol,
        "corrected": dict(reference.corrected),
    }
    arrays: dict[str, Any] = {"hashes": packed(reference.hashes)}
    for name in _HISTOGRAMS:
        arrays[name] = columns(getattr(reference, name))
    if reference.geometry:
        arrays |= {name: columns(part) for name, part in reference.geometry._asdict().items()}
    if reference.descriptors:
        header["descriptors"] = DESCRIPTORS
        arrays |= {"mean": reference.descriptors.mean, "covariance": reference.descriptors.covariance}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_reference(reference: str | Path) -> Reference:
    """The packaged reference of a name in `REFERENCES`, or one that `save_reference` wrote to a path or to the store of
    a named data set (`kept_reference`).

    Packaged: "qm9", the standard split of QM9 less nearly all molecules with fluorine (98,600 to train, 13,083 to
    test); "qm9-small", its molecules of at most 14 atoms; "drug-like", 12,367 conformers of 1,263 molecules, by the
    protocol "drugs". Raises FileNotFoundError, or ValueError for a file that is no reference, is not whole or comes
    from a later version.
    """
    if reference in REFERENCES:
        return _packaged(str(reference))
    path = Path(reference)
    if not path.is_file():
        path = kept_reference(str(reference))
    if not path.is_file():
        raise FileNotFoundError(
            f"No reference {str(reference)!r}: expected {', '.join(REFERENCES)}, none, a file to read, or a data set "
            "measured before; measure one with: coset data reference NAME"
        )
    broken = OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error
    try:
        with path.open("rb") as file:
            header, arrays = _stored(file)
        version = header.get("version", 1)
        if version <= VERSION:
            return _reference(header, arrays)
    except broken:
        raise ValueError(
            f"{path} is not a whole reference file; write one with: coset data reference NAME -o FILE.npz"
        ) from None
    raise ValueError(f"{path} is a reference of version {version}; this coset reads up to {VERSION}: update it.")


def kept_reference(name: str) -> Path:
    """Where the reference of a named data set is kept, once it was measured."""
    return cache_folder() / name / KEPT


@cache
def _packaged(name: str) -> Reference:
    source = resources.files("coset.metrics") / f"reference_{name.replace('-', '_')}.npz"
    with source.open("rb") as file:
        return _reference(*_stored(file))


def _stored(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray]]:
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    return json.loads(arrays.pop("header").tobytes()), arrays


def _reference(header: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Reference:
    sizes, types, bonds, valences = (counter(arrays, name) for name in _HISTOGRAMS)
    geometry, moments = None, None
    if set(Geometry._fields) <= set(arrays):
        geometry = Geometry(*(counter(arrays, name) for name in Geometry._fields))
    if tuple(header.get("descriptors", ())) == DESCRIPTORS:  # other ones could not be compared with
        moments = Moments(arrays["mean"], arrays["covariance"])
    own = {int(molecules): found for molecules, found in header.get("own", {}).items()}
    return Reference(
        header["name"], sizes, types, bonds, unpacked(arrays["hashes"]), header["counts"], header["distances"],
        valences, geometry, moments, own, header.get("protocol", "qm9"), header.get("corrected", {}),
    )  # fmt: skip
