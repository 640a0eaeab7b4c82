"""Stores made of ensembles: every conformer a row, to train generators of molecules on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from coset.data import drugs
from coset.data.drugs_archive import ENERGY
from coset.data.ensemble_file import Ensembles, connectivity
from coset.data.ensembles import open_ensembles
from coset.data.grouping import hash_key
from coset.data.store import Store
from coset.data.writer import StoreWriter

DRUG_LIKE = "drug-like"
SOURCE = (
    "optimised conformers of drug-like molecules from two public sets, conformer_benchmark.npz and flexisol_gas.npz"
)
LICENCE = "MIT"


def drug_like(target: str | Path, packed: bool = False) -> Store:
    """The store of the ensembles "drug-like" (`open_ensembles`), neutral and of GEOM-Drugs' 16 elements alone.

    Split by molecule. Its source says how many molecules were left out, and why. Raises FileNotFoundError where
    COSET_DATA lacks the files.
    """
    left_out: Counter[str] = Counter()
    ensembles = open_ensembles(DRUG_LIKE, left_out)
    about = {"name": DRUG_LIKE, "source": SOURCE, "licence": LICENCE}
    return from_ensembles(ensembles, target, elements=drugs.ELEMENTS, neutral=True, packed=packed,
                          left_out=left_out, about=about)[0]  # fmt: skip


def build(path: Path, target: str | Path, *, neutral: bool = False, packed: bool = False) -> tuple[Store, Counter[str]]:
    """`from_ensembles` of a file of ensembles, split as it says, by molecule where it says nothing."""
    about = {"source": f"conformers of the ensembles {path.name}"}
    ensembles = Ensembles.load(path, split_by_molecule=True)
    return from_ensembles(ensembles, target, neutral=neutral, packed=packed, about=about)


def from_ensembles(
    ensembles: Ensembles,
    target: str | Path,
    *,
    elements: Sequence[int] | None = None,
    neutral: bool = False,
    packed: bool = False,
    left_out: Counter[str] | None = None,
    about: dict[str, str] | None = None,
) -> tuple[Store, Counter[str]]:
    """A store of all conformers, centred, split as the ensembles are; and how many molecules were left out, by reason.

    elements: atomic numbers allowed, which are also those a model of the store will know; those that occur without.
    neutral: leave out what its SMILES says is charged. left_out: what was left out before, which the store's source
    tells as well. about: name, source and licence. Columns: group, one for all stereoisomers of a molecule, and
    relative_energy (kcal/mol) where all conformers have one. Raises FileExistsError, and ValueError where no molecule
    is left.
    """
    faults = [_fault(ensembles, row, elements, neutral) for row in range(len(ensembles))]
    found = Counter(fault for fault in faults if fault)
    counts = Counter(left_out or {}) + found
    told = dict(about or {})
    if counts:
        reasons = ", ".join(f"{count:,} ({reason})" for reason, count in counts.most_common())
        told["source"] = f"{told.get('source', '')}; left out: {reasons}".removeprefix("; ")
    if all(faults):
        raise ValueError(f"no molecule of the ensembles is left for a store ({told['source']}).")
    energies = ensembles.energies is not None and np.isfinite(ensembles.energies).all()
    vocabulary = () if elements is None else elements
    with StoreWriter(target, packed=packed, vocabulary=vocabulary, units={ENERGY: "kcal/mol"}, **told) as writer:
        for row in (row for row, fault in enumerate(faults) if not fault):
            own = ensembles[row]
            count, atoms = own.positions.shape[:2]
            writer.append(
                np.tile(own.numbers, count),
                (own.positions - own.positions.mean(1, keepdims=True)).reshape(-1, 3),
                np.full(count, atoms),
                split=int(ensembles.split[row]),
                group=np.full(count, hash_key(connectivity(own.smiles))),
                **({ENERGY: own.energies} if energies and own.energies is not None else {}),
            )
    return Store.open(target), counts


def _fault(ensembles: Ensembles, row: int, elements: Sequence[int] | None, neutral: bool) -> str:
    """Why a molecule is left out, nothing where it is not."""
    if elements is not None and not set(ensembles[row].numbers.tolist()) <= set(elements):
        return f"elements outside the {len(elements)}"
    if neutral:
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(str(ensembles.smiles[row]))
        if mol is not None and Chem.GetFormalCharge(mol):
            return "charged"
    return ""
