"""Stores of a user's own molecules: folders and files of SDF, XYZ and NPZ, read one molecule at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from coset.data.download import Progress
from coset.data.grouping import hash_geometry, hash_key, skeleton
from coset.data.properties import NumericColumns
from coset.data.splits import split_groups
from coset.data.store import Store
from coset.data.writer import StoreWriter
from coset.files import READABLE, iterate
from coset.molecule import Molecule, Vocabulary, element_symbol

_CHUNK, _TOLD = 1024, 200  # molecules in memory, and between two words on progress
_EXAMPLES = 5
_GEOMETRY = "geometry"  # a column while the store grows, to count duplicates by


@dataclass(frozen=True)
class Selection:
    """What goes into a store, and where.

    vocabulary: atomic numbers allowed, which are also those a model of the store will know; None takes what
    occurs. valid, test: shares of the molecules. seed: of the split. skip_bad: leave out and count what cannot
    be read or has other elements, in place of raising. group_by: the property whose value molecules that must
    stay together share; `grouping.skeleton` without.
    """

    vocabulary: tuple[int, ...] | None = None
    valid: float = 0.05
    test: float = 0.05
    seed: int = 0
    skip_bad: bool = False
    group_by: str | None = None

    def __post_init__(self) -> None:
        if self.vocabulary is not None:
            Vocabulary(self.vocabulary)
        split_groups(np.arange(10**4), self.valid, self.test)  # refuses wrong shares before the work is done


@dataclass
class Summary:
    """What `build` did. skipped: molecules or rests of files left out, by reason; examples: the first sentences.

    groups: different molecules, conformers taken together. duplicates: molecules at the very places of an earlier
    one, which are kept. columns: properties kept; dropped: those that some molecule lacks or has as text.
    """

    files: int = 0
    molecules: int = 0
    groups: int = 0
    duplicates: int = 0
    columns: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def skip(self, reason: str, sentence: str) -> None:
        self.skipped[reason] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(sentence)

    def lines(self) -> list[str]:
        """For people: what is in the store beside what `Dataset.describe` says, and what is not."""
        told = [f"read from {_count(self.files, 'file')}: {_count(self.groups, 'different molecule')}"]
        if self.duplicates:
            told.append(f"duplicates: {_count(self.duplicates, 'molecule')} at the places of an earlier one (kept)")
        if self.dropped:
            told.append(f"properties left out (absent or no number somewhere): {', '.join(self.dropped)}")
        told += [f"skipped: {count:,} ({reason})" for reason, count in self.skipped.most_common()]
        more = sum(self.skipped.values()) - len(self.examples)
        return told + [f"  {each}" for each in self.examples] + ([f"  and {more:,} more"] if more > 0 else [])


def find_files(sources: Iterable[str | Path]) -> list[Path]:
    """Files given, and those that can be read in the folders given and below, each once, folder by folder in order.

    Hidden files and folders are passed over. Raises FileNotFoundError for what is not there and folders without any.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(
                path
                for path in source.rglob("*")
                if path.name.lower().endswith(READABLE)
                and path.is_file()
                and not any(part.startswith(".") for part in path.relative_to(source).parts)
            )
            if not inside:
                raise FileNotFoundError(f"{source} and its folders hold no file named {', '.join(READABLE)}.")
            found |= dict.fromkeys(inside)
        elif source.is_file():
            found[source] = None
        else:
            raise FileNotFoundError(f"there is no file or folder {source}; check the path.")
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def build(
    sources: Sequence[str | Path],
    target: str | Path,
    selection: Selection | None = None,
    *,
    packed: bool = False,
    progress: Progress | None = None,
) -> tuple[Store, Summary]:
    """A store of the molecules in files and folders (`find_files`), in order; ids are their place from 0.

    Positions are centred. Numeric properties that every molecule has become columns of float64 (`column_names`);
    `group` is the same for all that must stay together. Memory holds about a thousand molecules at a time (an .npz
    as a whole), and 16 bytes of each at the end. Raises FileNotFoundError, FileExistsError, and ValueError naming
    file and record; leaves nothing then.
    """
    selection = selection or Selection()
    files = find_files(sources)
    summary = Summary(files=len(files))
    source = f"{', '.join(Path(each).resolve().name for each in sources)} ({_count(len(files), 'file')})"
    with StoreWriter(target, source=source, packed=packed, vocabulary=selection.vocabulary or ()) as writer:
        columns = NumericColumns()
        for chunk in _chunks(_molecules(files, selection, summary, progress)):
            keys = [_group(molecule, selection) for molecule in chunk]
            centred = [molecule.positions - molecule.positions.mean(0) for molecule in chunk]
            writer.append(
                np.concatenate([molecule.numbers for molecule in chunk]),
                np.concatenate(centred),
                np.array([len(molecule) for molecule in chunk]),
                **{"group": np.array(keys), _GEOMETRY: np.array([hash_geometry(each) for each in chunk])},
                **columns.values(chunk),
            )
        if not writer.molecules:
            told = "; ".join([f"{count} skipped: {reason}" for reason, count in summary.skipped.items()])
            raise ValueError(f"no molecule of {source} is left for a store ({told}).")
        group, geometry = np.array(writer.column("group")), np.array(writer.column(_GEOMETRY))
        summary.molecules, summary.groups = writer.molecules, len(np.unique(group))
        summary.duplicates = writer.molecules - len(np.unique(geometry))
        writer.replace("split", split_groups(group, selection.valid, selection.test, selection.seed))
        writer.drop(_GEOMETRY)
        summary.columns, summary.dropped = columns.complete(), sorted(columns.incomplete | columns.late)
        for name in columns.incomplete:
            writer.drop(columns.names[name])
    return Store.open(target), summary


