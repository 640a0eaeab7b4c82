"""GEOM-Drugs as generators of molecules are trained on it: its elements, its size, and the published split.

The public code (EDM, Hoogeboom et al. 2022, and those after it) keeps of each molecule the 30 conformers of lowest
energy, with hydrogens: 6,922,516 conformers of 3 to 181 atoms. It shuffles *conformers* by a stored permutation, so
that conformers of one molecule fall into several parts and what a model is tested on leaks into what it learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from numpy.lib import format as npy
from numpy.typing import NDArray

NAME = "geom-drugs"
ELEMENTS = (1, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 33, 35, 53, 80, 83)  # as `molecule.DRUGS`, which brings torch along
MOST = 30  # conformers of a molecule
SOURCE = "GEOM-Drugs (Axelrod and Gomez-Bombarelli 2022, doi:10.7910/DVN/JNGTDF), CREST conformers by GFN2-xTB"
LICENCE = "CC0-1.0"
# What the public code's tables of these conformers count, to check an import against.
CONFORMERS = 6_922_516
ATOMS = dict(
    zip(
        ELEMENTS,
        (143_905_848, 290, 129_988_623, 20_266_722, 21_669_359, 1_481_844, 1, 250, 36_290, 3_999_872, 1_224_394, 4,
         298_702, 5_377, 13, 34),
        strict=True,
    )
)  # fmt: skip
SIZES = "157 sizes from 3 to 181 atoms, 46.64 on average"


@dataclass(frozen=True)
class ConformerSplit:
    """The published split. part: of each conformer (c,) in the order of the public code's table; name: of its file."""

    part: UInt8[NDArray[np.uint8], "c"]
    name: str

    @classmethod
    def read(cls, path: Path) -> ConformerSplit:
        """From a permutation of all conformers, a .npy (`geom_permutation.npy`): a tenth valid, a tenth test, the rest.

        Nothing in it is unpickled. Raises FileNotFoundError, and ValueError for what is no permutation.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path} of a permutation; give geom_permutation.npy.")
        try:
            with path.open("rb") as file:
                order = npy.read_array(file, allow_pickle=False)
        except Exception as error:  # damaged headers raise several kinds of errors
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
            raise ValueError(f"{path} is no whole .npy file of plain numbers ({reason}); copy it again.") from None
        if order.ndim != 1 or order.dtype.kind not in "iu" or not _is_permutation(order):
            raise ValueError(
                f"{path} holds {order.dtype} {order.shape}, and no permutation of 0, 1, ... over conformers; give "
                "geom_permutation.npy of the public code."
            )
        tenth = int(len(order) * 0.1)
        part = np.zeros(len(order), dtype=np.uint8)
        part[order[:tenth]], part[order[tenth : 2 * tenth]] = 1, 2
        return cls(part, path.name)

    def check(self, conformers: int, whole: bool) -> None:
        """Raises ValueError unless it is of so many conformers; while some are still to come, of at least as many."""
        if conformers > len(self.part) or (whole and conformers < len(self.part)):
            raise ValueError(
                f"{self.name} is a permutation of {len(self.part):,} conformers, and there are "
                f"{'' if whole else 'at least '}{conformers:,}; it belongs to other data or to another --most."
            )


def _is_permutation(order: Int[NDArray, "c"]) -> bool:
    if not len(order) or order.min() < 0 or order.max() >= len(order):
        return False
    return bool((np.bincount(order.astype(np.int64), minlength=len(order)) == 1).all())
