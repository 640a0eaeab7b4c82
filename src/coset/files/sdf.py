"""SD files: records of a MOL block (V2000 or V3000) and data tags. Only atoms, coordinates and tags are kept.

The format: BIOVIA, CTfile Formats, 2020. Its tables are checked against their counts, since a wrong count moves atoms
between tables without any other sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from coset.files.text import atomic_number, real, shown, value
from coset.molecule import Molecule, Property

Atoms = tuple[list[int], list[list[float]]]
_TAG = re.compile(r">[^<]*<([^>]*)>")
_END = "M  END"
_PROPERTY = re.compile(r"[MAGVS]  ")


def records(lines: Iterator[str]) -> Iterator[list[str]]:
    """The lines of one record after the other, without $$$$; the last may lack it, as a MOL file does."""
    record: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            record.append("")  # ends the last tag
            yield record
            record = []
        else:
            record.append(line)
    if any(line.strip() for line in record):
        yield record


def molecule(record: list[str]) -> Molecule:
    """The molecule of a record: D and T are hydrogen, charges, isotopes and bonds are dropped, nothing is added.

    Raises ValueError for what is no MOL block, for counts that do not fit, and for drawings, whose coordinates
    are not Angstrom: their header says 2D and every z is zero.
    """
    if not any(line.strip() for line in record):
        raise ValueError("holds no MOL block")
    end = next((i for i, line in enumerate(record) if line.startswith(_END)), None)
    if end is None:
        raise ValueError(f"the MOL block is cut: no line {_END!r}")
    block = record[:end]
    if len(block) < 4:
        raise ValueError(f"expected 3 header lines and a counts line before {_END!r}, got {len(block)} lines")
    version = re.search(r"V[0-9]{4}", block[3])
    if version is None or version[0] == "V2000":
        numbers, positions = _fixed_atoms(block)
    elif version[0] == "V3000":
        numbers, positions = _free_atoms(_joined(block[4:]))
    else:
        raise ValueError(f"expected version V2000 or V3000, got {version[0]}")
    if not numbers:
        raise ValueError("holds no atoms")
    if block[1][20:22] == "2D" and len(numbers) > 1 and not any(z for _, _, z in positions):
        raise ValueError("is a 2D drawing, whose coordinates are not Angstrom; make 3D coordinates first")
    return Molecule(np.array(numbers), np.array(positions), _tags(record[end + 1 :]))


def _fixed_atoms(block: list[str]) -> Atoms:
    """Atoms of a V2000 block: columns of fixed width."""
    counts = block[3][:3].strip(), block[3][3:6].strip()
    if not all(count.isascii() and count.isdigit() for count in counts):
        raise ValueError(f"expected a counts line in line 4, got {shown(block[3])}")
    atoms, bonds = map(int, counts)
    if len(block) < 4 + atoms + bonds:
        raise ValueError(f"expected {atoms} atoms and {bonds} bonds, got {len(block) - 4} lines for them")
    numbers, positions = [], []
    for place, line in enumerate(block[4 : 4 + atoms], start=1):
        with_place = f"atom {place}"
        positions.append(_position((line[:10], line[10:20], line[20:30]), with_place))
        numbers.append(_number(line[31:34].strip(), with_place))
    for place, line in enumerate(block[4 + atoms : 4 + atoms + bonds], start=1):
        ends = line[:3].strip(), line[3:6].strip()
        if not all(end.isascii() and end.isdigit() and 1 <= int(end) <= atoms for end in ends):
            raise ValueError(f"bond {place}: expected two of {atoms} atoms, got {shown(line)}; check the counts line")
    following = next(iter(block[4 + atoms + bonds :]), "")
    if following.strip() and not _PROPERTY.match(following) and not _obsolete(block[3]):
        raise ValueError(
            f"expected {atoms} atoms and {bonds} bonds, got one more: {shown(following)}; check the counts line"
        )
    return numbers, positions


def _obsolete(counts: str) -> bool:
    """Whether the counts line announces atom lists or texts, which stand between bonds and properties."""
    return any(field.strip() not in ("", "0") for field in (counts[6:9], counts[15:18]))


def _free_atoms(rows: Iterator[list[str]]) -> Atoms:
    """Atoms of a V3000 block: words, in tables between BEGIN and END."""
    declared, table, inside = None, "", False
    found = {"ATOM": 0, "BOND": 0}
    numbers, positions = [], []
    for words in rows:
        if words[0] == "COUNTS" and declared is None:
            declared = _counts(words)
        elif words[0] in ("BEGIN", "END"):
            table = words[1] if words[0] == "BEGIN" and len(words) > 1 else ""
            inside = inside or table == "CTAB"
            if words[:2] == ["END", "CTAB"]:
                break
        elif table in found:
            found[table] += 1
            if table == "ATOM":
                with_place = f"atom {found[table]}"
                numbers.append(_number(words[1] if len(words) > 1 else "", with_place))
                positions.append(_position(words[2:5], with_place))
    if declared is None or not inside:
        raise ValueError("the V3000 block lacks its CTAB or its COUNTS")
    if declared != tuple(found.values()):
        raise ValueError(
            f"COUNTS declares {declared[0]} atoms and {declared[1]} bonds, the tables hold {found['ATOM']} and "
            f"{found['BOND']}"
        )
    return numbers, positions


def _joined(lines: list[str]) -> Iterator[list[str]]:
    """Words of the V30 lines; a line that ends in - goes on in the next."""
    start = ""
    for line in lines:
        if not line.startswith("M  V30"):
            raise ValueError(f"expected a line of 'M  V30', got {shown(line)}")
        text = start + line[6:].strip()
        start = text[:-1] if text.endswith("-") else ""
        if not start and (words := text.split()):
            yield words
    if start:
        raise ValueError("the last V30 line announces another one")


def _counts(words: list[str]) -> tuple[int, int]:
    if len(words) < 3 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words[1:3]):
        raise ValueError(f"expected COUNTS with the numbers of atoms and bonds, got {shown(' '.join(words))}")
    return int(words[1]), int(words[2])


def _position(fields, place: str) -> list[float]:
    try:
        if len(fields) != 3:
            raise ValueError(f"expected three coordinates, got {len(fields)}")
        return [real(field.strip()) for field in fields]
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _number(symbol: str, place: str) -> int:
    try:
        if symbol.isdigit():  # an element is named here, never numbered: a shifted column
            raise ValueError(f"expected an element, got {shown(symbol)}")
        return atomic_number(symbol)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _tags(lines: list[str]) -> dict[str, Property]:
    """Data tags as properties. A tag ends with a blank line; anything else between tags is a fault."""
    tags: dict[str, Property] = {}
    name, held = None, []
    for line in lines:
        if name is not None and line.strip():
            held.append(line)
        elif name is not None:
            tags[name] = value("\n".join(held))
            name, held = None, []
        elif found := _TAG.match(line):
            name = found[1]
        elif line.startswith(">"):
            name = line[1:].strip()  # DTn, or a registry number: a tag without a name in < >
        elif line.strip():
            raise ValueError(f"expected a data tag or $$$$ after the MOL block, got {shown(line)}")
    if name is not None:
        raise ValueError(f"the file ends within the data tag {shown(name)}; it was cut")
    return tags
