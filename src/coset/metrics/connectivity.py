"""Connectivity: is a sample one molecule, or several fragments?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray


def connected(numbers: Int[NDArray, "b n"], orders: Int[NDArray, "b n n"]) -> Bool[NDArray[np.bool_], "b"]:
    """Samples whose bonds join all atoms into a single fragment. numbers: zero where padded."""
    real = numbers != 0
    bonded = orders > 0
    reached = real & (np.cumsum(real, -1) == 1)  # the first atom of each
    while True:
        grown = reached | (bonded & reached[:, None]).any(-1)
        if (grown == reached).all():
            return (reached == real).all(-1)
        reached = grown
