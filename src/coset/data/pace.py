"""Pace: how many molecules were read, how fast, and what share of all."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Tells a progress bar of every molecule. progress: None for silence."""

    def __init__(self, progress: Callable[[float, str], object] | None) -> None:
        self._progress, self._count, self._share, self._start = progress, 0, 0.0, time.monotonic()

    def read(self, share: float) -> None:
        """The share of a file whose number of molecules is not known."""
        self._share = share

    def molecule(self, total: int | None) -> None:
        """One more, of `total` where that is known."""
        self._count += 1
        if self._progress:
            rate = self._count / max(time.monotonic() - self._start, 1e-9)
            share = self._count / total if total else self._share
            self._progress(share, f"{self._count:,} molecules, {rate:,.1f}/s")
