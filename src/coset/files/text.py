"""Lines, numbers and elements of text files that others wrote, in whatever encoding."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from coset.molecule import Property, element_symbol

LONGEST = 2**20  # characters of a line; a file without line breaks must not fill the memory

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")


class Broken(ValueError):
    """A fault after which no later record of the file can be found."""


def lines(path: Path) -> Iterator[str]:
    r"""Lines without their ends (\n, \r\n or \r), of a file gzipped where its name ends in .gz.

    UTF-8, or what the byte order mark says. Bytes that are not UTF-8 are taken for Latin-1: old programs write names
    and comments so, and what matters is ASCII. Raises `Broken` for damaged gzip, NUL bytes, endless lines.
    """
    with path.open("rb") as raw:
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
        number = 0
        try:
            head = stream.peek(4)[:4]
            encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")
            errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
            text = io.TextIOWrapper(stream, encoding, errors)
            while line := text.readline(LONGEST):
                number += 1
                if len(line) == LONGEST:
                    raise Broken(f"line {number} has {LONGEST:,} characters or more; is this a text file?")
                yield _checked(line.removesuffix("\n"), number)
        except UnicodeDecodeError:
            raise Broken(f"is not valid {encoding.upper()} to its end; save the file as UTF-8") from None
        except (OSError, EOFError, zlib.error) as error:
            raise Broken(f"not a whole file: {str(error).rstrip('.')}; copy it again") from None


def _checked(line: str, number: int) -> str:
    if "\0" in line:
        raise Broken(f"line {number} holds a NUL byte, so this is no text file; save it as plain text in UTF-8")
    if line.isascii():
        return line
    try:
        line.encode()
    except UnicodeEncodeError:
        return line.encode("utf-8", "surrogateescape").decode("latin-1")
    return line


def shown(text: str) -> str:
    """Text of a file as an error message quotes it: short and on one line."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def real(text: str) -> float:
    """A coordinate. Mathematica writes 1.5*^-6 (QM9's files), Fortran 1.5D-6."""
    try:
        if "_" in text or not text.isascii():  # float() would take 1_0 and digits of other scripts
            raise ValueError
        return float(text.replace("*^", "e").replace("D", "e").replace("d", "e"))
    except ValueError:
        raise ValueError(f"expected a number, got {shown(text)}") from None


def value(text: str) -> Property:
    """A property: an integer or a finite number where the text is one, else the text. 007 and nan are text."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _REAL.fullmatch(text) and abs(number := float(text)) < float("inf"):
        return number
    return text


def atomic_number(symbol: str) -> int:
    """Atomic number of an element's symbol in any case, or of a number as text. D and T are hydrogen.

    Raises ValueError for dummy atoms, R groups, atom lists and anything else that is no element.
    """
    if symbol.isascii() and symbol.isdigit() and len(symbol) <= 3 and 1 <= int(symbol) <= 118:
        return int(symbol)
    number = _elements().get(symbol.capitalize())
    if number is None:
        raise ValueError(f"{shown(symbol)} is no element (dummy atoms, R groups and lists are not read); remove it")
    return number


@cache
def _elements() -> dict[str, int]:
    return {element_symbol(number): number for number in range(1, 119)} | {"D": 1, "T": 1}
