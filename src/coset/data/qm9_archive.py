"""QM9's own archive, `dsgdb9nsd.xyz.tar.bz2` with `uncharacterized.txt`, into a molecule store.

The archive is read from front to back and never unpacked: one file of it is in memory at a time, none on disk.
"""

from __future__ import annotations

import bz2
import os
import re
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coset.data import qm9
from coset.data.download import Progress, Remote, fetch
from coset.data.layout import SPLITS
from coset.data.store import Store
from coset.data.writer import StoreWriter

# Sizes and sums as figshare states them (collection 978904).
FIGSHARE = "https://ndownloader.figshare.com/files/"
ARCHIVE = Remote("dsgdb9nsd.xyz.tar.bz2", FIGSHARE + "3195389", size=86_144_227, md5="ad1ebd51ee7f5b3a6e32e974e5d54012")
EXCLUDED = Remote("uncharacterized.txt", FIGSHARE + "3195404", size=486_752, md5="a361887bacb427b8a0ce7903d92a53b4")
MIRROR = "COSET_QM9_MIRROR"  # names an address under which both files lie, in place of figshare

# The 15 properties of a comment line in their order, in the units of the file (Ramakrishnan et al. 2014, table 3).
PROPERTIES = {
    "A": "GHz", "B": "GHz", "C": "GHz", "mu": "D", "alpha": "Bohr^3", "homo": "hartree", "lumo": "hartree",
    "gap": "hartree", "r2": "Bohr^2", "zpve": "hartree", "U0": "hartree", "U": "hartree", "H": "hartree",
    "G": "hartree", "Cv": "cal/(mol K)",
}  # fmt: skip
SYMBOLS = dict(zip("HCNOF", qm9.ELEMENTS, strict=True))
_NAME = re.compile(r"(?:.*/)?dsgdb9nsd_(\d{6})\.xyz")
_LARGEST = 1 << 16  # bytes of a molecule's file; the real ones stay below 6,000
_CHUNK, _TOLD = 4096, 500  # molecules written at a time, and between two words on progress


@dataclass(frozen=True)
class Record:
    """One molecule of the archive. gdb_id: from 1. numbers (n,), positions (n, 3) in Angstrom, properties (15,)."""

    gdb_id: int
    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    properties: NDArray[np.float64]


def download(folder: str | Path, mirror: str | None = None, progress: Progress | None = None) -> tuple[Path, Path]:
    """Archive and list in the folder, downloaded where they are not there; see `fetch`.

    mirror: an address under which both lie by their names; without it $COSET_QM9_MIRROR, without that figshare.
    """
    mirror = mirror or os.environ.get(MIRROR)
    remotes = (EXCLUDED, ARCHIVE)
    if mirror:
        remotes = [Remote(each.name, f"{mirror.rstrip('/')}/{each.name}", each.size, each.md5) for each in remotes]
    try:
        excluded, archive = (fetch(remote, Path(folder), progress) for remote in remotes)
    except (ConnectionError, ValueError) as error:
        raise type(error)(f"{error} (--mirror or {MIRROR} name an address that holds both files of QM9).") from error
    return archive, excluded


