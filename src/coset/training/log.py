"""The log of a run: one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Listener = Callable[[dict[str, Any]], None]


class Log:
    """Appends records to a file, one JSON object a line, and hands them on. `last` keeps the last of each kind."""

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self.path, self.listener = path, listener
        self.last: dict[str, dict[str, Any]] = {}

    def __call__(self, record: dict[str, Any]) -> None:
        record = {"time": round(time.time(), 1), **record}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.last[record["kind"]] = record
        if self.listener:
            self.listener(record)
