"""Building references: histograms and SMILES of a training set, and the scores of held-out data against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from jaxtyping import UInt64
from numpy.typing import NDArray

from coset.metrics.corrected import measure_corrected
from coset.metrics.descriptors import descriptors
from coset.metrics.distribution import count_values
from coset.metrics.frechet import Moments
from coset.metrics.geometry import SCALES, Geometry
from coset.metrics.measurement import measure
from coset.metrics.novelty import smiles_hashes
from coset.metrics.protocol import find_protocol
from coset.metrics.reference import Reference
from coset.metrics.uniqueness import unique_smiles
from coset.metrics.wasserstein import common_kinds
from coset.molecule import Molecule

OWN_SIZES, OWN_DRAWS = (100, 300, 1000, 3000), 5
_READ = 1000  # molecules at a time


def build_reference(
    name: str,
    train: Sequence[Molecule],
    test: Sequence[Molecule],
    protocol: str = "qm9",
    more: Iterable[Molecule] = (),
    workers: int = 1,
) -> Reference:
    """Measures a training set and held-out data. About a minute for QM9 on one core.

    protocol: a name of `PROTOCOLS`. more: further molecules of the training set, whose SMILES alone are taken, so that
    novelty is told from all of a set of which `train` is a sample. workers: processes for the corrected counts.
    """
    if not train or not test:
        raise ValueError(f"A reference needs molecules: got {len(train)} to train and {len(test)} to test.")
    rule = find_protocol(protocol)
    known, own = measure(train, protocol), measure(test, protocol)
    hashes = np.union1d(smiles_hashes(unique_smiles(known.smiles)), _hashes(more, protocol))
    geometry = Geometry(*(common_kinds(part, scale) for part, scale in zip(known.geometry, SCALES, strict=True)))
    table = descriptors(known.smiles)
    moments = Moments.of(table) if len(table) > 1 else None
    bare = Reference(
        name, count_values(known.sizes), known.types, known.bonds, hashes, {}, {}, known.valences, geometry, moments,
        protocol=protocol,
    )  # fmt: skip
    distances = bare.distances_of(own)
    parts = {**_own_parts(bare, test), len(test): distances}
    corrected = measure_corrected(test, workers).counts() if rule.corrected else {}
    return replace(bare, counts=bare.counts_of(own), distances=distances, own=parts, corrected=corrected)


def _hashes(molecules: Iterable[Molecule], protocol: str) -> UInt64[NDArray[np.uint64], "m"]:
    """Of the SMILES of molecules that are read a few at a time."""
    found, rest = [np.zeros(0, dtype=np.uint64)], iter(molecules)
    while some := list(islice(rest, _READ)):
        found.append(smiles_hashes(unique_smiles(measure(some, protocol).smiles)))
    return np.unique(np.concatenate(found))


def _own_parts(bare: Reference, test: Sequence[Molecule]) -> dict[int, dict[str, float]]:
    """Mean distances of parts of the held-out data, drawn apart from each other, by their number of molecules."""
    order = np.random.default_rng(0).permutation(len(test)).tolist()
    found = {}
    for size in (each for each in OWN_SIZES if each < len(test)):
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for start in range(0, len(test) - size + 1, size)[:OWN_DRAWS]:
            drawn = measure([test[i] for i in order[start : start + size]], bare.protocol)
            for key, value in bare.distances_of(drawn).items():
                sums[key].append(value)
        found[size] = {key: float(np.mean(values)) for key, values in sums.items()}
    return found