def read_excluded(path: str | Path) -> set[int]:
    """gdb_id (from 1) of the molecules in `uncharacterized.txt`: lines that begin with an integer."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; QM9's list of molecules to leave out is expected there.")
    first = (line.split(maxsplit=1)[:1] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {int(words[0]) for words in first if words and words[0].isdecimal() and words[0].isascii()}


def build(
    archive: str | Path,
    excluded: str | Path,
    target: str | Path,
    *,
    packed: bool = False,
    partial: bool = False,
    progress: Progress | None = None,
) -> Store:
    """A store of QM9 in the standard split (see `qm9.split`), in the order of the archive; ids are gdb_id.

    Its further columns are the 15 properties, in the units of the file (`PROPERTIES`), nothing subtracted. The
    3,054 molecules of `excluded` are left out, after a check against the list that coset carries. partial:
    accepts an archive that holds only some molecules; without it all 133,885 must be there. Raises
    FileNotFoundError, FileExistsError, and ValueError for what is no such archive; leaves nothing then.
    """
    leave = _check_excluded(read_excluded(excluded), Path(excluded), partial)
    part_of = np.full(qm9.TOTAL + 1, len(SPLITS), dtype=np.uint8)
    for number, ids in enumerate(qm9.split()):
        part_of[ids + 1] = number
    seen = np.zeros(qm9.TOTAL + 1, dtype=bool)
    about = {"name": "qm9", "source": qm9.SOURCE, "licence": qm9.LICENCE, "vocabulary": qm9.ELEMENTS}
    with StoreWriter(target, packed=packed, units=PROPERTIES, **about) as writer:
        chunk: list[Record] = []
        for record in records(archive, progress):
            if not 1 <= record.gdb_id <= qm9.TOTAL or seen[record.gdb_id]:
                raise ValueError(f"{archive}: molecule {record.gdb_id} comes twice or is none of 1 to {qm9.TOTAL:,}.")
            seen[record.gdb_id] = True
            if (part_of[record.gdb_id] == len(SPLITS)) != (record.gdb_id in leave):
                raise ValueError(f"{excluded} and the standard list disagree on molecule {record.gdb_id} of QM9.")
            if record.gdb_id not in leave:
                chunk.append(record)
            if len(chunk) == _CHUNK:
                _append(writer, chunk, part_of)
                chunk = []
        _append(writer, chunk, part_of)
        if not partial and seen.sum() != qm9.TOTAL:
            raise ValueError(f"{archive} holds {seen.sum():,} molecules, QM9 has {qm9.TOTAL:,}; download it again.")
        if not writer.molecules:
            raise ValueError(f"{archive} holds no molecule of QM9 that is not on the list {excluded}.")
    return Store.open(target)


def records(archive: str | Path, progress: Progress | None = None) -> Iterator[Record]:
    """The molecules of the archive one by one. Raises FileNotFoundError, or ValueError naming the faulty member."""
    path = Path(archive)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; QM9's archive {ARCHIVE.name} is expected there.")
    clock, count = time.monotonic(), 0
    try:
        # Names are only looked at, nothing is written by them. tarfile's own "r|bz2" expands a whole block of input
        # at once, however much it holds; bz2 gives as much as is asked for.
        with path.open("rb") as raw, bz2.open(raw) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # else it keeps all headers: 130 MB
                if not member.isfile():
                    continue
                name = _NAME.fullmatch(member.name)
                content = tar.extractfile(member) if name and member.size <= _LARGEST else None
                if not name or not content:
                    raise ValueError(f"{path}: {member.name[:80]!r} is no molecule of QM9 (dsgdb9nsd_NNNNNN.xyz).")
                yield parse(content.read(), int(name[1]), f"{path}, {member.name}")
                count += 1
                if progress and count % _TOLD == 0:
                    rate = count / (time.monotonic() - clock)
                    progress(raw.tell() / path.stat().st_size, f"{count:,} molecules, {rate:,.0f}/s")
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is not a whole .tar.bz2 archive ({error}); download it again.") from None


def parse(content: bytes, number: int, where: str) -> Record:
    """One file of the archive: n, comment, n atoms, frequencies, SMILES, InChI; `1.5*^-6` stands for 1.5e-6.

    number: the one in its name, which the comment repeats. where: named in errors. Raises ValueError.
    """
    lines = content.decode("ascii", errors="replace").replace("*^", "e").splitlines()
    try:
        count, comment = int(lines[0]), lines[1].split()
        atoms = [line.split() for line in lines[2 : 2 + count]]
        if len(lines) != count + 5 or count < 1:
            raise ValueError(f"{len(lines)} lines, {count + 5} expected for {count} atoms")
        if comment[:2] != ["gdb", str(number)] or len(comment) != 2 + len(PROPERTIES):
            raise ValueError(f"the second line should hold 'gdb {number}' and {len(PROPERTIES)} numbers")
        numbers = np.array([SYMBOLS[fields[0]] for fields in atoms], dtype=np.uint8)
        positions = np.array([fields[1:4] for fields in atoms], dtype=np.float64)
        properties = np.array(comment[2:], dtype=np.float64)
        if positions.shape != (count, 3) or not (np.isfinite(positions).all() and np.isfinite(properties).all()):
            raise ValueError("an atom's line should hold an element and three finite numbers")
    except KeyError as error:
        raise ValueError(f"{where}: element {error} is none of QM9's {', '.join(SYMBOLS)}.") from None
    except (ValueError, IndexError) as error:
        raise ValueError(f"{where} is no file of QM9's format: {error}.") from None
    return Record(number, numbers, positions, properties)


def _check_excluded(listed: set[int], path: Path, partial: bool) -> set[int]:
    """The list as it is, once it is known to agree with the one that coset carries."""
    known = set((qm9.excluded_ids() + 1).tolist())
    if not (listed <= known if partial else listed == known):
        raise ValueError(
            f"{path} lists {len(listed):,} molecules, {len(listed - known):,} of them not on the standard list of "
            f"{len(known):,}; it is not QM9's uncharacterized.txt, or not all of it; download it again."
        )
    return listed


def _append(writer: StoreWriter, chunk: list[Record], part_of: NDArray[np.uint8]) -> None:
    if not chunk:
        return
    ids = np.array([record.gdb_id for record in chunk])
    properties = np.stack([record.properties for record in chunk])
    writer.append(
        np.concatenate([record.numbers for record in chunk]),
        np.concatenate([record.positions for record in chunk]),
        np.array([len(record.numbers) for record in chunk]),
        ids=ids,
        split=part_of[ids],
        **dict(zip(PROPERTIES, properties.T, strict=True)),
    )
