"""The log of a run: one flat JSON object a line, which pandas reads as a table."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coset.files import atomic_write
from coset.training.checkpoint import sync

Record = dict[str, Any]
Listener = Callable[[Record], None]


class Log:
    """Appends records to a file and hands them on; `pandas.read_json(path, lines=True)` reads it.

    A record's kind is "train" or "valid"; each kind comes at most once a step. Keys are flat, numbers that are not
    finite become null. records: all of them, from the start of the run. last: the last of each kind.
    """

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self.path = path
        self.listeners = [listener] if listener else []
        self.records: list[Record] = []

    @property
    def last(self) -> dict[str, Record]:
        return {record["kind"]: record for record in self.records}

    def rewind(self, step: int) -> None:
        """Goes back to what was known after that step: a killed run logged steps that its checkpoint lacks."""
        self.records = [record for record in read_log(self.path) if record["step"] <= step]
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(record) + "\n" for record in self.records)

    def __call__(self, record: Record) -> None:
        record = {"time": round(time.time(), 1), **record}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({key: _finite(value) for key, value in record.items()}) + "\n")
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error}; make room and resume from the last checkpoint") from None
        self.records.append(record)
        for listener in self.listeners:
            listener(record)

    def logged(self, kind: str, step: int) -> bool:
        """Whether there is a record of this kind at this step."""
        return self.last.get(kind, {}).get("step") == step

    def sync(self) -> None:
        """Waits until the log is on the disk, so that no checkpoint there is ahead of it."""
        if self.path.exists():
            sync(self.path)


def read_log(path: Path) -> list[Record]:
    """The whole records of a log, each kind and step once; what a kill cut off in the middle is left out."""
    found: dict[tuple[str, int], Record] = {}
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
            found.setdefault((record["kind"], int(record["step"])), record)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
    return list(found.values())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
