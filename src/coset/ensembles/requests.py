"""Requests: the molecules that conformers are asked of, from a SMILES or a file; every fault stays with its line."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rdkit import Chem, rdBase

from coset.graphs.graph import read_smiles, with_hydrogens

LONGEST = 10_000  # characters of a SMILES: 512 atoms need fewer
READABLE = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".sdf", ".mol")
_NAMES = ("name", "id", "title", "identifier", "compound", "mol_id", "compound_id")
_HEADINGS = ("smiles", "canonical_smiles", "isomeric_smiles")
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ufffd]")


@dataclass(frozen=True)
class Request:
    """line: where it stands in its file, from 1. text: a SMILES, or a MOL block. fault: why there can be no molecule.
    given: the molecule itself, in the place of a text."""

    line: int
    name: str
    text: str
    block: bool = False
    fault: str | None = None
    given: Chem.Mol | None = None

    @property
    def smiles(self) -> str:
        """As given; empty where a MOL block was."""
        return "" if self.block else self.text

    def mol(self) -> Chem.Mol:
        """With explicit hydrogens, after the atoms given, in their order. Raises ValueError: one sentence."""
        if self.fault is not None:
            raise ValueError(self.fault)
        if self.given is not None:
            return with_hydrogens(self.given)
        if not self.block:
            return read_smiles(self.text)
        with rdBase.BlockLogs():
            found = Chem.MolFromMolBlock(self.text, sanitize=True, removeHs=False)
        if found is None:
            raise ValueError("RDKit cannot read this MOL block; check its counts, bonds and valences.")
        return with_hydrogens(found)


def requests(source: str) -> list[Request]:
    """Of one SMILES, or of a file: SMILES and names a line (.smi, .txt), a table with a column of SMILES (.csv, .tsv),
    or MOL blocks (.sdf); gzipped where the name ends in .gz.

    UTF-8, what a byte order mark says, UTF-16 without one, or Latin-1 line by line. Raises FileNotFoundError, and
    ValueError for a file without molecules, a table without SMILES, or one SMILES that is none.
    """
    path = Path(source)
    suffix = Path(source.lower().removesuffix(".gz")).suffix
    if suffix not in READABLE:
        return [_single(source)]
    text = text_of(path)
    if suffix in (".sdf", ".mol"):
        found = [_of_record(line, record) for line, record in records(text)]
    elif suffix in (".csv", ".tsv"):
        found = list(_of_table(path, text))
    else:
        found = list(_of_lines(text))
    if not found:
        raise ValueError(f"{path} holds no molecule.")
    return found


def text_of(path: Path) -> list[str]:
    """The lines of a text file in whatever encoding. Raises FileNotFoundError, or ValueError for damaged gzip."""
    if path.is_dir():
        raise ValueError(f"Cannot read {path}: it is a folder; give a file in it.")
    if not path.is_file():
        raise FileNotFoundError(f"Cannot read {path}: there is no such file; check the path.")
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file ({str(error).rstrip('.')}); copy it again.") from None
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _unmarked(data)
    if encoding == "utf-8":
        lines = re.split(rb"\r\n|\n|\r", data[len(mark) :])
        return [_decoded(line) for line in lines]
    return re.split(r"\r\n|\n|\r", data[len(mark) :].decode(encoding, "replace"))


def records(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The records of an SD file, each with the number of its first line; the last may lack its $$$$."""
    start = 0
    for number, line in enumerate(lines):
        if line.startswith("$$$$"):
            yield start + 1, lines[start:number]
            start = number + 1
    if any(line.strip() for line in lines[start:]):
        yield start + 1, lines[start:]


def _single(text: str) -> Request:
    try:
        request = of_smiles(text)
        request.mol()
    except ValueError as error:
        if len(text) < 200 and Path(text).is_file():
            known = ", ".join(READABLE)
            raise ValueError(f"Cannot read {text}: expected a SMILES, or a name that ends in {known}.") from None
        raise ValueError(f"{' '.join(str(error).split()).rstrip('.')}.") from None
    return request


def of_smiles(smiles: str, line: int = 1, name: str = "", fault: str | None = None) -> Request:
    """With what RDKit must not see told as a fault: it reads a text up to a NUL, and long ones for minutes."""
    if fault is None and _UNPRINTABLE.search(smiles):
        fault = "The SMILES holds a character that is no text; the line is broken."
    if fault is None and len(smiles) > LONGEST:
        fault = f"The SMILES has {len(smiles):,} characters, more than the {LONGEST:,} that are read."
    smiles = smiles.strip()
    printable = _UNPRINTABLE.sub(" ", smiles) if fault else smiles
    return Request(line, _named(name), printable[:200] if fault else printable, fault=fault)


def _of_lines(lines: list[str]) -> Iterator[Request]:
    """SMILES, then white space and a name; CXSMILES between bars. Lines that are empty or begin with # are skipped."""
    for number, line in enumerate(lines, start=1):
        smiles, _, name = line.strip().replace("\t", " ").partition(" ")
        if not smiles or smiles.startswith("#") or (number == 1 and smiles.lower() in _HEADINGS):
            continue
        if extension := re.match(r"\s*(\|[^|]*\|)", name):
            smiles, name = f"{smiles} {extension[1]}", name[extension.end() :]
        yield of_smiles(smiles, number, name)


def _of_table(path: Path, lines: list[str]) -> Iterator[Request]:
    """Rows of one line each, so that a quotation mark left open harms its own row alone."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    delimiter = max("\t;,", key=lines[first].count)
    headings = [cell.strip().lower() for cell in next(csv.reader([lines[first]], delimiter=delimiter))]
    column = next((headings.index(name) for name in _HEADINGS if name in headings), None)
    if column is None:
        told = ", ".join(headings)[:200]
        raise ValueError(f"{path} has no column smiles; its first line names {_UNPRINTABLE.sub(' ', told)}.")
    named = next((headings.index(name) for name in _NAMES if name in headings), None)
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        if not line.strip():
            continue
        if line.count('"') % 2:
            yield of_smiles(line, number, fault="The line ends within a quotation; each row is one line.")
            continue
        row = next(csv.reader([line[: 10 * LONGEST]], delimiter=delimiter))
        if column >= len(row) or not row[column].strip():
            told = f"The row has no SMILES: {len(row)} of {len(headings)} columns are there."
            yield of_smiles(line, number, fault=told)
            continue
        yield of_smiles(row[column], number, row[named] if named is not None and named < len(row) else "")


def _of_record(line: int, record: list[str]) -> Request:
    fault = None if any(each.strip() for each in record) else "The record is empty."
    if any("\0" in each for each in record):
        fault = "The record holds a NUL byte; it is broken."
    return Request(line, _named(record[0] if record else ""), "\n".join(record), True, fault)


def _named(name: str) -> str:
    """A name that fits a line of any file."""
    return _UNPRINTABLE.sub(" ", name.replace("\t", " ")).replace("$$$$", "$$$ $").strip()[:200]


def _unmarked(data: bytes) -> str:
    """UTF-16 shows by a NUL in every other byte."""
    head = data[: 2**16]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 3 and head[first::2].count(0) > 0.4 * len(head) / 2:
            return encoding
    return "utf-8"


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
