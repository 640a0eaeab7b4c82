"""Batches: one calculation for many molecules, over processes, with results kept so that work can be resumed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from coset.energies.atoms import Atoms

Task = Callable[[Atoms], dict[str, Any]]
Job = tuple[str, Atoms]
Progress = Callable[[int, int], object]
CRASHED: dict[str, Any] = {"crashed": True}


def enough(jobs: int, each: int = 50) -> int:
    """Workers: the processors at hand, if each gets so many jobs, for a process takes a second to start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 1 + jobs // each)


def run(
    task: Task,
    label: str,
    molecules: Sequence[Atoms],
    workers: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The task's results, of plain JSON values, in the order of the molecules; equal molecules are computed once.

    label: what the task does, with its settings and versions: a kept result counts for the same label and the same
    atoms only. workers: processes, started afresh (a script needs `if __name__ == "__main__"`); 1 for none. kept: a
    file that every result is added to as it comes, and that is read at the start. progress: told molecules done and all
    of them. A molecule that kills its process gives `CRASHED`. Raises ValueError for fewer workers than one.
    """
    if workers < 1:
        raise ValueError(f"A batch needs at least one worker, got {workers}.")
    keys = [content_key(label, atoms) for atoms in molecules]
    found = _read(Path(kept), set(keys)) if kept else {}
    jobs = {key: atoms for key, atoms in zip(keys, molecules, strict=True) if key not in found}
    tell = progress or (lambda done, total: None)
    tell(len(keys) - len(jobs), len(keys))
    for key, result in _kept(run_each(task, list(jobs.items()), workers), kept):
        found[key] = result
        jobs.pop(key)
        tell(len(keys) - len(jobs), len(keys))
    return [found[key] for key in keys]


def content_key(label: str, atoms: Atoms) -> str:
    """A hash of what is computed and of the atoms, in hexadecimal."""
    content = label.encode() + b"\0" + str(atoms.charge).encode() + b"\0"
    return hashlib.sha256(content + atoms.numbers.tobytes() + atoms.positions.tobytes()).hexdigest()[:32]


def run_each(task: Task, jobs: Sequence[Job], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, result) of every job as it comes, over so many processes; a job that kills its process gives `CRASHED`."""
    if workers == 1 or len(jobs) < 2:
        yield from ((key, task(atoms)) for key, atoms in jobs)
        return
    rest = iter(jobs)
    while True:
        suspects: list[Job] = []
        yield from _pool(task, rest, min(workers, len(jobs)), suspects)
        if not suspects:
            return
        again, guilty = iter(suspects), suspects  # one of them broke the pool: one at a time they tell which
        while guilty:
            guilty = []
            yield from _pool(task, again, 1, guilty, flight=1)
            yield from ((key, CRASHED) for key, _ in guilty)


def _pool(
    task: Task, jobs: Iterator[Job], workers: int, lost: list[Job], flight: int | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Results as they come. A process that dies takes the pool along: what was in it then is added to `lost`.

    flight: jobs handed to the pool at a time, more than its workers so that none waits.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    flying: dict[Future, Job] = {}
    try:
        _check_start(pool)
        while not lost:
            for job in islice(jobs, (flight or 2 * workers) - len(flying)):
                try:
                    with undisturbed():
                        flying[pool.submit(task, job[1])] = job
                except BrokenProcessPool:
                    lost.append(job)
                    break
            if not flying:
                break
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                job = flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(job)
                else:
                    yield job[0], future.result()
        lost += flying.values()
        pool.shutdown()
    finally:  # after an error or Ctrl-C nobody waits for what is still being computed
        pool.shutdown(wait=False, cancel_futures=True)


def _check_start(pool: ProcessPoolExecutor) -> None:
    """Raises ValueError where processes end before they are given anything: no molecule is to blame for that."""
    try:
        with undisturbed():
            first = pool.submit(int)
        first.result()
    except BrokenProcessPool:
        raise ValueError(
            'Worker processes do not start: put the call under `if __name__ == "__main__":`, or use 1 worker.'
        ) from None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Processes that start here inherit a deaf ear to Ctrl-C, which would meet them amid their imports; their parent
    answers for them."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what signals do
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    """In a worker: Ctrl-C ends it without a word, since the process that waits for it will speak."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read(path: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Results kept earlier, by key. A line that is not whole, as a power cut leaves it, counts for nothing."""
    found = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                if record["key"] in wanted:
                    found[record["key"]] = dict(record["result"])
            except (ValueError, KeyError, TypeError):
                continue
    return found


def _kept(
    results: Iterable[tuple[str, dict[str, Any]]], path: str | os.PathLike[str] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Hands on results, each written first as a line of JSON."""
    if path is None:
        yield from results
        return
    with Path(path).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the line that a power cut left; appending always goes to the end
                file.write(b"\n")
        for key, result in results:
            file.write(json.dumps({"key": key, "result": result}).encode() + b"\n")
            file.flush()
            yield key, result
