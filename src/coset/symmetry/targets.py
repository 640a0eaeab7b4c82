"""Training targets: what the denoiser's estimate is compared with."""

from __future__ import annotations

from coset.cloud import Cloud
from coset.interfaces import Draw, Process


def plain(process: Process, draw: Draw) -> Cloud:
    """The clean cloud itself."""
    return draw.x0
