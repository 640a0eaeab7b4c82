"""TensorBoard: the records of a log as event files, for those who have the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coset.training.distributed import ranks
from coset.training.log import Log, Record

X_AXES = ("molecules", "step", "time", "epoch", "batch")


@contextmanager
def tensorboard(log: Log, folder: Path) -> Iterator[None]:
    """Inside, what the log records becomes scalars over molecules seen, `train/loss` or `valid/valid_loss`.

    `train/seconds` and `train/flops` give the other two axes. The files are written anew from the whole log, so that a
    run that was killed shows no step twice, and one that began without them shows all of its steps. Raises ValueError
    where the package is missing.
    """
    writer_class = summary_writer()
    if ranks().rank:  # the first process alone logs
        yield
        return
    if folder.is_dir():
        shutil.rmtree(folder)
    with writer_class(str(folder)) as writer:

        def write(record: Record) -> None:
            for key, value in record.items():
                if key not in X_AXES and isinstance(value, int | float):
                    writer.add_scalar(f"{record['kind']}/{key}", value, record["molecules"], walltime=record["time"])

        for record in log.records:
            write(record)
        log.listeners.append(write)
        try:
            yield
        finally:
            log.listeners.remove(write)


def summary_writer() -> Any:
    """torch's writer of event files; a ValueError says how to get the package that it needs."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard files need the package tensorboard: pip install 'coset[log]'; log.jsonl holds the same numbers"
        ) from None
    return SummaryWriter
