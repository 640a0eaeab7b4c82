"""Molecule: atoms and positions, the value that users see; Vocabulary: the elements a model knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem

from coset.cloud import Cloud, center

Property = str | int | float
FARTHEST = 1e8  # Angstrom, one centimetre: what lies beyond is no molecule, and its squares would lose all digits


@dataclass(frozen=True, eq=False)
class Molecule:
    """One molecule (or one conformer of it), of at least one atom.

    numbers: atomic numbers (n,), int64. positions: Cartesian coordinates (n, 3) in Angstrom, float64, each within
    `FARTHEST` of zero. Two atoms may lie at one place: a model can draw such a thing, and the metrics then judge it.
    properties: whatever is known besides, written to SDF and XYZ files and read back.
    Anything else raises a ValueError that says what is wrong. Molecules compare by identity.
    """

    numbers: Int[NDArray[np.int64], "n"]
    positions: Float[NDArray[np.float64], "n 3"]
    properties: Mapping[str, Property] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers, positions = np.asarray(self.numbers), np.asarray(self.positions, dtype=np.float64)
        if numbers.ndim != 1 or len(numbers) == 0 or not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(
                f"Molecule.numbers must be a non-empty row of integers, got {numbers.dtype} {numbers.shape}."
            )
        if positions.shape != (len(numbers), 3):
            raise ValueError(
                f"Molecule.positions must have shape {(len(numbers), 3)} for {len(numbers)} atoms, "
                f"got {positions.shape}."
            )
        if numbers.min() < 1 or numbers.max() > 118:
            raise ValueError(f"Atomic numbers lie between 1 and 118 (drop padding first), got {set(numbers.tolist())}.")
        if not np.isfinite(positions).all():
            raise ValueError("Molecule.positions holds a number that is not finite (NaN or infinity).")
        if (farthest := np.abs(positions).max()) > FARTHEST:
            raise ValueError(f"Molecule.positions lie within {FARTHEST:.0e} Angstrom of zero, got {farthest:.1e}.")
        object.__setattr__(self, "numbers", numbers.astype(np.int64))
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "properties", dict(self.properties))

    @property
    def symbols(self) -> list[str]:
        """Element symbols, one an atom."""
        return [element_symbol(int(number)) for number in self.numbers]

    @property
    def formula(self) -> str:
        """Hill formula: C, then H, then the alphabet; the alphabet alone without carbon."""
        counts = Counter(self.symbols)
        order = sorted(counts, key=lambda s: ("C" in counts and {"C": 0, "H": 1}.get(s, 2), s))
        return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in order)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Vocabulary:
    """The elements a model can place, in the order of its type channels; `numbers` are atomic numbers."""

    numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.numbers or len(set(self.numbers)) != len(self.numbers):
            raise ValueError(f"A vocabulary needs distinct atomic numbers, at least one; got {self.numbers}.")
        if min(self.numbers) < 1 or max(self.numbers) > 118:
            raise ValueError(f"Atomic numbers lie between 1 and 118, got {self.numbers}.")

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(element_symbol(number) for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def index(self, numbers: ArrayLike) -> NDArray[np.int64]:
        """Classes of atomic numbers, any shape. A ValueError names elements outside the vocabulary."""
        numbers = np.asarray(numbers)
        table = np.full(119, -1, dtype=np.int64)
        table[list(self.numbers)] = np.arange(len(self))
        known = (numbers >= 1) & (numbers <= 118)
        classes = np.where(known, table[np.where(known, numbers, 0)], -1)
        if (classes < 0).any():
            unknown = sorted({int(number) for number in np.unique(numbers[classes < 0])})
            names = ", ".join(element_symbol(z) if 1 <= z <= 118 else f"atomic number {z}" for z in unknown)
            raise ValueError(f"Elements outside the vocabulary {'/'.join(self.symbols)}: {names}.")
        return classes

    def cloud(
        self,
        numbers: Int[NDArray, "b n"],
        positions: Float[NDArray, "b n 3"],
        charge: bool = True,
    ) -> Cloud:
        """A float32 batch on the CPU from arrays padded with zeros (see `pad`).

        x: positions in Angstrom, centred on the mean of each molecule. h: one-hot types, followed by the
        nuclear charge Z as one more channel where `charge` (width len(vocabulary) + 1, else len(vocabulary)).
        Unknown elements and rows without an atom raise ValueError.
        """
        numbers = np.asarray(numbers)
        real = numbers != 0
        if not real.any(1).all():
            raise ValueError(f"Row {int(np.argmin(real.any(1)))} of the batch holds no atom.")
        types = np.zeros((*numbers.shape, len(self)))
        types[real, self.index(numbers[real])] = 1.0
        features = np.concatenate([types, numbers[..., None]], -1) if charge else types
        mask = torch.as_tensor(real[..., None], dtype=torch.float64)
        x = center(torch.as_tensor(np.asarray(positions), dtype=torch.float64), mask)
        return Cloud(x.float(), torch.as_tensor(features, dtype=torch.float32), mask.float())

    def molecules(self, cloud: Cloud, properties: Sequence[Mapping[str, Property]] | None = None) -> list[Molecule]:
        """The molecules of a batch: types by argmax over the one-hot channels, padding dropped.

        cloud: x in Angstrom, h with or without the charge channel of `cloud()`. properties: one mapping each.
        Raises ValueError for another feature width and for positions that are not finite.
        """
        if cloud.h.shape[-1] not in (len(self), len(self) + 1):
            raise ValueError(
                f"A cloud of the vocabulary {'/'.join(self.symbols)} has {len(self)} or {len(self) + 1} "
                f"feature channels, got {cloud.h.shape[-1]}."
            )
        if properties is not None and len(properties) != len(cloud):
            raise ValueError(f"Expected one mapping of properties a molecule ({len(cloud)}), got {len(properties)}.")
        types = cloud.h[..., : len(self)].argmax(-1).cpu().numpy()
        numbers = np.asarray(self.numbers)[types]
        positions = cloud.x.detach().double().cpu().numpy()
        real = cloud.mask[..., 0].cpu().numpy() > 0.5
        return [
            Molecule(numbers[i, real[i]], positions[i, real[i]], properties[i] if properties is not None else {})
            for i in range(len(cloud))
        ]


QM9 = Vocabulary((1, 6, 7, 8, 9))
DRUGS = Vocabulary((1, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 33, 35, 53, 80, 83))  # GEOM-Drugs'


def pad(
    molecules: Sequence[Molecule], width: int | None = None
) -> tuple[Int[NDArray[np.int64], "b n"], Float[NDArray[np.float64], "b n 3"]]:
    """Atomic numbers and positions, padded with zeros to the largest molecule (or to `width` atoms)."""
    largest = max((len(molecule) for molecule in molecules), default=0)
    if width is not None and width < largest:
        raise ValueError(f"Cannot pad to {width} atoms: the largest molecule has {largest}.")
    width = largest if width is None else width
    numbers = np.zeros((len(molecules), width), dtype=np.int64)
    positions = np.zeros((len(molecules), width, 3))
    for i, molecule in enumerate(molecules):
        numbers[i, : len(molecule)] = molecule.numbers
        positions[i, : len(molecule)] = molecule.positions
    return numbers, positions


@cache
def element_symbol(number: int) -> str:
    """Element symbol of an atomic number between 1 and 118."""
    return Chem.GetPeriodicTable().GetElementSymbol(number)
