"""Jobs: items in parts, a file each, whole or not there, so that any worker may make any of them at any time."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coset.files import atomic_write

JOB = "job.json"
MISTAKES = (ValueError, FloatingPointError, OSError)  # of a maker, told in a sentence
Items = Sequence[Any]
Make = Callable[[Items, Path], Mapping[str, Any]]
"""Writes a file of the items, whole or not at all, and gives what is to be told of it, as JSON has it."""


def in_words(error: BaseException) -> str:
    """On one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Maker(ABC):
    """What makes files: a value that is sent to every worker, and opened there once.

    suffix: of the files. A file must depend on the items and on this value alone.
    """

    suffix: str

    @abstractmethod
    def opened(self, device: str) -> Make:
        """Loads what all parts need."""


@dataclass(frozen=True)
class Shards:
    """The files of a job: number 0 to count - 1 in a folder, each with a record beside it once it is done."""

    folder: Path
    count: int
    suffix: str

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}-of-{self.count:05d}{self.suffix}"

    def record(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}-of-{self.count:05d}.json"

    def done(self, number: int) -> bool:
        return self.record(number).is_file() and self.path(number).is_file()

    def write(self, number: int, items: Items, make: Make) -> None:
        """Makes one file, unless it is there; two workers that make it at once write the same."""
        if self.done(number):
            return
        started = time.monotonic()
        told = make(items, self.path(number))
        with atomic_write(self.record(number)) as file:
            file.write(json.dumps({**told, "seconds": round(time.monotonic() - started, 3)}) + "\n")


@dataclass(frozen=True)
class Job:
    """Items to be made into so many files of a folder. about: what the files depend on, as JSON has it.

    Raises ValueError for more files than items.
    """

    maker: Maker
    items: Items
    shards: Shards
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not 1 <= self.shards.count <= len(self.items):
            raise ValueError(
                f"{len(self.items):,} molecules make at least 1 and at most as many files; got --shards "
                f"{self.shards.count}"
            )

    def part(self, number: int) -> Items:
        """The items of one file: equal numbers, or one more."""
        count, total = self.shards.count, len(self.items)
        return self.items[number * total // count : (number + 1) * total // count]

    def begin(self) -> list[int]:
        """Numbers of the files that are not done. Raises ValueError for a folder that holds another job."""
        self.shards.folder.mkdir(parents=True, exist_ok=True)
        path = self.shards.folder / JOB
        now = json.loads(json.dumps({**self.about, "molecules": len(self.items), "shards": self.shards.count}))
        if path.is_file():
            before = json.loads(path.read_text())
            if other := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
                told = ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in other)
                raise ValueError(f"{self.shards.folder} holds another job: {told}; give another folder with -o")
        else:
            with atomic_write(path) as file:
                file.write(json.dumps(now, indent=1) + "\n")
        return [number for number in range(self.shards.count) if not self.shards.done(number)]

    def records(self) -> list[dict[str, Any]]:
        """What was told of each file that is done, in their order."""
        numbers = range(self.shards.count)
        return [json.loads(self.shards.record(n).read_text()) for n in numbers if self.shards.done(n)]

    def tidy(self) -> None:
        """Removes what workers that were killed left half-written; for jobs that are done."""
        last = max(self.shards.record(number).stat().st_mtime for number in range(self.shards.count))
        for path in self.shards.folder.glob(".part-*"):
            if path.stat().st_mtime < last:  # else a second worker may still be at it
                path.unlink(missing_ok=True)
