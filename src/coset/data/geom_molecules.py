"""A molecule of GEOM as it comes, and the ensemble that is made of it.

Conformers in GEOM's files are in no order, some have reacted, and not all have the same stereo or every key (Axelrod
and Gomez-Bombarelli 2022).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from coset.data.atom_order import Unusable, atomic_numbers, bonds_of, isomer, ordered, perceived, reference
from coset.data.ensemble_file import Ensemble, connectivity

MOST = 30  # conformers of a molecule, as published trainings take (DiTMC, MCF)
NEIGHBOURS = 4  # of an atom, at most, as in the published sets


@dataclass(frozen=True, eq=False)
class Conformer:
    """mol: with bonds, hydrogens and one 3D conformer, in any atom order. weight: its population; energy: kcal/mol.

    NaN for what the file does not say.
    """

    mol: Chem.Mol
    weight: float = math.nan
    energy: float = math.nan

    @property
    def rank(self) -> tuple[float, float]:
        """The most populated first, then the lowest, then those of which neither is known."""
        weight, energy = -self.weight, self.energy
        return (math.inf if math.isnan(weight) else weight), (math.inf if math.isnan(energy) else energy)


@dataclass(frozen=True, eq=False)
class RawMolecule:
    """conformers: those with a structure, of `listed` in the file."""

    smiles: str
    conformers: Sequence[Conformer]
    listed: int


@dataclass(frozen=True, eq=False)
class Entry:
    """A molecule as a file has it. read: gives its keys and values, or raises `Unusable`."""

    smiles: str
    read: Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Source:
    """Where a molecule comes from. read: gives it, or raises `Unusable`. file: its own file's name, if it has one."""

    smiles: str
    read: Callable[[], RawMolecule]
    file: str = ""


@dataclass(frozen=True, eq=False)
class Converted:
    """What became of a molecule: an ensemble, or a reason with a sentence. left_out: conformers, by reason."""

    source: tuple[str, str]
    ensemble: Ensemble | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    sentence: str = ""


def converted(source: Source, most: int = MOST) -> Converted:
    """`ensemble_of` what is read, or why there is none: whatever a file holds, the others are unharmed."""
    name = source.smiles, source.file
    try:
        return Converted(name, *ensemble_of(source.read(), most))
    except Unusable as error:
        return Converted(name, reason=error.reason, sentence=str(error))
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        return Converted(name, reason="cannot be read", sentence=f"{type(error).__name__}: {told}")


def ensemble_of(raw: RawMolecule, most: int = MOST) -> tuple[Ensemble, Counter[str]]:
    """The `most` conformers of greatest weight that are the same isomer; and how many were left out, by reason.

    Their graph is that of the SMILES without its stereo, or where none of the first `most` has it the commonest one;
    their stereo is the commonest among those, and the ensemble's SMILES says it (GeoMol's correction, but a tie goes to
    the greatest weight). Conformers behind the last one taken are not looked at and count as "not among the first".
    key: the SMILES of the file. Weights are the file's, over all conformers; energies are above the lowest one taken.
    Raises `Unusable`.
    """
    _check_degree(reference(raw.smiles))
    left_out = Counter({"no structure that fits": raw.listed - len(raw.conformers)})
    ranked = sorted(raw.conformers, key=lambda each: each.rank)
    head = [(each, _isomer(each.mol)) for each in ranked[:most]]
    wanted = _commonest(connectivity(raw.smiles), [text for _, text in head if text])
    taken: list[Conformer] = []
    for place, each in enumerate(ranked):
        if len(taken) == most:
            left_out["not among the first"] = len(ranked) - place
            break
        text = head[place][1] if place < most else _isomer(each.mol)
        if text == wanted:
            taken.append(each)
        else:
            same = text is not None and connectivity(text) == connectivity(wanted)
            left_out["other stereo" if same else "other graph"] += 1
    found = _in_order(wanted, raw.smiles, taken)
    left_out["other stereo"] += len(taken) - len(found)
    return found, +left_out


def located(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """A copy with these positions (n, 3) as its one conformer."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    conformer = Chem.Conformer(len(positions))
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    copy.AddConformer(conformer)
    return copy


def number(value: Any) -> float:
    """A number of a file, NaN for anything else."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def _commonest(graph: str, isomers: list[str]) -> str:
    """The commonest isomer of this graph, or of the commonest graph where none has it."""
    if not isomers:
        raise Unusable("no conformers", "none of its conformers has a structure that fits")
    graphs = [connectivity(each) for each in isomers]
    if graph not in graphs:
        graph = Counter(graphs).most_common(1)[0][0]
    own = [each for each, other in zip(isomers, graphs, strict=True) if other == graph]
    return Counter(own).most_common(1)[0][0]


def _isomer(mol: Chem.Mol) -> str | None:
    """Canonical SMILES with the stereo that the positions show; None where RDKit cannot say."""
    try:
        positions = mol.GetConformer().GetPositions()
        if not np.isfinite(positions).all():
            return None
        text = isomer(perceived(mol, positions))
        with rdBase.BlockLogs():  # once more: another version may have perceived the aromatic rings
            again = Chem.MolFromSmiles(text)
            return None if again is None else Chem.MolToSmiles(again)
    except (ValueError, RuntimeError):
        return None


def _in_order(smiles: str, key: str, taken: Sequence[Conformer]) -> Ensemble:
    """The conformers in the atom order of the SMILES. Those with the same atoms and bonds are matched together."""
    _check_degree(reference(smiles))
    groups: dict[tuple[bytes, bytes], list[Conformer]] = {}
    for each in taken:
        groups.setdefault((atomic_numbers(each.mol).tobytes(), bonds_of(each.mol).tobytes()), []).append(each)
    found, error = [], None
    for members in groups.values():
        mol = members[0].mol
        positions = np.stack([each.mol.GetConformer().GetPositions() for each in members])
        energies, weights = (np.array([getattr(each, name) for each in members]) for name in ("energy", "weight"))
        try:
            found.append(
                ordered(Ensemble(smiles, key, atomic_numbers(mol), positions, energies, weights), bonds_of(mol))
            )
        except Unusable as reason:
            error = reason
    if not found:
        assert error is not None
        raise error
    positions, energies, weights = (
        np.concatenate([getattr(each, name) for each in found]) for name in ("positions", "energies", "weights")
    )
    if np.isfinite(energies).any():
        energies = energies - np.nanmin(energies)
    whole = Ensemble(smiles, key, found[0].numbers, positions, energies, weights)
    return whole.take(np.lexsort([energies, -weights]))  # NaN comes last


def _check_degree(mol: Chem.Mol) -> None:
    if max(atom.GetDegree() for atom in mol.GetAtoms()) > NEIGHBOURS:
        raise Unusable("more than 4 neighbours", f"an atom has more than {NEIGHBOURS} neighbours")
