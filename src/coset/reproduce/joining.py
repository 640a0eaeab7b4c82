"""Joining: how often molecules drawn around fragments of held-out molecules are valid and in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from coset.bonds import smiles, to_rdkit
from coset.data.catalog import Dataset, open_dataset
from coset.files import atomic_write
from coset.metrics.flags import flags
from coset.metrics.intervals import wilson_of_clusters
from coset.model import Model
from coset.molecule import Molecule
from coset.reproduce.quality_steps import fingerprint
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import check_known
from coset.samplers.fragments import check_fragment

NAME = "joining"
SMALLEST = 3  # heavy atoms of a part that is kept, in all
FREE = "free"


@dataclass(frozen=True)
class Study:
    """fragments: of each kind, each of another held-out molecule. draws: molecules around each."""

    data: str = "qm9"
    fragments: int = 50
    draws: int = 8
    steps: int = 100
    seed: int = 1


def run(
    study: Study,
    model: Model,
    folder: Path,
    kinds: Sequence[str] | None = None,
    resample: Sequence[int] = (1, 3),
    begin: Callable[[str], Callable[[float], None]] = lambda row: lambda done: None,
) -> Record:
    """Draws the rows that are not there yet: without a fragment, and of each kind at each number of resamplings.

    Raises ValueError for unknown kinds, and where the folder holds the rows of another model or study.
    """
    check_known("kind", kinds or (), KINDS)
    about = {"model": model.name, "weights": fingerprint(model), **asdict(study)}
    record = Record.open(NAME, folder, about)
    dataset = open_dataset(study.data)
    asked = {f"{kind}, resample {times}": (kind, times) for kind in kinds or KINDS for times in resample}
    for row, (kind, times) in {FREE: (FREE, 1), **asked}.items():
        if row not in record.rows:
            update = begin(row)
            drawn = _free(study, model, update) if kind == FREE else _around(study, model, dataset, kind, times, update)
            record.add(row, {"kind": kind, "resample": times} | drawn)
            _report(record, study, dataset)
    _report(record, study, dataset)
    return record


def _free(study: Study, model: Model, update: Callable[[float], None]) -> dict[str, Any]:
    count = study.fragments * study.draws
    drawn = model.draw(count, study.seed, steps=study.steps, progress=lambda done, total: update(done))
    joined, valid = _counts(drawn.molecules)
    return {"drawn": [1] * count, "joined": joined, "valid": sum(valid), "same": None}


def _around(
    study: Study, model: Model, dataset: Dataset, kind: str, times: int, update: Callable[[float], None]
) -> dict[str, Any]:
    """Of the sizes of the molecules that the fragments are of, so that there is something to draw."""
    joined: list[int] = []
    valid = same = 0
    for number, (whole, fragment) in enumerate(_fragments(study, model, dataset, kind)):
        options = {"steps": study.steps, "atoms": len(whole), "resample": times, "fix": fragment}
        drawn = model.draw(study.draws, study.seed + number, **options).molecules
        good, fine = _counts(drawn)
        joined.append(sum(good))
        valid += sum(fine)
        same += sum(_name(molecule) == _name(whole) for molecule in drawn)
        update(len(joined) * study.draws)
    if not joined:
        raise ValueError(f"no held-out molecule of {dataset.name} can be cut for a {kind}; choose among other kinds")
    return {"drawn": [study.draws] * len(joined), "joined": joined, "valid": valid, "same": same}


def _counts(molecules: Sequence[Molecule]) -> tuple[list[int], list[int]]:
    """1 for each molecule that is joined, and for each that is valid."""
    found = flags(molecules)
    return [int(flag["valid"] and flag["connected"]) for flag in found], [int(flag["valid"]) for flag in found]


def _name(molecule: Molecule) -> str:
    return smiles(to_rdkit(molecule))


def _fragments(study: Study, model: Model, dataset: Dataset, kind: str) -> Iterator[tuple[Molecule, Molecule]]:
    """Held-out molecules and what is left of them.

    Those without a cut of this kind are passed over, and those whose bonds by the distance rule RDKit refuses.
    """
    random = np.random.default_rng(study.seed)
    found = 0
    for row in random.permutation(_held_out(dataset)):
        numbers, positions = dataset.store[int(row)]
        whole = Molecule(numbers.astype(np.int64), positions.astype(np.float64))
        graph = to_rdkit(whole)
        if graph.GetProp("sanitized") == "false":  # RDKit knows no rings of what it refuses
            continue
        choices = list(KINDS[kind](graph))
        if not choices:
            continue
        kept = np.array(sorted(choices[random.integers(len(choices))]))
        fragment = Molecule(whole.numbers[kept], whole.positions[kept])
        with suppress(ValueError):  # a bond that is none by the distance rule
            check_fragment(fragment, model.vocabulary)
            yield whole, fragment
            found += 1
        if found == study.fragments:
            return


def _held_out(dataset: Dataset) -> NDArray[np.int64]:
    return dataset.test if len(dataset.test) else dataset.valid


def substituents(graph: Chem.Mol) -> Iterator[frozenset[int]]:
    """The larger part of a molecule for each single bond outside of rings between two heavy atoms."""
    for bond in _cuttable(graph):
        parts = _parts(graph, (bond,))
        yield max(parts, key=len)


def scaffolds(graph: Chem.Mol) -> Iterator[frozenset[int]]:
    """Rings and what links them (Bemis & Murcko 1996) with their hydrogens, if more than that is there."""
    rings = set(graph.GetSubstructMatch(MurckoScaffold.GetScaffoldForMol(graph)))
    core = {atom for atom in rings if graph.GetAtomWithIdx(atom).GetAtomicNum() > 1}
    if len(core) < SMALLEST or len(core) == graph.GetNumHeavyAtoms():
        return
    own = {near.GetIdx() for atom in core for near in graph.GetAtomWithIdx(atom).GetNeighbors() if _light(near)}
    yield frozenset(core | own)


def linkers(graph: Chem.Mol) -> Iterator[frozenset[int]]:
    """Both ends of a molecule, of two heavy atoms or more each, for each two bonds that part it in three in a row."""
    for pair in combinations(_cuttable(graph), 2):
        parts = _parts(graph, pair)
        middle = next(part for part in parts if all(part & set(bond) for bond in pair))
        ends = [part for part in parts if part is not middle]
        if all(sum(not _light(graph.GetAtomWithIdx(atom)) for atom in end) >= 2 for end in ends):
            yield frozenset().union(*ends)


KINDS: Mapping[str, Callable[[Chem.Mol], Iterator[frozenset[int]]]] = {
    "substituent": substituents,
    "scaffold": scaffolds,
    "linker": linkers,
}


def _light(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() == 1


def _cuttable(graph: Chem.Mol) -> list[tuple[int, int]]:
    """Single bonds outside of rings between heavy atoms."""
    single = Chem.BondType.SINGLE
    return [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        for bond in graph.GetBonds()
        if bond.GetBondType() == single and not bond.IsInRing() and not any(map(_light, _ends(bond)))
    ]


def _ends(bond: Chem.Bond) -> tuple[Chem.Atom, Chem.Atom]:
    return bond.GetBeginAtom(), bond.GetEndAtom()


def _parts(graph: Chem.Mol, bonds: Sequence[tuple[int, int]]) -> list[frozenset[int]]:
    cut = Chem.RWMol(graph)
    for bond in bonds:
        cut.RemoveBond(*bond)
    return [frozenset(part) for part in Chem.GetMolFrags(cut)]


def _report(record: Record, study: Study, dataset: Dataset) -> None:
    text = heading(
        record,
        f"{study.fragments} fragments of each kind, {study.draws} molecules around each in {study.steps} steps, drawn "
        f"with {record.settings['model']} (CRC-32 of the weights {record.settings['weights']})",
        str(study.seed),
        f"{dataset.name}: {len(_held_out(dataset)):,} molecules held out",
    )
    headings = ["kept", "resample", "fragments", "drawn", "joined %", "valid %", "the molecule that was cut %"]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, [_line(row) for row in record.rows.values()]) + NOTES)


NOTES = """
Joined: valid and in one piece, with its 95 % interval (Wilson; draws around one fragment are not independent, which
widens it). Free: molecules drawn without a fragment. Kept of a held-out molecule is the larger part at a bond
(substituent), its rings with what links them (scaffold), or its two ends (linker); molecules are drawn at its size.
"""


def _line(row: Mapping[str, Any]) -> list[str]:
    joined, each = np.array(row["joined"]), np.array(row["drawn"])
    low, high = wilson_of_clusters(joined, each)
    drawn, around = each.sum(), row["kind"] != FREE
    return [
        row["kind"],
        str(row["resample"]) if around else "",
        str(len(each)) if around else "",
        f"{drawn:,}",
        f"{100 * joined.sum() / drawn:.1f} ({100 * low:.1f} - {100 * high:.1f})",
        f"{100 * row['valid'] / drawn:.1f}",
        f"{100 * row['same'] / drawn:.1f}" if around else "",
    ]
