"""Ensembles of one's own: ETKDGv3, MMFF94, GFN2-xTB, duplicates out, many molecules on all cores, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from coset.data.ensemble_file import Ensemble, parts
from coset.data.ensemble_writer import EnsembleWriter, failures_file, write_failures
from coset.energies import batch, check_method
from coset.ensembles.requests import Request
from coset.ensembles.search import Search, searched
from coset.files import check_writable

HEADINGS = ("line", "name", "smiles", "reason")


@dataclass(frozen=True)
class Built:
    """What became of a file of molecules. left_out: conformers that were relaxed in vain, by reason."""

    molecules: int
    conformers: int
    failures: Sequence[tuple[str, ...]]
    left_out: Counter[str]

    def lines(self) -> list[str]:
        """In words."""
        told = [f"{self.molecules:,} molecules, {self.conformers:,} conformers"]
        told += [f"conformers left out: {count:,} ({reason})" for reason, count in self.left_out.most_common()]
        return told + ([f"{len(self.failures):,} molecules failed"] if self.failures else [])


def journal_file(out: Path) -> Path:
    """Where results wait until the output is written."""
    return out.with_name(f"{out.name}.jsonl")


def build(
    requests: Sequence[Request],
    out: Path,
    search: Search | None = None,
    workers: int = 1,
    progress: Callable[[int, str], object] | None = None,
) -> Built:
    """Writes the ensembles of molecules, in their order, and a table of those that failed beside (`failures_file`).

    Every result is kept as it comes in `journal_file`; the same call goes on from there, and with other settings starts
    anew. Split by `parts`. workers: processes, started afresh (a script needs `if __name__ == "__main__"`). progress:
    told the molecules done and a note. Raises ValueError where tblite is missing or no molecule succeeds.
    """
    check_method("xtb")
    check_writable(out)
    search = search or Search()
    journal = _Journal(journal_file(out), search)
    keys = [journal.key(request.text) for request in requests]
    failures = _refused(requests, keys)
    jobs = [(keys[number], request.text) for number, request in enumerate(requests) if number not in failures]
    told = _Told(progress, len(failures))
    for key, found in _results(told.kept(jobs, journal), search, workers):
        journal.add(key, found)
        told.molecule()
    built = _written(requests, keys, failures, journal, out)
    journal.discard()
    return built


def _refused(requests: Sequence[Request], keys: Sequence[str]) -> dict[int, str]:
    """Why a molecule is not looked at, by its place in the list."""
    failures: dict[int, str] = {}
    lines: dict[str, int] = {}
    for number, (request, key) in enumerate(zip(requests, keys, strict=True)):
        if request.fault or request.block or request.given is not None:
            failures[number] = request.fault or "it is no SMILES"
        elif key in lines:
            failures[number] = f"the same SMILES as line {lines[key]}"
        lines.setdefault(key, request.line)
    return failures


def _results(jobs: Sequence[tuple[str, str]], search: Search, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """As they come. A molecule that ends its process fails alone."""
    for key, found in batch.run_each(partial(searched, search=search), jobs, workers):  # type: ignore[arg-type]
        yield key, {"reason": "the calculation ended its process"} if found.get("crashed") else found


def _written(
    requests: Sequence[Request], keys: Sequence[str], failures: dict[int, str], journal: _Journal, out: Path
) -> Built:
    """The file of ensembles and the table of failures, from what is kept."""
    left_out: Counter[str] = Counter()
    conformers = 0
    with EnsembleWriter(out) as writer:
        for number, (request, key) in enumerate(zip(requests, keys, strict=True)):
            if number in failures:
                continue
            found = journal.read(key)
            left_out.update(found.get("left_out", {}))
            if "reason" in found:
                failures[number] = found["reason"]
                continue
            positions, energies = np.array(found["positions"]), np.array(found["energies"])
            name = request.name or f"line{request.line}"
            writer.append(
                Ensemble(found["smiles"], name, np.array(found["numbers"]), positions, energies),
                int(parts([found["smiles"]])[0]),
            )
            conformers += len(positions)
        rows = [
            (str(requests[number].line), requests[number].name, requests[number].text, failures[number])
            for number in sorted(failures)
        ]
        write_failures(failures_file(out), rows, HEADINGS)  # first, for a file without a molecule is an error
        molecules = len(writer)
    return Built(molecules, conformers, rows, left_out)


class _Journal:
    """Results kept as lines of JSON, found by key; memory holds where each begins."""

    def __init__(self, path: Path, search: Search) -> None:
        self._path = path
        versions = {name: version(name) for name in ("rdkit", "tblite")}
        self._label = json.dumps([1, asdict(search), versions])
        self._starts: dict[str, int] = {}
        if path.is_file():
            self._look()

    def _look(self) -> None:
        """Finds what is there. A line that is not whole, as a power cut leaves it, counts for nothing."""
        place, line = 0, b"\n"
        with self._path.open("r+b") as file:
            for line in file:
                with suppress(ValueError, KeyError, TypeError):
                    self._starts[str(json.loads(line)["key"])] = place
                place += len(line)
            if not line.endswith(b"\n"):
                file.seek(0, os.SEEK_END)
                file.write(b"\n")

    def key(self, smiles: str) -> str:
        """Of a molecule with these settings and versions."""
        return hashlib.sha256(f"{self._label} {smiles}".encode()).hexdigest()[:32]

    def __contains__(self, key: str) -> bool:
        return key in self._starts

    def add(self, key: str, found: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            start = file.seek(0, os.SEEK_END)
            file.write(json.dumps({"key": key, "found": found}).encode() + b"\n")
        self._starts[key] = start

    def read(self, key: str) -> dict[str, Any]:
        with self._path.open("rb") as file:
            file.seek(self._starts[key])
            return json.loads(file.readline())["found"]

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)


class _Told:
    """Progress: molecules done of all, and how many of them a minute in this run."""

    def __init__(self, progress: Callable[[int, str], object] | None, done: int) -> None:
        self._progress, self._done, self._new = progress, done, 0
        self._start = time.monotonic()

    def kept(self, jobs: Sequence[tuple[str, str]], journal: _Journal) -> list[tuple[str, str]]:
        """The jobs that are left; the others count as done."""
        left = [job for job in jobs if job[0] not in journal]
        self._done += len(jobs) - len(left)
        return left

    def molecule(self) -> None:
        """One more."""
        self._new += 1
        if self._progress:
            rate = 60 * self._new / max(time.monotonic() - self._start, 1e-9)
            self._progress(self._done + self._new, f"{rate:.1f} molecules/min")
