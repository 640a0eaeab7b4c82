"""Novelty: which molecules were not in the training set?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt64
from numpy.typing import NDArray

_BYTES = 6  # 10,000 molecules meet a false match among 100,000 with probability 4e-6


def smiles_hashes(smiles: Iterable[str]) -> UInt64[NDArray[np.uint64], "m"]:
    """Sorted distinct 48-bit hashes (BLAKE2b) of SMILES."""
    digests = {hashlib.blake2b(each.encode(), digest_size=_BYTES).digest() for each in smiles}
    return np.sort(np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64))


def novel_count(unique: Iterable[str], known: UInt64[NDArray[np.uint64], "m"]) -> int:
    """Number of distinct SMILES whose hash is not among the known. Novelty is this over the distinct ones.

    Both sides must come from `valid_smiles`: bonds by the distance rule, every hydrogen written out.
    """
    return int((~np.isin(smiles_hashes(unique), known)).sum())
