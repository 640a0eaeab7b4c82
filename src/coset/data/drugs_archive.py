"""GEOM's files to a store of drug-sized molecules: `drugs_crude.msgpack`, or the `rdkit_folder`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from coset.data import drugs, geom_msgpack, geom_pickles
from coset.data.download import Progress
from coset.data.ensemble_writer import write_failures
from coset.data.geom_lowest import FARTHEST, MOST_ATOMS, PACKED, Selected, Wanted, selected
from coset.data.geom_molecules import Entry
from coset.data.pace import Pace
from coset.data.store import Store
from coset.data.writer import StoreWriter

ENERGY = "relative_energy"


@dataclass
class Summary:
    """What `build` did. listed: conformers that the public code takes. charged: molecules among those kept.

    sizes: conformers by number of atoms. atoms: by atomic number. left_out: molecules, conformers_left_out: single ones
    of other molecules, by reason. failures: SMILES, reason and sentence of each molecule left out.
    """

    molecules: int = 0
    listed: int = 0
    charged: int = 0
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(MOST_ATOMS + 1, dtype=np.int64))
    atoms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(119, dtype=np.int64))
    left_out: Counter[str] = field(default_factory=Counter)
    conformers_left_out: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def conformers(self) -> int:
        return int(self.sizes.sum())

    def add(self, each: Selected) -> None:
        self.listed += each.listed
        self.conformers_left_out += each.left_out
        if each.found is None:
            self.left_out[each.reason] += 1
            self.failures.append((each.smiles, each.reason, each.sentence))
            return
        self.molecules += 1
        self.charged += each.charge != 0
        self.sizes[each.found.numbers.shape[1]] += len(each.found.numbers)
        self.atoms += np.bincount(each.found.numbers.ravel(), minlength=len(self.atoms))

    def lines(self) -> list[str]:
        """In words, beside what the published tables count."""
        sizes = np.flatnonzero(self.sizes)
        mean = (self.sizes * np.arange(len(self.sizes))).sum() / max(self.conformers, 1)
        own = ((number, self.atoms[number]) for number in drugs.ELEMENTS if self.atoms[number])
        told = [
            f"{self.conformers:,} conformers of {self.molecules:,} molecules, {len(sizes):,} sizes from {sizes.min()} "
            f"to {sizes.max()} atoms, {mean:.2f} on average",
            f"published, of all GEOM-Drugs: {drugs.CONFORMERS:,} conformers, {drugs.SIZES}",
            f"atoms: {_atoms(own)}",
            f"published: {_atoms(drugs.ATOMS.items())}",
        ]
        if self.charged:
            told.append(f"charged: {self.charged:,} molecules (kept, as published; --neutral leaves them out)")
        told += [f"molecules left out: {count:,} ({reason})" for reason, count in self.left_out.most_common()]
        return told + [
            f"conformers left out: {count:,} ({reason})" for reason, count in self.conformers_left_out.most_common()
        ]


def build(
    source: Path,
    target: Path,
    *,
    most: int = drugs.MOST,
    neutral: bool = False,
    permutation: Path | None = None,
    packed: bool = False,
    allow_numpy: bool = False,
    progress: Progress | None = None,
) -> tuple[Store, Summary]:
    """A store of the lowest conformers of GEOM-Drugs' molecules (`geom_lowest.selected`), one a row, centred.

    source: drugs_crude.msgpack, or the rdkit_folder. Columns: ids, the place in the public code's table of conformers;
    group, one for all stereoisomers of a molecule; relative_energy (kcal/mol above the molecule's lowest), where every
    conformer has one. Split by group, about 80, 10 and 10 in 100 (`ensemble_file.parts`, so that a molecule is in the
    same part of every set of coset); with a permutation as published (`drugs.ConformerSplit`), which counts the msgpack
    file's conformers and leaks molecules. Memory holds one molecule at a time, and the names of those left out, which
    go to a table beside the store (`failures_file`). Raises FileExistsError, FileNotFoundError, and ValueError for a
    file that is broken or a permutation that does not fit; leaves no store then.
    """
    wanted = Wanted(most, neutral, PACKED if packed else FARTHEST)
    if permutation and source.is_dir():
        raise ValueError(f"the permutation counts conformers of drugs_crude.msgpack, and {source} is a folder.")
    split = drugs.ConformerSplit.read(permutation) if permutation else None
    summary, known, pace = Summary(), True, Pace(progress)
    total, entries = _entries(source, allow_numpy, pace.read)
    about = {"name": drugs.NAME, "source": _source(source, wanted, split), "licence": drugs.LICENCE}
    with StoreWriter(target, packed=packed, vocabulary=drugs.ELEMENTS, units={ENERGY: "kcal/mol"}, **about) as writer:
        for entry in entries:
            each, first = selected(entry, wanted), summary.listed
            summary.add(each)
            if split:
                split.check(summary.listed, whole=False)
            known &= _append(writer, each, first, split)
            pace.molecule(total)
        if split:
            split.check(summary.listed, whole=True)
        # Before the store itself: where no molecule is left, that is an error.
        write_failures(failures_file(target), summary.failures)
        if not writer.molecules:
            told = ", ".join(f"{count:,} {reason}" for reason, count in summary.left_out.items()) or "it holds none"
            raise ValueError(f"no molecule of {source} is left for a store ({told}).")
        if not known:
            writer.drop(ENERGY)
    return Store.open(target), summary


def failures_file(target: Path) -> Path:
    """Where molecules left out are told, with reasons: beside the store."""
    return target.with_name(f"{target.name}.failures.csv")


def _append(writer: StoreWriter, each: Selected, first: int, split: drugs.ConformerSplit | None) -> bool:
    """Writes the conformers of a molecule, if it has any; says whether the energies of all are known.

    first: the place of its lowest in the public code's table.
    """
    if each.found is None:
        return True
    count, atoms = each.found.numbers.shape
    ids = first + each.found.places
    writer.append(
        each.found.numbers.reshape(-1),
        each.found.positions.reshape(-1, 3),
        np.full(count, atoms),
        ids=ids,
        split=each.part if split is None else split.part[ids],
        group=np.full(count, each.group),
        **{ENERGY: each.found.energies.astype(np.float32)},
    )
    return bool(np.isfinite(each.found.energies).all())


def _entries(source: Path, allow_numpy: bool, read: Callable[[float], object]) -> tuple[int | None, Iterator[Entry]]:
    """Molecules of a folder or a file, and how many where that is known. read: told the share of a file."""
    if not source.is_dir():
        return None, geom_msgpack.entries(source, read)
    return len(geom_pickles.read_summary(source, "drugs")[1]), geom_pickles.entries(source, "drugs", allow_numpy)


def _source(source: Path, wanted: Wanted, split: drugs.ConformerSplit | None) -> str:
    told = f"{drugs.SOURCE}; {source.resolve().name}, the {wanted.most} lowest conformers of a molecule"
    told += ", neutral molecules alone" if wanted.neutral else ""
    return f"{told}; " + (
        "split by molecule (connectivity)"
        if split is None
        else f"split over conformers by {split.name} as published, which leaks molecules from train into valid and test"
    )


def _atoms(counts: Iterable[tuple[int, int]]) -> str:
    table = Chem.GetPeriodicTable()
    return ", ".join(f"{table.GetElementSymbol(number)} {count:,}" for number, count in counts)
