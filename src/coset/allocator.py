"""The C library's allocator: keeping freed memory for the next tensor in the place of giving it back each time."""

from __future__ import annotations

import ctypes
import os

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")
MOST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Memory of freed tensors stays with the process, where glibc is its allocator; tells whether it does.

    A tensor beyond 32 MB is otherwise fetched from the system each time it is made, which then clears it page by page:
    more than half of a training step of large pair tensors on a CPU (`benchmarks/allocator.py`). In return the process
    keeps its largest size until it ends, which may be a third larger for free memory in pieces. Every command does this
    at its start; programs of one's own may. Settings of the allocator in the environment are left as they are.
    """
    if any(name in os.environ for name in CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MOST)) and bool(mallopt(M_TRIM_THRESHOLD, MOST))
