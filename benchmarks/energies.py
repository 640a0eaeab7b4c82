"""The strain of the data itself: python benchmarks/energies.py [qm9|qm9-small|drug-like] [mmff|xtb] [--write]

Relaxes 1,000 molecules (300 with GFN2-xTB; of drug-like 300 and 30) of the test split, drawn by seed 0, and prints
quartiles and CPU time.
With --write the numbers go into the package, where every strain of generated molecules is set beside them. Needs the
data sets (see `coset data`); results are kept in benchmarks/results/energies, so a stopped run goes on where it was.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from coset.data.catalog import open_dataset
from coset.energies import METHODS, Atoms
from coset.energies.strain import DATA, StrainReport, relax_all
from coset.files import atomic_write

MOLECULES = {"mmff": 1000, "xtb": 300}
FEWER = {"drug-like": {"mmff": 300, "xtb": 30}}
HERE = Path(__file__).parent
PACKAGED = HERE.parent / "src" / "coset" / "energies" / "strain_of_data.json"


def drawn(name: str, number: int) -> list[Atoms]:
    """Molecules of the test split."""
    dataset = open_dataset(name)
    rows = np.random.default_rng(0).permutation(dataset.test)[:number]
    found = (dataset.store[int(row)] for row in np.sort(rows))
    return [Atoms(numbers.astype(np.int64), positions.astype(np.float64)) for numbers, positions in found]


def main() -> None:
    methods = [each for each in sys.argv[1:] if each in METHODS] or list(METHODS)
    known = json.loads(PACKAGED.read_text(encoding="utf-8")) if PACKAGED.is_file() else {}
    folder = HERE / "results" / "energies" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in [each for each in sys.argv[1:] if each in DATA] or DATA:
        for method in methods:
            start = time.process_time()
            found = relax_all(
                drawn(name, FEWER.get(name, MOLECULES)[method]), method, kept=folder / f"{name}-{method}.jsonl"
            )
            report = StrainReport.of(found)
            print(name, *report.lines(), f"{time.process_time() - start:.1f} s of CPU time", sep="\n  ")
            known.setdefault(name, {})[method] = report.summary()
    if "--write" in sys.argv:
        with atomic_write(PACKAGED) as file:
            file.write(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
