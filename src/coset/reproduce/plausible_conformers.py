"""Plausible conformers: how many molecules of a file get any, with which stereo, PoseBusters' tests and time."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rdkit import Chem

from coset.ensembles.candidate import Result
from coset.ensembles.jobs import made
from coset.ensembles.methods import Method
from coset.ensembles.plan import Plan
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.ensembles.refine import AfterWork
from coset.ensembles.requests import Request
from coset.files import atomic_write
from coset.metrics.plausibility import plausible_conformer
from coset.reproduce.conformer_properties import RELAX, RELAXED
from coset.reproduce.record import Record, heading, markdown_table

__all__ = ["NAME", "RELAX", "Study", "read_by_rdkit", "report", "run"]

NAME = "plausible-conformers"
PORTION = 50  # molecules made, tested and kept at a time
SECONDS = 3600.0  # for a molecule: so many that a busy machine changes no row
_ALL, _WORST = "all tests", 3  # tests that the report names


@dataclass(frozen=True)
class Study:
    """molecules of a file, and a checksum of them; count: conformers of each."""

    file: str
    molecules: int
    crc32: int
    count: int = 1
    seed: int = 0

    @classmethod
    def of(cls, file: str, asked: Sequence[Request], count: int = 1, seed: int = 0) -> Study:
        return cls(file, len(asked), zlib.crc32("\n".join(each.text for each in asked).encode()), count, seed)


def run(
    study: Study,
    asked: Sequence[Request],
    models: Mapping[str, Method],
    folder: Path,
    relax: Sequence[str | None] = (None,),
    begin: Callable[[str], Callable[[float], object]] = lambda row: lambda done: None,
) -> Record:
    """Measures the models and ETKDGv3, relaxed in each of these ways, as far as the folder has no row of them yet.

    A row that was broken off goes on after its last whole portion. Raises ValueError where the folder holds the rows of
    another study, or of another model of the same name.
    """
    record = Record.open(NAME, folder, asdict(study))
    folder.mkdir(parents=True, exist_ok=True)
    for name, method in {**models, "ETKDGv3": DistanceGeometry()}.items():
        for way in relax:
            label = f"{name}, {RELAXED[way]}"
            if record.rows.get(label, {"key": method.key})["key"] != method.key:
                raise ValueError(f"{folder} holds a row {label!r} of another model; remove it or choose another --out")
            if label not in record.rows:
                kept = folder / f"{label}.jsonl"
                plan = Plan(study.count, study.seed, AfterWork(way, seconds=SECONDS), seconds=SECONDS)
                record.add(label, _row(method, asked, plan, kept, begin(label)))
                kept.unlink()
            report(record, study)
    return record


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    budget = f"{study.molecules:,} molecules, {study.count} conformer(s) asked of each"
    text = heading(
        record, budget, str(study.seed), study.file, f" {study.file} --targets {study.molecules} -n {study.count}"
    )
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(HEADINGS, [_line(*row) for row in record.rows.items()]) + NOTES)


def read_by_rdkit(mol: Chem.Mol, conformer: int) -> bool:
    """Whether RDKit reads off the positions every R, S, E and Z that the molecule asks for."""
    shaped = Chem.Mol(mol, confId=conformer)
    Chem.AssignStereochemistryFrom3D(shaped, replaceExistingTags=True)
    return shaped.HasSubstructMatch(mol, useChirality=True)


def _row(
    method: Method, asked: Sequence[Request], plan: Plan, kept: Path, tell: Callable[[float], object]
) -> dict[str, Any]:
    """The sums over portions, of which those are taken from `kept` that are there."""
    portions = _portions(kept, method.key)
    for first in range(len(portions) * PORTION, len(asked), PORTION):
        begun, busy = time.monotonic(), time.process_time()
        results = made(asked[first : first + PORTION], method, plan)
        spent = {"wall": time.monotonic() - begun, "seconds": time.process_time() - busy}
        portions.append({"key": method.key, **spent, **_tested(results)})
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(portions[-1]) + "\n")
        tell(first + len(results))
    sums = {
        name: sum(each[name] for each in portions) for name in ("wall", "seconds", "molecules", "conformers", "right")
    }
    passed, reasons = Counter[str](), Counter[str]()
    for each in portions:
        passed.update(each["passed"])
        reasons.update(each["reasons"])
    return {"key": method.key, **sums, "passed": dict(passed), "reasons": dict(reasons.most_common())}


def _portions(kept: Path, key: str) -> list[dict[str, Any]]:
    """What is kept of the method of this key, up to a line that a stop left half written."""
    found = []
    for line in kept.read_text(encoding="utf-8").splitlines(keepends=True) if kept.is_file() else ():
        if not line.endswith("\n") or json.loads(line)["key"] != key:
            break
        found.append(json.loads(line))
    with atomic_write(kept) as file:
        file.writelines(json.dumps(each) + "\n" for each in found)
    return found


def _tested(results: Sequence[Result]) -> dict[str, Any]:
    """Counts of molecules, of conformers, of those with the right stereo, of those that pass each test."""
    passed: Counter[str] = Counter()
    conformers = right = 0
    for mol in (result.mol for result in results if result.mol is not None):
        for conformer in mol.GetConformers():
            found = plausible_conformer(Chem.Mol(mol, confId=conformer.GetId()))
            passed.update({name: int(answer is True) for name, answer in found.items()})
            passed[_ALL] += int(all(answer is True for answer in found.values()))
            conformers, right = conformers + 1, right + read_by_rdkit(mol, conformer.GetId())
    failed = [result for result in results if result.mol is None]
    return {
        "molecules": len(results) - len(failed),
        "conformers": conformers,
        "right": right,
        "passed": dict(passed),
        "reasons": dict(Counter(reason for result in failed for reason in result.reasons)),
    }


HEADINGS = [
    "conformers", "molecules with any", "conformers made", "stereo right %", "pass PoseBusters %", "of which worst",
    "ms of CPU a conformer", "minutes in all",
]  # fmt: skip
NOTES = f"""
Made as `coset conformers` makes them: conformers with broken bonds, clashes or the wrong stereo are repaired or drawn
anew, five times at most, and left out if they are wrong then. Stereo: what RDKit reads off the positions, against what
the molecule asks for. PoseBusters: its fast tests of a conformer with the molecule's own bonds, a share of the
conformers made; the {_WORST} tests that most fail are named. CPU time is of drawing, checks and relaxation, of all
threads, without the tests; minutes are of the clock, on a machine that may have been busy with other work. Reasons of
failures are in rows.json.
"""


def _line(name: str, found: Mapping[str, Any]) -> list[str]:
    count = found["conformers"]
    shares = {test: 100 * passed / max(count, 1) for test, passed in found["passed"].items()}
    worst = sorted((share, test) for test, share in shares.items() if test != _ALL and share < 100)[:_WORST]
    told = ", ".join(f"{test.replace('_', ' ')} {share:.1f}" for share, test in worst)
    right, passed = 100 * found["right"] / max(count, 1), shares.get(_ALL, 0.0)
    spent = 1000 * found["seconds"] / max(count, 1)
    return [
        name, f"{found['molecules']:,}", f"{count:,}", f"{right:.1f}", f"{passed:.1f}", told, f"{spent:.0f}",
        f"{found['wall'] / 60:.1f}",
    ]  # fmt: skip
