"""Own: what the data's own held-out molecules score, so that every number stands beside one that real molecules get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np


def interpolated(own: Mapping[int, Mapping[str, float]], molecules: int) -> dict[str, float]:
    """What so many molecules would score, from scores by number of molecules: a small sample lies farther.

    Between the numbers measured, linear in the inverse root; beyond them that of the nearest. own: not empty.
    """
    numbers = sorted(own)
    at, known = -(float(molecules) ** -0.5), -(np.array(numbers, dtype=np.float64) ** -0.5)
    names = own[numbers[-1]]
    return {name: float(np.interp(at, known, [own[n][name] for n in numbers])) for name in names}


def of_data(reference: str | None, part: str) -> Mapping[str, Any] | None:
    """What the package holds of a data set for a part of `coset evaluate --level full`; None for other data.

    Written by benchmarks/chemistry.py, which says how many molecules were drawn and how.
    """
    return _packaged().get(reference or "", {}).get(part)


def own_scores(reference: str | None, part: str, molecules: int) -> dict[str, float] | None:
    """`interpolated` of the scores that the package holds under "own" of a part; None where it holds none."""
    found = of_data(reference, part)
    return interpolated({int(n): scores for n, scores in found["own"].items()}, molecules) if found else None


@cache
def _packaged() -> Mapping[str, Mapping[str, Any]]:
    source = resources.files("coset.metrics") / "chemistry_of_data.json"
    return json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
