"""Feeds thousands of damaged files to the readers, in a process of its own, and counts what comes back.

    OMP_NUM_THREADS=1 python benchmarks/fuzz/readers.py --examples 10000 --seed 0

A file may be read or refused with one sentence. It may not raise anything else, take more than 5 seconds, or end the
process; molecules that were read also go through RDKit and the metrics. Files that break the rule are kept with --keep.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "bad_input"))
LIMIT = 5.0
MOLECULES = 3  # of those read, how many are handed on


def serve(pipe, folder: str) -> None:
    """In the other process: reads each file that is named, answers with outcome, seconds and what was said."""
    faulthandler.enable()
    from coset.bonds import smiles, to_rdkit
    from coset.files import read, write_sdf
    from coset.metrics.measurement import measure

    pipe.send(("ready", 0.0, ""))
    while True:
        path = Path(folder) / pipe.recv()
        begun, outcome, said = time.monotonic(), "read", ""
        try:
            molecules = read(path)[:MOLECULES]
            elapsed = time.monotonic() - begun
            measure(molecules)
            for molecule in molecules:
                smiles(to_rdkit(molecule))
            write_sdf(Path(folder) / "again.sdf", [type(m)(m.numbers, m.positions) for m in molecules])
            read(Path(folder) / "again.sdf")
        except (ValueError, FileNotFoundError) as error:
            elapsed, said = time.monotonic() - begun, str(error)
            whole = said.startswith(str(path)) and len(said.splitlines()) == 1
            outcome = "refused" if whole else "no sentence"
        except Exception as error:
            elapsed, outcome, said = time.monotonic() - begun, "wrong error", f"{type(error).__name__}: {error}"
        pipe.send((outcome, elapsed, said))


@dataclass
class Reader:
    """The other process, started again after it hung or died."""

    folder: str
    pipe: object = None
    process: multiprocessing.Process | None = None

    def ask(self, name: str) -> tuple[str, float, str]:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, self.folder), daemon=True)
            self.process.start()
            theirs.close()
            self.pipe.recv()
        self.pipe.send(name)
        try:
            if self.pipe.poll(LIMIT):
                return self.pipe.recv()
            outcome = "hang"
        except EOFError:
            outcome = "crash"
        self.process.kill()
        self.process.join()
        code, self.process = self.process.exitcode, None
        return outcome, LIMIT, f"exit code {code}"


@dataclass
class Tally:
    """Outcomes by format."""

    outcomes: dict[str, Counter] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)

    def add(self, form: str, outcome: str, elapsed: float) -> None:
        self.outcomes.setdefault(form, Counter())[outcome] += 1
        self.slowest[form] = max(self.slowest.get(form, 0.0), elapsed)

    def table(self) -> str:
        lines = ["| format | files | read | refused | slowest, ms | hangs | crashes | other |", "|---|" + "---|" * 7]
        for form in [*sorted(self.outcomes), "all"]:
            found = self.outcomes[form] if form != "all" else sum(self.outcomes.values(), Counter())
            slowest = self.slowest[form] if form != "all" else max(self.slowest.values())
            other = found["no sentence"] + found["wrong error"]
            counts = f"{found.total():,} | {found['read']:,} | {found['refused']:,}"
            lines.append(f"| {form} | {counts} | {1000 * slowest:.0f} | {found['hang']} | {found['crash']} | {other} |")
        return "\n".join(lines)


def run(examples: int, number: int, keep: Path | None) -> Tally:
    """Damages and reads; every breach of the rule is printed."""
    from mutations import mutated, seeds

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(folder)
        files = seeds(Path(folder))

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=HealthCheck,
        )
        @given(mutated(files))
        def damage(file: tuple[str, bytes]) -> None:
            (Path(folder) / f"damaged.{file[0]}").write_bytes(file[1])
            outcome, elapsed, said = reader.ask(f"damaged.{file[0]}")
            tally.add(file[0].split(".", 1)[1], outcome, elapsed)
            if outcome not in ("read", "refused"):
                print(f"{file[0]}: {outcome} after {elapsed:.1f} s: {said[:400]}", flush=True)
                if keep:
                    place = sum(sum(each.values()) for each in tally.outcomes.values())
                    (keep / f"{place}.{file[0]}").write_bytes(file[1])

        damage()
        if reader.process:
            reader.process.kill()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that broke the rule")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    print(run(options.examples, options.seed, options.keep).table())
    print(f"\nseed {options.seed}, {time.monotonic() - begun:.0f} s, process {os.getpid()}", file=sys.stderr)


if __name__ == "__main__":
    main()
