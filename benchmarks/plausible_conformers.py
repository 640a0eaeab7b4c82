"""PoseBusters' fast tests on files of conformers, by their own bonds, side by side; needs coset[eval].

coset conformers drugs.csv -n 1 -o learned.sdf
coset conformers drugs.csv -n 1 --method rdkit -o rdkit.sdf
python benchmarks/plausible_conformers.py learned.sdf rdkit.sdf
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

from posebusters import PoseBusters
from rdkit import Chem, rdBase


def passed(path: Path) -> dict[str, float]:
    """Per cent of the file's conformers that pass each test, and all."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with rdBase.BlockLogs():
        mols = [mol for mol in Chem.SDMolSupplier(str(path), removeHs=False) if mol is not None]
        found = PoseBusters("mol_fast").bust(mols)
    tests = found[[name for name in found.columns if found[name].dtype == bool]]
    rates = {name: 100 * float(tests[name].mean()) for name in tests.columns}
    return {"conformers": float(len(mols)), **rates, "all tests": 100 * float(tests.all(axis=1).mean())}


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    files = [Path(each) for each in sys.argv[1:]]
    found = {path.stem: passed(path) for path in files}
    print(f"| test | {' | '.join(found)} |\n|{'---|' * (1 + len(found))}")
    for name in next(iter(found.values())):
        print(f"| {name} | {' | '.join(f'{each[name]:.1f}' for each in found.values())} |")


if __name__ == "__main__":
    main()
