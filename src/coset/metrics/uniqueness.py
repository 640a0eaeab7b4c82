"""Uniqueness: how many different molecules are among the valid ones?"""

from __future__ import annotations

from collections.abc import Iterable


def unique_smiles(smiles: Iterable[str | None]) -> set[str]:
    """The distinct SMILES, invalid samples (None) aside. Uniqueness is their number over the valid ones.

    The share falls as more is sampled; compare runs of equal size only.
    """
    return {each for each in smiles if each is not None}
