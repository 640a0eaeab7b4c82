"""Record: the rows of an experiment on disk, with what a reader must know to trust them."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import coset
from coset.files import atomic_write


@dataclass(frozen=True)
class Record:
    """One experiment's folder: rows.json, written anew with every row, and a report made from it.

    name: of the command. budget: what was spent, in words; it says "budget x of the paper's" where less. rows already
    there are kept, so that an experiment which was broken off goes on; rows of other settings are not taken for these.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, name: str, folder: Path, settings: Mapping[str, Any]) -> Record:
        """Raises ValueError where the folder holds the rows of other settings."""
        record = cls(name, folder, json.loads(json.dumps(settings)))
        record.read()
        return record

    def read(self) -> None:
        """Takes up the rows that are on disk, other processes' among them."""
        path = self.folder / "rows.json"
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text())
            same, rows = found["settings"] == self.settings and found["name"] == self.name, found["rows"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is not a record of rows; remove it or choose another --out") from None
        if not same:
            raise ValueError(f"{path} holds rows of other settings; remove it or choose another --out")
        self.rows.update(rows)

    def add(self, row: str, values: Mapping[str, Any]) -> None:
        """Keeps a row (JSON values) and writes the record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.read()
        self.rows[row] = {**values, "made_by": provenance()}
        about = {"name": self.name, "settings": self.settings, "rows": self.rows}
        with atomic_write(self.folder / "rows.json") as file:
            file.write(json.dumps(about, indent=1) + "\n")


def provenance() -> dict[str, str]:
    """Version and commit of the code, versions and machine it ran on."""
    return {
        "coset": coset.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
    }


def commit() -> str:
    """The commit of the source tree, with a + where it has changes; "release" outside of a repository."""
    here = Path(coset.__file__).parent
    try:
        run = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
        found = subprocess.run(run, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "release"
    return found or "release"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def heading(record: Record, budget: str, seeds: str, data: str, options: str = "") -> str:
    """What every report begins with. options: of the command, each after a blank."""
    about = provenance()
    return (
        f"# {record.name}\n\n"
        f"- command: `coset reproduce {record.name}{options}`\n- budget: {budget}\n- seeds: {seeds}\n- data: {data}\n"
        f"- this report: coset {about['coset']}, commit {about['commit']}, torch {about['torch']}, "
        f"{about['machine']}\n\n"
    )
