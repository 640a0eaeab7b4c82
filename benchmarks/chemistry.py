"""What the data score in `coset evaluate --level full`: python benchmarks/chemistry.py [qm9|drug-like...] [--write]

Molecules drawn by seed 0: PoseBusters on 300 of the test split (100 of drug-like); drug-likeness of 3,000 of the
training split, and its distances for parts of 3,000 of the test split (all where there are fewer); variation by kind of
parts of the test split from the packaged reference. Bonds for drug-likeness are perceived where the reference's
protocol has perceived rates beside. Prints the numbers and the CPU time. With --write they go into the package. Needs
the data sets (see `coset data`); PoseBusters' results are kept in benchmarks/results/chemistry/runs, so a stopped run
goes on where it was.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coset.data.catalog import Dataset, open_dataset
from coset.energies import Atoms
from coset.energies.batch import run
from coset.files import atomic_write
from coset.metrics.druglikeness import Druglikeness, described, described_perceived, distances
from coset.metrics.measurement import measure
from coset.metrics.plausibility import Plausibility, label, plausible
from coset.metrics.protocol import PROTOCOLS
from coset.metrics.reference import REFERENCES, load_reference
from coset.metrics.variation import variations
from coset.molecule import Molecule

TESTED, DRAWN = 300, 3000
FEWER = {"drug-like": 100}
PARTS, MOST = (100, 300, 1000, 3000), 5
HERE = Path(__file__).parent
PACKAGED = HERE.parent / "src" / "coset" / "metrics" / "chemistry_of_data.json"


def drawn(dataset: Dataset, split: str, number: int) -> list[Molecule]:
    """So many molecules of a split, in random order; a smaller number is part of a larger one."""
    rows = np.random.default_rng(0).permutation(getattr(dataset, split))[:number]
    return [Molecule(*dataset.store[int(row)]) for row in rows]


def own(items: Sequence[Any], score: Callable[[Sequence[Any]], Mapping[str, float]]) -> dict[int, dict[str, float]]:
    """Mean scores of up to five parts, apart from each other, by their number of items."""
    found = {}
    for size in sorted({*(each for each in PARTS if each <= len(items)), min(len(items), PARTS[-1])}):
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for start in range(0, len(items) - size + 1, size)[:MOST]:
            for name, value in score(items[start : start + size]).items():
                sums[name].append(value)
        found[size] = {name: round(float(np.nanmean(values)), 6) for name, values in sums.items()}
    return found


def plausibility(name: str, dataset: Dataset) -> dict[str, Any]:
    folder = HERE / "results" / "chemistry" / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    atoms = [Atoms.of(molecule) for molecule in drawn(dataset, "test", FEWER.get(name, TESTED))]
    found = Plausibility.of(run(plausible, label(), atoms, kept=folder / f"{name}.jsonl"))
    print(*found.section().rows, found.section().note, sep="\n")
    return found.summary()


def druglikeness(name: str, dataset: Dataset) -> dict[str, Any]:
    tell = described_perceived if PROTOCOLS[load_reference(name).protocol].corrected else described
    train = Druglikeness.of([tell(molecule) for molecule in drawn(dataset, "train", DRAWN)])
    test = [tell(molecule) for molecule in drawn(dataset, "test", DRAWN)]
    scores = own(test, lambda part: distances(Druglikeness.of(part).histograms, train.histograms))
    means = {key: round(value, 6) for key, value in train.means.items()}
    print(means, scores, sep="\n")
    return {"molecules": train.described, "means": means, "histograms": train.summary()["histograms"], "own": scores}


def variation(name: str, dataset: Dataset) -> dict[str, Any]:
    known = load_reference(name)
    scores = own(drawn(dataset, "test", 5 * PARTS[-1]), lambda part: variations(measure(part), known))
    print(scores)
    return {"own": scores}


def main() -> None:
    known = json.loads(PACKAGED.read_text(encoding="utf-8"))
    for name in [each for each in sys.argv[1:] if each in REFERENCES] or REFERENCES:
        dataset, start = open_dataset(name), time.process_time()
        found: dict[str, Any] = {"variation": variation(name, dataset)}
        print(f"{name}: {time.process_time() - start:.1f} s of CPU time for variation")
        found["druglikeness"] = druglikeness(name, dataset)
        print(f"{name}: {time.process_time() - start:.1f} s of CPU time with drug-likeness")
        found["plausibility"] = plausibility(name, dataset)
        print(f"{name}: {time.process_time() - start:.1f} s of CPU time in all")
        known[name] = json.loads(json.dumps(found, sort_keys=True))  # bins in their order
    if "--write" in sys.argv:
        with atomic_write(PACKAGED) as file:
            file.write(json.dumps(known, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
