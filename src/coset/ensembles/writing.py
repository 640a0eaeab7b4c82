"""Output that grows as molecules are made: an SD file and a table of failures, whole in the end, resumable before."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from coset.ensembles.candidate import Result
from coset.files import atomic_write, check_writable

HEADINGS = ("line", "name", "smiles", "reason")
_BREAKING = "$$$$"


def failures_path(out: Path) -> Path:
    """The table of what failed, beside the output."""
    return out.with_name(f"{out.name.removesuffix('.sdf')}.failures.csv")


def check_output(out: Path, overwrite: bool, resume: bool) -> None:
    """Raises ValueError, or what `check_writable` raises, for what must not or cannot be written."""
    if out.suffix != ".sdf":
        raise ValueError(f"Cannot write {out}: expected a name that ends in .sdf.")
    check_writable(out)
    standing = [path for path in (out, failures_path(out)) if path.exists()]
    if standing and not overwrite:
        raise ValueError(f"{standing[0]} is there already; give another name with -o, or --overwrite.")
    if Journal.path(out).exists() and not (resume or overwrite):
        raise ValueError(
            f"{Journal.path(out)} is of a run that was stopped; go on with --resume, or start anew with --overwrite."
        )


def sd_records(mol: Chem.Mol) -> str:
    """An SD record (V2000) for each conformer: bonds, every hydrogen, the molecule's properties and the conformer's."""
    shared = mol.GetPropsAsDict()
    text = io.StringIO()
    for conformer in mol.GetConformers():
        shaped = Chem.Mol(mol, confId=conformer.GetId())
        with rdBase.BlockLogs(), suppress(RuntimeError):  # atoms at one place leave a bond without direction
            # Else double bonds that were left open would be marked as unknown, though this conformer has one or other.
            Chem.AssignStereochemistryFrom3D(shaped, replaceExistingTags=True)
        text.write(Chem.MolToMolBlock(shaped))
        name = {"name": mol.GetProp("_Name")} if mol.HasProp("_Name") and mol.GetProp("_Name") else {}
        for key, value in {**name, **shared, **conformer.GetPropsAsDict()}.items():
            text.write(f">  <{key}>\n{value}\n\n")
        text.write(f"{_BREAKING}\n")
    return text.getvalue()


class Journal:
    """The part file of an output and what is known of it, so that a run that was stopped can go on.

    Beside OUT.sdf lie OUT.sdf.part, records as they come, and OUT.sdf.part.jsonl: a line that says what the run is,
    then one for each window of molecules, with the length of the part up to its end. What a stop left beyond that
    length is cut off, so that the output is the same to the byte in the end.
    """

    def __init__(self, out: Path, label: Mapping[str, Any], resume: bool = False) -> None:
        """Raises ValueError where the part is of another run than `label` says."""
        self.out, self.done, self.conformers, self.failed, self.partial = out, 0, 0, 0, 0
        self.rows: list[list[Any]] = []
        self._length = 0
        if resume and self.path(out).is_file():
            self._take_up(label)
        else:
            self._part.write_bytes(b"")
            self.path(out).write_text(json.dumps({"label": label}) + "\n", encoding="utf-8")

    @staticmethod
    def path(out: Path) -> Path:
        return out.with_name(f"{out.name}.part.jsonl")

    @property
    def _part(self) -> Path:
        return self.out.with_name(f"{self.out.name}.part")

    def _take_up(self, label: Mapping[str, Any]) -> None:
        lines = _whole_lines(self.path(self.out))
        before = lines[0].get("label", {}) if lines else {}
        # As JSON reads it back.
        now = json.loads(json.dumps(label))
        if other := [name for name in now if before.get(name) != now[name]]:
            told = ", ".join(f"{name} {before.get(name)} (now {now[name]})" for name in other)
            raise ValueError(
                f"{self._part} was made with another {told}; repeat that command with --resume, or use --overwrite."
            )
        size = self._part.stat().st_size if self._part.is_file() else 0
        for line in lines[1:]:
            if line["length"] > size:  # a power cut: the records were never written to the disk
                break
            self._length, self.done = line["length"], line["done"]
            self._count(line)
        with self._part.open("ab") as file:
            file.truncate(self._length)
        kept = [{"label": before}, *(line for line in lines[1:] if line["done"] <= self.done)]
        self.path(self.out).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def _count(self, line: Mapping[str, Any]) -> None:
        self.conformers += line["conformers"]
        self.failed += line["failed"]
        self.partial += line["partial"]
        self.rows += line["rows"]

    def add(self, results: Sequence[Result]) -> None:
        """Writes a window of results."""
        data = "".join(sd_records(result.mol) for result in results if result.mol is not None).encode()
        rows = [row for result in results for row in failure_rows(result)]
        with self._part.open("r+b") as file:
            file.seek(self._length)
            file.write(data)
            file.flush()
        failed = sum(result.mol is None for result in results)
        line = {
            "done": self.done + len(results),
            "length": self._length + len(data),
            "conformers": sum(result.conformers for result in results),
            "failed": failed,
            "partial": sum(bool(result.reasons) for result in results) - failed,
            "rows": rows,
        }
        with self.path(self.out).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._length, self.done = line["length"], line["done"]
        self._count(line)

    def discard(self) -> None:
        """Removes the part and what is known of it."""
        self._part.unlink(missing_ok=True)
        self.path(self.out).unlink(missing_ok=True)

    def finish(self) -> None:
        """Gives the part its name, and writes the table of failures where there are any."""
        write_failures(failures_path(self.out), self.rows)
        with self._part.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self.out)
        self.path(self.out).unlink()


def failure_rows(result: Result) -> list[list[Any]]:
    """Rows of a table of failures, one for each reason; of HEADINGS."""
    request = result.request
    return [[request.line, request.name, request.smiles, reason] for reason in result.reasons]


def write_failures(table: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The table of what failed; none where nothing did, not even that of a run before, whose output goes too."""
    if rows:
        with atomic_write(table) as file:
            csv.writer(file, lineterminator="\n").writerows([HEADINGS, *rows])
    else:
        table.unlink(missing_ok=True)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Lines up to the first that is not whole."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            break
    return found
