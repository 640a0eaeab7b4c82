"""XYZ files: frames of a count, a comment and the atoms; extended XYZ and QM9's own files too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice

import numpy as np

from coset.files.text import Broken, atomic_number, real, shown, value
from coset.molecule import Molecule, Property

COLUMNS = "species:S:1:pos:R:3"
_COUNT = re.compile(r"\s*([0-9]{1,9})\s*")
# Words of a comment, `key=value` among them; either side may stand in double quotes, with JSON escapes. Every start
# consumes its word (possessive ++), else a long comment without = would take quadratic time.
_TEXT = r'"(?:[^"\\]|\\.)*+"?+'
_WORD = re.compile(rf'({_TEXT}|[^\s="]++)(?:(=)({_TEXT}|[^\s"]*+))?+|=')


def records(lines: Iterator[str]) -> Iterator[list[str]]:
    """The lines of one frame after the other: count, comment, as many atoms as there are of those declared."""
    ahead: list[str] = []
    while (line := ahead.pop() if ahead else next(lines, None)) is not None:
        if not line.strip():
            continue
        count = _COUNT.fullmatch(line)
        if count is None:
            raise Broken(f"expected the number of atoms, got {shown(line)}")
        frame = [line, *islice(lines, 1 + int(count[1]))]
        yield frame
        if len(frame) > 1 and frame[1].startswith("gdb "):
            # QM9's files go on with frequencies (never one integer alone), SMILES and InChI.
            ahead = list(islice(lines, 1))
            if ahead and not _COUNT.fullmatch(ahead[0]):
                ahead = list(islice(lines, 2))[2:]


def molecule(frame: list[str]) -> Molecule:
    """The molecule of a frame; keys of an extended XYZ comment are its properties, or else the comment is."""
    count = int(frame[0])
    properties = parse_comment(frame[1]) if len(frame) > 1 else {}
    symbol, position = _columns(str(properties.pop("Properties", COLUMNS)))
    if count == 0:
        raise ValueError("holds no atoms")
    if len(frame) < 2 + count:
        raise ValueError(f"expected {count} lines of an element and three numbers, got {max(len(frame) - 2, 0)}")
    numbers, positions = [], []
    for place, line in enumerate(frame[2:], start=1):
        fields = line.split()
        if len(fields) < max(symbol + 1, position + 3):
            raise ValueError(
                f"expected {count} lines of an element and three numbers, got {shown(line)} for atom {place}"
            )
        try:
            numbers.append(atomic_number(fields[symbol]))
            positions.append([real(field) for field in fields[position : position + 3]])
        except ValueError as error:
            raise ValueError(f"atom {place}: {error}") from None
    return Molecule(np.array(numbers), np.array(positions), properties)


def parse_comment(comment: str) -> dict[str, Property]:
    """Keys and values of an extended XYZ comment, or the comment as a whole; linear in its length."""
    pairs = [match.group(1, 3) for match in _WORD.finditer(comment) if match[2]]
    if not pairs:
        return {"comment": comment.strip()} if comment.strip() else {}
    return {str(_unquoted(name)): _unquoted(text) if text[:1] == '"' else value(text) for name, text in pairs}


def quoted(text: Property) -> str:
    """A key or value as it stands in an extended XYZ comment."""
    word = str(text)
    numeric = isinstance(text, str) and not isinstance(value(word), str)  # the text "12" stays text
    return word if re.fullmatch(r'[^\s="\\]+', word) and not numeric else json.dumps(word)


def _columns(specification: str) -> tuple[int, int]:
    """First columns of the element and of the position in an extended XYZ `Properties` entry."""
    fields = specification.split(":")
    starts, start = {}, 0
    try:
        for name, _, width in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
            starts[name] = start
            start += int(width)
        return starts["species"] if "species" in starts else starts["Z"], starts["pos"]
    except (ValueError, KeyError):
        raise ValueError(f"expected Properties with species:S:1 and pos:R:3, got {shown(specification)}") from None


def _unquoted(text: str) -> str:
    if text[:1] != '"':
        return text
    if "\\" not in text:
        return text[1:].removesuffix('"')
    try:
        # Escapes may spell half of a surrogate pair, which no file could hold.
        return json.loads(text, strict=False).encode("utf-8", "replace").decode()
    except ValueError:
        return text[1:].removesuffix('"')
