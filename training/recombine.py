"""New drug-like SMILES from fragments of known ones (BRICS, Degen et al. 2008), none of them in a test set.

COSET_DATA=DATA python training/recombine.py --without DATA/geom_drugs_test_smiles.csv \
    DATA/geom_qm9_test_smiles.csv DATA/geom_drugs_sample.sdf.gz -o training/recombined.smi
nice coset data ensembles training/recombined.smi --seeds 6 --most 2 -o training/recombined.npz
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import BRICS
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from coset.data.ensembles import Ensembles, connectivity, open_ensembles
from coset.ensembles.requests import requests
from coset.files import atomic_write

FEWEST, MOST = 20, 50  # atoms, hydrogens among them
ENOUGH = 15  # heavy atoms, beyond which ends are closed
RARE = 0.5  # how often a molecule begins with a fragment for one of its elements, each as often
# Ends that go together by a single bond; the only double bond is between 7a and 7b.
PAIRS = [(int(a), int(b)) for group in BRICS.reactionDefs for a, b, bond in group if bond == "-"]
PARTNERS = {end: sorted({b for pair in PAIRS for a, b in (pair, pair[::-1]) if a == end}) for end in range(1, 17)}


def fragments(ensembles: Ensembles, without: Collection[str]) -> Counter[str]:
    """What training molecules fall into, with open ends, and how often. without: molecules held out elsewhere."""
    found: Counter[str] = Counter()
    for smiles in ensembles.smiles[ensembles.rows(0)].tolist():
        mol = None if connectivity(smiles) in without else Chem.MolFromSmiles(smiles)
        parts = [] if mol is None else BRICS.BRICSDecompose(mol)
        found.update(part for part in parts if "*" in part and "[7*]" not in part)
    return found


def given(files: Sequence[str]) -> set[str]:
    """The molecules of files without their stereo."""
    found = set()
    for request in (request for file in files for request in requests(file)):
        with suppress(ValueError):  # what is no molecule cannot come again
            found.add(connectivity(_smiles(request.mol())))
    return found


def recombined(parts: Counter[str], rng: random.Random) -> Iterator[str]:
    """Molecules of `FEWEST` to `MOST` atoms without end, their stereo given in full; some come again."""
    mols = {part: Chem.MolFromSmiles(part) for part in sorted(parts)}
    having: dict[str, list[str]] = {}
    for part, mol in mols.items():
        for symbol in {atom.GetSymbol() for atom in mol.GetAtoms()} - {"*"}:
            having.setdefault(symbol, []).append(part)
    while True:
        rare = rng.choice(having[rng.choice(sorted(having))])
        first = rare if rng.random() < RARE else rng.choices(list(mols), [parts[part] for part in mols])[0]
        mol = _closed(mols[first], mols, parts, rng)
        if mol is not None and FEWEST <= Chem.AddHs(mol).GetNumAtoms() <= MOST and abs(Chem.GetFormalCharge(mol)) < 2:
            yield _isomer(_smiles(mol), rng)


def _closed(mol: Chem.Mol, mols: Mapping[str, Chem.Mol], parts: Counter[str], rng: random.Random) -> Chem.Mol | None:
    """With fragments at all of its ends, and at theirs; None where it grows too large."""
    while ends := [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]:
        if mol.GetNumAtoms() > MOST:
            return None
        end, partner = ends[0], rng.choice(PARTNERS[ends[0].GetIsotope()])
        most = 1 if mol.GetNumAtoms() > ENOUGH else 3
        fit = [part for part in mols if f"[{partner}*]" in part and part.count("*") <= most]
        if not fit:
            return None
        mol = _joined(mol, end.GetIdx(), mols[rng.choices(fit, [parts[part] for part in fit])[0]], partner)
    Chem.SanitizeMol(mol)
    return mol


def _joined(mol: Chem.Mol, end: int, other: Chem.Mol, partner: int) -> Chem.Mol:
    mol, other = Chem.Mol(mol), Chem.Mol(other)
    mol.GetAtomWithIdx(end).SetAtomMapNum(1)
    next(atom for atom in other.GetAtoms() if atom.GetIsotope() == partner).SetAtomMapNum(1)
    return Chem.molzip(mol, other)


def _isomer(smiles: str, rng: random.Random) -> str:
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=1, rand=rng.randrange(2**30))
    return _smiles(next(iter(EnumerateStereoisomers(Chem.MolFromSmiles(smiles), options=options))))


def _smiles(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000, help="molecules")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], help="files of molecules that must not occur")
    parser.add_argument("-o", "--out", type=Path, default=Path("training/recombined.smi"))
    asked = parser.parse_args()
    with rdBase.BlockLogs():
        sets = [open_ensembles(name) for name in ("xtb", "drug-like")]
        held_out = {connectivity(smiles) for each in sets for smiles in each.smiles[each.split > 0].tolist()}
        not_again = given(asked.without) | {connectivity(smiles) for each in sets for smiles in each.smiles.tolist()}
        lines = []
        for smiles in recombined(fragments(sets[1], held_out), random.Random(asked.seed)):
            key = connectivity(smiles)
            if key not in not_again:
                not_again.add(key)
                lines.append(f"{smiles} recombined{len(lines)}\n")
            if len(lines) == asked.n:
                break
    with atomic_write(asked.out) as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
