"""Workers on one machine: processes that each open the maker once; the part of one that is lost goes to another."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from coset.energies.batch import undisturbed
from coset.scale.job import MISTAKES, Job, Maker, Shards, in_words

MOST_LOST = 3  # workers for one part
UNBORN = 'worker processes do not start; in a script put the call under `if __name__ == "__main__":`'
# Forks of a server that has imported what workers need and has no threads, as this process may; else begun anew.
_METHODS = multiprocessing.get_all_start_methods()
_CONTEXT: Any = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")


def run_processes(job: Job, numbers: Sequence[int], devices: Sequence[str]) -> Iterator[int]:
    """Makes these files by one process a device; yields their numbers as they are done.

    A process that ends amid a file, killed for want of memory or by hand, is replaced and the file made again. Raises
    ValueError for a file that ended three of them, and for what a maker raises, naming the file.
    """
    _CONTEXT.set_forkserver_preload([__name__, type(job.maker).__module__])
    todo, lost = deque(numbers), Counter[int]()
    workers = [_Worker(job.maker, job.shards, device) for device in devices[: len(todo)]]
    try:
        while True:
            for worker in workers:
                if worker.number is None and todo:
                    worker.give(todo[0], job)
                    todo.popleft()
            busy = {worker.pipe: worker for worker in workers if worker.number is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                number, answer = worker.number, worker.answer()
                assert number is not None
                if answer is None:
                    lost[number] += 1
                    if worker.unborn or lost[number] == MOST_LOST:
                        raise ValueError(UNBORN if worker.unborn else _told(job, number))
                    todo.appendleft(number)
                    workers[workers.index(worker)] = _Worker(job.maker, job.shards, worker.device)
                elif answer:
                    raise ValueError(f"{job.shards.path(number).name}: {answer}")
                else:
                    yield number
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """A process and the way to it. number: of the file that it makes, None where it waits."""

    def __init__(self, maker: Maker, shards: Shards, device: str) -> None:
        self.device, self.number = device, None
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, maker, shards, device), daemon=True)
        with undisturbed():
            self._process.start()
        theirs.close()

    def give(self, number: int, job: Job) -> None:
        self.number = number
        with suppress(OSError):  # where it is gone the answer will tell
            self.pipe.send((number, job.part(number)))

    def answer(self) -> str | None:
        """Empty for a file that is done, an error in words, or None from a process that is gone."""
        self.number = None
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.close()
            return None

    @property
    def unborn(self) -> bool:
        """Whether it ended by an error of Python's own, which `_serve` leaves to what comes before it."""
        return (self._process.exitcode or 0) > 0

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self.pipe.close()


def _serve(pipe: Connection, maker: Maker, shards: Shards, device: str) -> None:
    """In a worker: makes files as long as it is given some. When it is ended, no half-written file is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    make = None
    while True:
        try:
            number, items = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        try:
            make = make or maker.opened(device)
            shards.write(number, items, make)
            answer = ""
        except MISTAKES as error:
            answer = in_words(error)
        except Exception:
            answer = traceback.format_exc()
        try:
            pipe.send(answer)
        except OSError:
            return


def _told(job: Job, number: int) -> str:
    name = job.shards.path(number).name
    return f"{MOST_LOST} processes ended while they made {name}; take fewer workers or more shards, for want of memory"
