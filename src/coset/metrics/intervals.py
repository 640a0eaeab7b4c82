"""Intervals: how far may a measured share lie from the true one?"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

_Z = 1.959963984540054  # two-sided 95 %


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share; (0, 1) without trials (Wilson 1927)."""
    if trials <= 0:
        return 0.0, 1.0
    share, scale = successes / trials, 1 + _Z**2 / trials
    middle = (share + _Z**2 / (2 * trials)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / trials + (_Z / (2 * trials)) ** 2)
    # exact at shares of 0 and 1, whatever the rounding
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def wilson_of_clusters(successes: Int[NDArray, "m"], trials: Int[NDArray, "m"]) -> tuple[float, float]:
    """Wilson's interval where trials come in clusters, such as the atoms of molecules.

    Atoms of one molecule fail together, so fewer independent trials stand behind the share than there are
    atoms: their number is divided by the design effect, the variance of the ratio estimate (Cochran 1977,
    eq. 2.39) over the binomial one, where that exceeds 1.
    """
    total, clusters = float(trials.sum()), len(trials)
    if total == 0:
        return 0.0, 1.0
    share = float(successes.sum()) / total
    binomial = share * (1 - share) / total
    if clusters < 2 or binomial == 0:
        return wilson(share * total, total)
    residuals = successes - share * trials
    variance = clusters / (clusters - 1) * float(np.square(residuals).sum()) / total**2
    effective = total / max(1.0, variance / binomial)
    return wilson(share * effective, effective)
