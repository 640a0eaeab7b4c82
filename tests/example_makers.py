"""A maker of files of numbers, whose workers can be made to die; for processes that import it by its name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from coset.files import atomic_write
from coset.scale.job import Maker


@dataclass(frozen=True)
class Numbers(Maker):
    """marks: a folder, with a file for every file made. deadly: a number at which a worker dies, so many times. wrong:
    a number that cannot be written. seconds: for each number."""

    marks: Path
    deadly: int = -1
    deaths: int = 1
    wrong: int = -1
    seconds: float = 0.0
    suffix = ".txt"

    def opened(self, device):
        return self.make

    def make(self, items, path):
        with atomic_write(path) as file:
            for item in items:
                file.write(f"{item}\n")
                time.sleep(self.seconds)
                if item == self.wrong:
                    raise ValueError(f"{item} cannot be\nwritten")
                if item == self.deadly and len(list(self.marks.glob("dead*"))) < self.deaths:
                    file.flush()
                    (self.marks / f"dead-{os.getpid()}").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        (self.marks / f"{path.name}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return {"molecules": len(items)}

    def made(self):
        """Names of the files that were made, as often as they were."""
        return sorted(path.name.partition("-of-")[0] for path in self.marks.glob("part-*"))
