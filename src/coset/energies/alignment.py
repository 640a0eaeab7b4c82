"""How far atoms moved, apart from turning and shifting as a whole."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


def superimposed(moving: Float[NDArray, "n 3"], onto: Float[NDArray, "n 3"]) -> Float[NDArray, "n 3"]:
    """Positions turned and shifted, never mirrored, as near to others as they come (Kabsch 1976)."""
    center = onto.mean(0)
    first, second = moving - moving.mean(0), onto - center
    u, _, vt = np.linalg.svd(first.T @ second)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return first @ (u @ vt) + center


def rmsd(first: Float[NDArray, "n 3"], second: Float[NDArray, "n 3"]) -> float:
    """Root mean square distance of atoms in Angstrom once superimposed; NaN without an atom."""
    if not len(first):
        return math.nan
    return float(np.sqrt(np.square(superimposed(first, second) - second).sum(-1).mean()))
