"""Reference: what a training set looks like to the metrics, and how the data itself scores."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int, UInt8, UInt64
from numpy.typing import NDArray

from coset.files import atomic_write
from coset.metrics.descriptors import DESCRIPTORS, descriptors
from coset.metrics.distances import geometry_distances
from coset.metrics.distribution import count_values, total_variation
from coset.metrics.frechet import Moments, descriptor_distance
from coset.metrics.geometry import SCALES, Geometry
from coset.metrics.measurement import Measurement, measure
from coset.metrics.novelty import novel_count, smiles_hashes
from coset.metrics.own import interpolated
from coset.metrics.uniqueness import unique_smiles
from coset.metrics.wasserstein import common_kinds
from coset.molecule import Molecule

REFERENCES = ("qm9", "qm9-small")
VERSION = (
    3  # of the file; 2 lacks the geometry, the descriptors and the nearer numbers; 1, without a number, the valences
)
OWN_SIZES, OWN_DRAWS = (100, 300, 1000, 3000), 5
_HISTOGRAMS = ("sizes", "types", "bonds", "valences")


@dataclass(frozen=True)
class Reference:
    """Histograms and SMILES hashes of a training set, and the scores of held-out data against it.

    sizes: molecules by number of atoms, the size prior p(N). types: atoms by atomic number. bonds, valences:
    see `count_bond_lengths`, `count_valences`; valences are empty where a file of version 1 lacks them.
    hashes: see `smiles_hashes`. counts, distances: of the data's own test split. geometry, descriptors: of the training
    set, common kinds alone; None where a file of version 2 lacks them. own: distances of parts of the test split, by
    their number of molecules.
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


def build_reference(name: str, train: Sequence[Molecule], test: Sequence[Molecule]) -> Reference:
    """Measures a training set and held-out data. About a minute for QM9 on one core."""
    if not train or not test:
        raise ValueError(f"A reference needs molecules: got {len(train)} to train and {len(test)} to test.")
    known, own = measure(train), measure(test)
    hashes = smiles_hashes(unique_smiles(known.smiles))
    geometry = Geometry(*(common_kinds(part, scale) for part, scale in zip(known.geometry, SCALES, strict=True)))
    table = descriptors(known.smiles)
    moments = Moments.of(table) if len(table) > 1 else None
    bare = Reference(
        name, count_values(known.sizes), known.types, known.bonds, hashes, {}, {}, known.valences, geometry, moments
    )
    distances = bare.distances_of(own)
    parts = {**_own_parts(bare, test), len(test): distances}
    return replace(bare, counts=bare.counts_of(own), distances=distances, own=parts)


def _own_parts(bare: Reference, test: Sequence[Molecule]) -> dict[int, dict[str, float]]:
    """Mean distances of parts of the held-out data, drawn apart from each other, by their number of molecules."""
    order = np.random.default_rng(0).permutation(len(test)).tolist()
    found = {}
    for size in (each for each in OWN_SIZES if each < len(test)):
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for start in range(0, len(test) - size + 1, size)[:OWN_DRAWS]:
            drawn = measure([test[i] for i in order[start : start + size]])
            for key, value in bare.distances_of(drawn).items():
                sums[key].append(value)
        found[size] = {key: float(np.mean(values)) for key, values in sums.items()}
    return found


def save_reference(path: str | os.PathLike[str], reference: Reference) -> None:
    """Writes a reference as a compressed .npz."""
    header: dict[str, Any] = {
        "version": VERSION,
        "name": reference.name,
        "counts": dict(reference.counts),
        "distances": dict(reference.distances),
        "own": {str(molecules): dict(found) for molecules, found in reference.own.items()},
    }
    arrays: dict[str, Any] = {"hashes": _packed(reference.hashes)}
    for name in _HISTOGRAMS:
        arrays[name] = _columns(getattr(reference, name))
    if reference.geometry:
        arrays |= {name: _columns(part) for name, part in reference.geometry._asdict().items()}
    if reference.descriptors:
        header["descriptors"] = DESCRIPTORS
        arrays |= {"mean": reference.descriptors.mean, "covariance": reference.descriptors.covariance}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_reference(reference: str | Path) -> Reference:
    """The packaged reference of a name in `REFERENCES`, or one that `save_reference` wrote to a path.

    Packaged: "qm9", the standard split of QM9 less nearly all molecules with fluorine (98,600 to train,
    13,083 to test); "qm9-small", its molecules of at most 14 atoms. Raises FileNotFoundError, or ValueError
    for a file that is no reference, is not whole or comes from a later version.
    """
    if reference in REFERENCES:
        return _packaged(str(reference))
    path = Path(reference)
    if not path.is_file():
        raise FileNotFoundError(
            f"No reference {str(reference)!r}: expected {', '.join(REFERENCES)}, none, or a file to read."
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
    sizes, types, bonds, valences = (_counter(arrays, name) for name in _HISTOGRAMS)
    geometry, moments = None, None
    if set(Geometry._fields) <= set(arrays):
        geometry = Geometry(*(_counter(arrays, name) for name in Geometry._fields))
    if tuple(header.get("descriptors", ())) == DESCRIPTORS:  # other ones could not be compared with
        moments = Moments(arrays["mean"], arrays["covariance"])
    own = {int(molecules): found for molecules, found in header.get("own", {}).items()}
    return Reference(
        header["name"], sizes, types, bonds, _unpacked(arrays["hashes"]), header["counts"], header["distances"],
        valences, geometry, moments, own,
    )  # fmt: skip


def _columns(counts: Mapping[int, int]) -> Int[NDArray[np.int64], "k 2"]:
    return np.array(sorted(counts.items()), dtype=np.int64).reshape(-1, 2)


def _counter(arrays: Mapping[str, NDArray], name: str) -> Counter[int]:
    return Counter(dict(arrays[name].tolist())) if name in arrays else Counter()


def _packed(hashes: UInt64[NDArray[np.uint64], "m"]) -> UInt8[NDArray[np.uint8], "8 m"]:
    """Byte planes of the steps between sorted hashes: the high ones are zeros, which compress away."""
    steps = np.diff(hashes, prepend=np.uint64(0)).astype(">u8")
    return np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)


def _unpacked(planes: UInt8[NDArray[np.uint8], "8 m"]) -> UInt64[NDArray[np.uint64], "m"]:
    return np.cumsum(np.ascontiguousarray(planes.T).view(">u8")[:, 0].astype(np.uint64), dtype=np.uint64)