def _molecules(
    files: Sequence[Path], selection: Selection, summary: Summary, progress: Progress | None
) -> Iterator[Molecule]:
    """Molecules that belong into the store, in order; others raise, or are skipped and counted."""
    sizes = [path.stat().st_size for path in files]
    done, count, clock = 0, 0, time.monotonic()
    for path, size in zip(files, sizes, strict=True):
        for molecule in _readable(path, selection, summary):
            count += 1
            if progress and count % _TOLD == 0:
                rate = count / max(time.monotonic() - clock, 1e-9)
                progress(done / sum(sizes), f"{count:,} molecules, {rate:,.0f}/s")
            yield molecule
        done += size


def _readable(path: Path, selection: Selection, summary: Summary) -> Iterator[Molecule]:
    """Molecules of one file that the selection lets pass."""
    failures = 0

    def unreadable(error: ValueError) -> None:
        nonlocal failures
        failures += 1
        summary.skip("cannot be read", str(error))

    molecules = iterate(path, on_error=unreadable if selection.skip_bad else None)
    passed = 0
    while True:
        try:
            molecule = next(molecules)
        except StopIteration:
            return
        except ValueError as error:
            if not selection.skip_bad:
                raise ValueError(f"{str(error).rstrip('.')}; mend it, or leave it out with --skip-bad.") from None
            summary.skip("rest of a file that cannot be read", str(error))
            return
        passed += 1
        if fault := _fault(molecule, selection):
            reason, sentence = fault
            sentence = f"{path}, record {passed + failures}: {sentence}"
            if not selection.skip_bad:
                raise ValueError(f"{sentence}; name it there, or leave such molecules out with --skip-bad.")
            summary.skip(reason, f"{sentence}.")
            continue
        yield molecule


def _fault(molecule: Molecule, selection: Selection) -> tuple[str, str] | None:
    """Why the selection refuses a molecule: a reason to count by, and a sentence."""
    if selection.group_by is not None and selection.group_by not in molecule.properties:
        return f"no property {selection.group_by}", f"no property {selection.group_by!r} to group by"
    if selection.vocabulary is None:
        return None
    allowed = ", ".join(element_symbol(number) for number in selection.vocabulary)
    strange = sorted(set(molecule.numbers.tolist()) - set(selection.vocabulary))
    if not strange:
        return None
    return f"elements outside {allowed}", f"element {element_symbol(strange[0])} is not among the given {allowed}"


def _chunks(molecules: Iterator[Molecule]) -> Iterator[list[Molecule]]:
    while chunk := list(islice(molecules, _CHUNK)):
        yield chunk


def _group(molecule: Molecule, selection: Selection) -> int:
    if selection.group_by is None:
        return hash_key(skeleton(molecule))
    return hash_key(str(molecule.properties[selection.group_by]))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
