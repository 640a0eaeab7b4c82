"""Atoms: what a calculation needs of a molecule, and the error that names why there can be none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem

from coset.bonds import Located

CLOSEST = 0.1  # Angstrom; no two nuclei of a molecule come nearer


class Unsuited(ValueError):
    """A molecule that a method cannot treat. reason: a few words to count by; the text is a sentence."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Atoms:
    """numbers: atomic numbers (n,). positions: (n, 3) in Angstrom. charge: total charge.

    A `Molecule` without what needs torch, so that worker processes start quickly.
    """

    numbers: Int[NDArray[np.int64], "n"]
    positions: Float[NDArray[np.float64], "n 3"]
    charge: int = 0

    @classmethod
    def of(cls, molecule: Located, charge: int | None = None) -> Atoms:
        """From a molecule, neutral unless told otherwise."""
        own = getattr(molecule, "charge", 0) if charge is None else charge
        return cls(np.asarray(molecule.numbers, np.int64), np.asarray(molecule.positions, np.float64), own)

    def __len__(self) -> int:
        return len(self.numbers)

    def check(self) -> None:
        """Raises `Unsuited` for positions that are not finite and for atoms on top of each other."""
        if not np.isfinite(self.positions).all():
            raise Unsuited("not finite", "a coordinate is not finite")
        difference = self.positions[:, None] - self.positions[None]
        distance = np.sqrt(np.square(difference).sum(-1))
        distance[np.diag_indices(len(self))] = np.inf
        nearest = distance.min(initial=np.inf)
        if nearest < CLOSEST:
            first, second = (int(i) + 1 for i in np.unravel_index(distance.argmin(), distance.shape))
            raise Unsuited("too close", f"atoms {first} and {second} are {nearest:.3f} Å apart")


def element_names(numbers: Int[NDArray[np.int64], "n"]) -> str:
    """Symbols of the elements that occur, in the order of the table."""
    return ", ".join(Chem.GetPeriodicTable().GetElementSymbol(int(z)) for z in np.unique(numbers))
