"""Times the metrics: python benchmarks/metrics.py [molecules.npz]

Without a file: the 5,185 generated molecules of the tests, repeated to 10,000.

A pool of processes would take longer to start than all of it, so there is none. Numbers: benchmarks/README.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from coset.bonds import bond_orders
from coset.files import read, write_sdf, write_xyz
from coset.metrics.evaluate import evaluate
from coset.metrics.reference import load_reference
from coset.metrics.stability import stable_molecules
from coset.molecule import Molecule, pad

DEFAULT = Path(__file__).parents[1] / "tests" / "data" / "gschnet_samples.npz"


def stability(molecules: list[Molecule]) -> int:
    """Number of stable molecules, in chunks that fit the cache."""
    total = 0
    for start in range(0, len(molecules), 128):
        numbers, positions = pad(molecules[start : start + 128])
        total += int(stable_molecules(numbers, bond_orders(numbers, positions)).sum())
    return total


def timed(name: str, function: Callable[[], object]) -> None:
    start = time.perf_counter()
    function()
    print(f"{name:32s} {time.perf_counter() - start:6.2f} s")


def main() -> None:
    molecules = read(sys.argv[1] if len(sys.argv) > 1 else DEFAULT)
    molecules = (molecules * (1 + 9_999 // len(molecules)))[:10_000]
    load_reference("qm9")
    print(f"{len(molecules)} molecules")
    timed("stability alone", lambda: stability(molecules))
    timed("evaluate, everything", lambda: evaluate(molecules))
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("molecules.sdf", write_sdf), ("molecules.xyz", write_xyz)):
            path = Path(folder) / name
            timed(f"write {path.suffix}", lambda path=path, write=write: write(path, molecules))
            timed(f"read {path.suffix}", lambda path=path: read(path))


if __name__ == "__main__":
    main()
