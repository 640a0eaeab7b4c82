"""GEOM to a file of ensembles: from its `rdkit_folder` or `drugs_crude.msgpack`, split by molecule or as published."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from coset.data import geom_msgpack, geom_pickles
from coset.data.ensemble_file import parts
from coset.data.ensemble_writer import EnsembleWriter, failures_file, write_failures
from coset.data.geom_molecules import MOST, Converted, Source, converted
from coset.data.pace import Pace

_FLIGHT = 8  # molecules handed to a process at a time, so that it never waits


@dataclass
class Summary:
    """What `build` did: molecules and conformers written, molecules and conformers left out by reason."""

    molecules: int = 0
    conformers: int = 0
    split: Counter[int] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    conformers_left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """In words."""
        shares = ", ".join(f"{self.split[i]:,} {name}" for i, name in enumerate(("train", "valid", "test")))
        told = [f"{self.molecules:,} molecules ({shares}), {self.conformers:,} conformers"]
        told += [f"molecules left out: {count:,} ({reason})" for reason, count in self.left_out.most_common()]
        return told + [
            f"conformers left out: {count:,} ({reason})" for reason, count in self.conformers_left_out.most_common()
        ]


def build(
    source: Path,
    out: Path,
    *,
    most: int = MOST,
    published: Path | None = None,
    subset: str | None = None,
    allow_numpy: bool = False,
    workers: int = 1,
    progress: Callable[[float, str], object] | None = None,
) -> Summary:
    """Writes the ensembles of GEOM's molecules, and those that failed with their reasons beside (`failures_file`).

    source: a folder or a .msgpack. most: conformers of a molecule, those of greatest weight (`ensemble_of`). published:
    a `split*.npy`, whose numbers count the sorted names of the folder's files; without it molecules are split by their
    connectivity (`ensemble_file.parts`). The published split goes by file, one for each SMILES: stereoisomers of a
    molecule may be in train and in test, so that what a model is tested on leaks into what it learns. progress: told
    the share done. Raises FileNotFoundError, and ValueError in one sentence; nothing is half-written then.
    """
    if most < 1:
        raise ValueError(f"A molecule keeps at least 1 conformer, got {most}.")
    named, pace = None, Pace(progress)
    if source.is_dir():
        named = _published(source, subset, published) if published else None
        total = len(geom_pickles.read_summary(source, subset)[1])
        sources = geom_pickles.sources(source, subset, allow_numpy)
    elif published:
        raise ValueError(f"the published split counts files of the rdkit_folder, and {source} is none; leave it out.")
    else:
        total, sources = None, geom_msgpack.sources(source, pace.read)
    made = Summary()
    failures: list[tuple[str, str, str]] = []
    with EnsembleWriter(out) as writer:
        for each in _all(sources, partial(converted, most=most), workers):
            reason, sentence = _append(each, writer, made, named)
            if reason:
                made.left_out[reason] += 1
                failures.append((each.source[0], reason, sentence))
            pace.molecule(total)
        # Before the file itself: where no molecule is left, that is an error.
        write_failures(failures_file(out), failures)
    return made


def _append(found: Converted, writer: EnsembleWriter, made: Summary, named: dict[str, int] | None) -> tuple[str, str]:
    """Writes a molecule, or says why not in a few words and in a sentence."""
    made.conformers_left_out += found.left_out
    if found.ensemble is None:
        return found.reason, found.sentence
    file = found.source[1]
    part = int(parts([found.ensemble.smiles])[0]) if named is None else named.get(file)
    if part is None:
        return "in no part of the split", f"{file} is in no part of the published split"
    writer.append(found.ensemble, part)
    made.molecules, made.conformers = made.molecules + 1, made.conformers + len(found.ensemble)
    made.split[part] += 1
    return "", ""


def _published(folder: Path, subset: str | None, path: Path) -> dict[str, int]:
    """The part of each file by its name."""
    names, rows = geom_pickles.file_names(folder, subset), geom_pickles.read_split(path)
    largest = max((int(each.max(initial=-1)) for each in rows), default=-1)
    if largest >= len(names) or min(int(each.min(initial=0)) for each in rows) < 0:
        raise ValueError(
            f"{path} counts files up to {largest:,}, and {folder} has {len(names):,}; the published splits need all "
            "files of their subset."
        )
    return {names[i]: part for part, each in enumerate(rows) for i in each.tolist()}


def _all(sources: Iterable[Source], convert: Callable[[Source], Converted], workers: int) -> Iterator[Converted]:
    """Results in order, from processes of their own where there is more than one; few sources are read ahead."""
    if workers < 2:
        yield from map(convert, sources)
        return
    flying: deque[Future[Converted]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for each in sources:
                flying.append(pool.submit(convert, each))
                if len(flying) > _FLIGHT * workers:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        except BrokenProcessPool:
            raise ValueError(
                "a process that read molecules ended; a damaged file may be to blame, use 1 worker to find out which."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
