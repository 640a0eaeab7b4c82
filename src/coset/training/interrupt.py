"""Ctrl-C between two steps, not inside one: a checkpoint must hold a whole step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from coset.training.distributed import launched


class Stop:
    """requested: whether Ctrl-C was pressed."""

    requested = False


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Inside, the first Ctrl-C (or SIGTERM) sets `requested`, the second interrupts at once.

    Not so under torchrun: it hands on signals that the processes may have got already, and ends by itself what has not
    ended 30 seconds later.
    """
    stop, signals = Stop(), (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread only
        return

    def ask(number, frame) -> None:
        if stop.requested and not launched():
            raise KeyboardInterrupt
        stop.requested = True

    earlier = [signal.signal(number, ask) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, earlier, strict=True):
            signal.signal(number, handler)
