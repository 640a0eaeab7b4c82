"""Measurement: everything the rates are computed from, molecule by molecule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from coset.bonds import bond_orders
from coset.metrics.connectivity import connected
from coset.metrics.distribution import count_bond_lengths, count_valences, count_values
from coset.metrics.geometry import Geometry, count_geometry
from coset.metrics.protocol import find_protocol
from coset.metrics.stability import stable_atoms
from coset.metrics.uniqueness import unique_smiles
from coset.metrics.validity import valid_smiles
from coset.molecule import Molecule, pad

_PAIRS = 100_000  # of atoms at a time: 128 molecules of QM9's size, fewer of larger ones


@dataclass(frozen=True)
class Measurement:
    """sizes, stable: atoms and stable atoms of m molecules. smiles: of the valid ones, else None.

    types, bonds, valences: histograms over all molecules of atomic numbers, of bond lengths
    (`count_bond_lengths`) and of sums of bond orders (`count_valences`). geometry: of bond lengths, angles, torsions.
    protocol: the name of the one that smiles are by.
    """

    sizes: Int[NDArray[np.int64], "m"]
    stable: Int[NDArray[np.int64], "m"]
    connected: Bool[NDArray[np.bool_], "m"]
    smiles: tuple[str | None, ...]
    types: Counter[int]
    bonds: Counter[int]
    valences: Counter[int]
    geometry: Geometry = field(default_factory=lambda: Geometry(Counter(), Counter(), Counter()))
    protocol: str = "qm9"

    def counts(self) -> dict[str, int]:
        """Counts over all molecules; `unique` are the distinct SMILES of the valid ones."""
        valid = np.array([each is not None for each in self.smiles], dtype=bool)
        return {
            "molecules": len(self.sizes),
            "atoms": int(self.sizes.sum()),
            "stable_atoms": int(self.stable.sum()),
            "stable_molecules": int((self.stable == self.sizes).sum()),
            "valid": int(valid.sum()),
            "unique": len(unique_smiles(self.smiles)),
            "connected": int(self.connected.sum()),
            "valid_connected": int((valid & self.connected).sum()),
        }

    def counts_by_size(self) -> dict[int, dict[str, int]]:
        """The counts of the molecules of each size, by number of atoms."""
        return {int(size): self.part(self.sizes == size).counts() for size in np.unique(self.sizes)}

    def part(self, which: Bool[NDArray[np.bool_], "m"]) -> Measurement:
        """That of some of the molecules, without histograms."""
        chosen = np.flatnonzero(which)
        smiles = tuple(self.smiles[i] for i in chosen)
        arrays = self.sizes[chosen], self.stable[chosen], self.connected[chosen]
        return Measurement(*arrays, smiles, Counter(), Counter(), Counter(), protocol=self.protocol)


def measure(molecules: Sequence[Molecule], protocol: str = "qm9") -> Measurement:
    """Measures molecules with bonds by the distance rule. One core takes 1.5 s for 10,000 of QM9's size.

    protocol: a name of `PROTOCOLS`, which says what RDKit is asked about. The molecules are gone through in their
    order, a few at a time, so a sequence that reads them when they are asked for need not hold them all.
    """
    rule = find_protocol(protocol)
    sizes = np.array([len(molecule) for molecule in molecules], dtype=np.int64)
    stable, single = np.zeros_like(sizes), np.zeros(len(sizes), dtype=bool)
    smiles: list[str | None] = []
    types, bonds, valences = Counter[int](), Counter[int](), Counter[int]()
    geometry = Geometry(Counter(), Counter(), Counter())
    for chunk in _chunks(sizes):
        numbers, positions = pad(molecules[chunk])
        orders = bond_orders(numbers, positions)
        stable[chunk] = stable_atoms(numbers, orders).sum(-1)
        single[chunk] = connected(numbers, orders)
        types += count_values(numbers[numbers != 0])
        bonds += count_bond_lengths(numbers, positions, orders)
        valences += count_valences(numbers, orders)
        for total, part in zip(geometry, count_geometry(numbers, positions, orders), strict=True):
            total.update(part)
        smiles += [
            valid_smiles(row[:size], rule.capped(order[:size, :size]))
            for row, order, size in zip(numbers, orders, sizes[chunk], strict=True)
        ]
    return Measurement(sizes, stable, single, tuple(smiles), types, bonds, valences, geometry, protocol)


def _chunks(sizes: Int[NDArray[np.int64], "m"]) -> Iterator[slice]:
    """Runs of molecules whose padded pairs of atoms are few enough to stay in the caches, at least one molecule."""
    start, widest = 0, 0
    for stop, size in enumerate(sizes.tolist()):
        widest = max(widest, size)
        if stop > start and (stop + 1 - start) * widest**2 > _PAIRS:
            yield slice(start, stop)
            start, widest = stop, size
    yield slice(start, len(sizes))
