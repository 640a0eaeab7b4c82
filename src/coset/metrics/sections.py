"""Sections: a table with a heading and a note, the same on the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Section:
    """title: what is told. note: how to read it. headings: of the columns, the first above the names of the rows.

    rows: as they are to be read, one text a column.
    """

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sections_html(sections: Sequence[Section]) -> str:
    """A `<section>` with a table of each; nothing for none."""
    if not sections:
        return ""
    tables = "".join(_table(section) for section in sections)
    return (
        '<section id="chemistry" aria-labelledby="chemistry-title">'
        f'<h2 id="chemistry-title">Chemistry</h2>{tables}</section>'
    )


def decimal(value: float | None, digits: int, signed: bool = False) -> str:
    """A number with so many digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{'+' if signed else ''}.{digits}f}"


def _table(section: Section) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in section.headings)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in section.rows)
    return (
        f'<h3>{escape(section.title)}</h3><table class="narrow"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f'</table><p class="hint">{escape(section.note)}</p>'
    )


def _cells(row: Sequence[str]) -> Iterable[str]:
    yield f'<th scope="row">{escape(row[0])}</th>'
    yield from (f"<td>{escape(each)}</td>" for each in row[1:])
