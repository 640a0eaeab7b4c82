"""The conformers of lowest energy of a molecule of GEOM, checked: no bonds are matched, atoms stay in their order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from scipy.spatial.distance import pdist

from coset.data.atom_order import Unusable, atomic_numbers
from coset.data.drugs import ELEMENTS, MOST
from coset.data.ensemble_file import connectivity, parts
from coset.data.geom_molecules import Entry, number
from coset.data.grouping import hash_key

KCAL = 627.509474  # kcal/mol in a Hartree
MOST_ATOMS = 1000  # of a molecule; GEOM's largest has 181
FARTHEST = 1000.0  # Angstrom from the centre
NEAREST = 0.1  # Angstrom between two atoms; closer ones lie at one place
PACKED = 32.767  # Angstrom from the centre, in a packed store


@dataclass(frozen=True)
class Wanted:
    """most: conformers of a molecule. neutral: leave charged molecules out. farthest: of an atom, Angstrom."""

    most: int = MOST
    neutral: bool = False
    farthest: float = FARTHEST

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"A molecule keeps at least 1 conformer, got {self.most}.")


@dataclass(frozen=True, eq=False)
class Conformers:
    """k conformers of n atoms, the lowest first.

    positions: Angstrom, centred. energies: kcal/mol above the lowest listed, NaN where the file says none. places: of
    each among the `listed` lowest of its molecule, from 0; those left out leave gaps.
    """

    numbers: Int[NDArray[np.int64], "k n"]
    positions: Float[NDArray[np.float64], "k n 3"]
    energies: Float[NDArray[np.float64], "k"]
    places: Int[NDArray[np.int64], "k"]


@dataclass(frozen=True, eq=False)
class Selected:
    """What became of a molecule: conformers, or a reason with a sentence.

    listed: conformers that the public code takes of it. group: the same for all its stereoisomers. part: what follows
    from the group, 0 train, 1 valid, 2 test. left_out: conformers, by reason.
    """

    smiles: str
    listed: int
    found: Conformers | None = None
    charge: int = 0
    group: int = 0
    part: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    sentence: str = ""


def selected(entry: Entry, wanted: Wanted) -> Selected:
    """The lowest conformers of a molecule, or why there are none: whatever a file holds, the others are unharmed.

    The `most` of lowest energy are chosen first, as the public code does, those of one energy in the file's order;
    which of these cannot be used is left out and not replaced. Left out whole are molecules with elements other than
    `ELEMENTS`, with several fragments, charged ones where `neutral` ones are wanted, and those without a conformer.
    """
    smiles, listed = entry.smiles, 0
    try:
        content = entry.read()
        conformers = content.get("conformers") if isinstance(content, dict) else None
        if not isinstance(conformers, list | tuple) or not conformers:
            raise Unusable("no conformers", "it has no list of conformers")
        listed = min(wanted.most, len(conformers))
        if "." in smiles:
            raise Unusable("several fragments", f"{smiles[:80]!r} is several molecules, and one is expected")
        charge = _charge(content, smiles)
        if charge and wanted.neutral:
            raise Unusable("charged", f"{smiles[:80]!r} has the charge {charge:+d}")
        found, left_out = _lowest(conformers, wanted)
        group, part = hash_key(connectivity(smiles)), int(parts([smiles])[0])
        return Selected(smiles, listed, found, charge, group, part, left_out)
    except Unusable as error:
        return Selected(smiles, listed, reason=error.reason, sentence=str(error))
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        return Selected(smiles, listed, reason="cannot be read", sentence=f"{type(error).__name__}: {told}")


def _lowest(conformers: Sequence[Any], wanted: Wanted) -> tuple[Conformers, Counter[str]]:
    energies = _energies(conformers)
    order = np.argsort(energies, kind="stable")[: wanted.most]  # NaN comes last
    left_out: Counter[str] = Counter()
    places, tables = [], []
    for place, row in enumerate(order.tolist()):
        try:
            tables.append(_table(conformers[row], wanted.farthest))
            places.append(place)
        except Unusable as error:
            left_out[error.reason] += 1
    if not tables:
        told = ", ".join(left_out)
        raise Unusable("no conformers", f"none of its {len(order)} lowest conformers can be used ({told})")
    formulas = [np.sort(numbers).tobytes() for numbers, _ in tables]
    usual = Counter(formulas).most_common(1)[0][0]  # of as many, the one met first: the lowest
    same = [each == usual for each in formulas]
    left_out["other atoms than most of its conformers"] = same.count(False)
    tables, places = ([each for each, fits in zip(one, same, strict=True) if fits] for one in (tables, places))
    _check_elements(tables[0][0])
    numbers, positions = (np.stack(each) for each in zip(*tables, strict=True))
    return Conformers(numbers, positions, energies[order[places]], np.array(places)), +left_out


def _energies(conformers: Sequence[Any]) -> Float[NDArray[np.float64], "c"]:
    """kcal/mol above the lowest: by total energy (Hartree), or by relative energy where more conformers have that."""
    columns = [
        np.array([number(each.get(key)) if isinstance(each, Mapping) else math.nan for each in conformers])
        for key in ("totalenergy", "relativeenergy")
    ]
    total, relative = (np.where(np.abs(each) < 1e12, each, np.nan) for each in columns)
    energies = KCAL * total if np.isfinite(total).sum() >= np.isfinite(relative).sum() else relative
    return energies - np.nanmin(energies) if np.isfinite(energies).any() else energies


def _table(values: Any, farthest: float) -> tuple[Int[NDArray[np.int64], "n"], Float[NDArray[np.float64], "n 3"]]:
    """Atomic numbers and centred positions of a conformer: of its `xyz` (Z, x, y, z), or of its `rd_mol`."""
    numbers, positions = _structure(values)
    if not len(numbers):
        raise Unusable("no atoms")
    if len(numbers) > MOST_ATOMS:
        raise Unusable(f"more than {MOST_ATOMS:,} atoms")
    if not np.isfinite(positions).all():
        raise Unusable("positions that are not finite")
    if not ((numbers == np.rint(numbers)) & (numbers >= 1) & (numbers <= 118)).all():
        raise Unusable("no atomic numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        positions = positions - positions.mean(0)
        near = np.abs(positions).max() <= farthest  # false for what overflowed, too
    if not near:
        raise Unusable(f"atoms farther than {farthest:,g} Angstrom from the centre")
    if pdist(positions).min(initial=math.inf) < NEAREST:
        raise Unusable("two atoms at one place")
    return numbers.astype(np.int64), positions


def _structure(values: Any) -> tuple[NDArray[np.float64], Float[NDArray[np.float64], "n 3"]]:
    if not isinstance(values, Mapping):
        raise Unusable("no structure")
    mol = values.get("rd_mol")
    if isinstance(mol, Chem.Mol):
        if mol.GetNumConformers() != 1:
            raise Unusable("no structure")
        return atomic_numbers(mol).astype(np.float64), mol.GetConformer().GetPositions()
    try:
        table = np.array(values["xyz"], dtype=np.float64)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise Unusable("no structure") from None
    if table.size == 0:
        raise Unusable("no atoms")
    if table.ndim != 2 or table.shape[1] != 4:
        raise Unusable("no structure")
    return table[:, 0], table[:, 1:]


def _check_elements(numbers: Int[NDArray[np.int64], "n"]) -> None:
    table = Chem.GetPeriodicTable()
    strange = [table.GetElementSymbol(each) for each in sorted(set(numbers.tolist()) - set(ELEMENTS))]
    if strange:
        known = ", ".join(table.GetElementSymbol(each) for each in ELEMENTS)
        raise Unusable("elements outside the 16", f"element {strange[0]} is not among {known}")


def _charge(content: Mapping[str, Any], smiles: str) -> int:
    """Of the entry, else of its SMILES; 0 where neither says."""
    said = number(content.get("charge"))
    if math.isfinite(said):
        return int(said)
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    return 0 if mol is None else Chem.GetFormalCharge(mol)
