"""Drawing for the figures: SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coset.bonds import bond_orders

# The page's own style overrides these (assets/extra.css): they are for a figure that is opened by itself.
STYLE = """
.fig{--ink:#1b2a41;--soft:#5b6b82;--line:#c9d3e0;--paper:#fff;--fill:#eef3fa;--a:#2f6db3;--b:#c27c0e;--c:#2a8f6f;--d:#c0392b}
@media(prefers-color-scheme:dark){.fig{--ink:#e8edf5;--soft:#a3b1c6;--line:#3e4c61;--paper:#1c2330;--fill:#263246;--a:#7fb2ee;
--b:#f0b64e;--c:#5fcaa7;--d:#f1877b}}
.fig{font-family:inherit,Helvetica,Arial,sans-serif;font-size:14px;fill:none}.fig text{fill:var(--ink)}
.fig .soft{fill:var(--soft);font-size:12.5px}.fig .mid{text-anchor:middle}.fig .end{text-anchor:end}
.fig .strong{font-weight:600}.fig .axis{stroke:var(--line)}.fig .arrow{stroke:var(--soft);stroke-width:1.6}
.fig .box{fill:var(--fill);stroke:var(--a);stroke-width:1.4}.fig .dash{stroke-dasharray:4 4}
"""
ELEMENTS = {
    1: ("#f7f9fc", 0.28),
    6: ("#5d6673", 0.42),
    7: ("#3d6fe0", 0.42),
    8: ("#df4a3c", 0.42),
    9: ("#4fb04f", 0.40),
}


@dataclass
class Figure:
    """An SVG of a size in pixels; title and text say for readers who do not see it what it shows."""

    width: int
    height: int
    title: str
    text_for_all: str
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, cls: str = "", content: str = "", **attributes: object) -> None:
        pairs = {"class": cls or None, **{name.replace("_", "-"): value for name, value in attributes.items()}}
        words = [f'{name}="{_short(value)}"' for name, value in pairs.items() if value is not None]
        self.parts.append(f"<{' '.join([tag, *words])}>{content}</{tag}>")

    def text(self, x: float, y: float, words: str, cls: str = "", **attributes: object) -> None:
        self.add("text", cls, escape(words), x=x, y=y, **attributes)

    def line(self, points: Iterable[tuple[float, float]], colour: str, width: float = 2, cls: str = "") -> None:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.add("path", cls, d=path, style=f"stroke:var(--{colour})", stroke_width=width, stroke_linejoin="round")

    def dot(self, x: float, y: float, colour: str, radius: float = 4) -> None:
        self.add("circle", cx=x, cy=y, r=radius, style=f"fill:var(--{colour})")

    def box(self, x: float, y: float, w: float, h: float, words: Sequence[str], cls: str = "box") -> None:
        """A box with a name and softer lines below it."""
        self.add("rect", cls, x=x, y=y, width=w, height=h, rx=8)
        first = y + h / 2 - 8.5 * (len(words) - 1) + 5
        for number, each in enumerate(words):
            self.text(x + w / 2, first + 17 * number, each, "mid strong" if number == 0 else "mid soft")

    def arrow(self, path: str) -> None:
        self.add("path", "arrow", d=path, marker_end="url(#tip)")

    def molecule(
        self, at: tuple[float, float], numbers: NDArray, x: NDArray, scale: float,
        bonded: NDArray | None = None, size: float = 1.0,
    ) -> None:  # fmt: skip
        """Atoms (n,) at x (n, 3) in Angstrom, seen along the last axis; bonds by the distance rule.

        bonded: positions that the rule looks at in place of x. size: of the atoms, against the usual.
        """
        place = np.array(at) + scale * x[:, :2] * [1, -1]
        orders = bond_orders(numbers[None], (x if bonded is None else bonded)[None])[0]
        for i, j in zip(*np.nonzero(np.tril(orders)), strict=True):
            self.line([tuple(place[i]), tuple(place[j])], "soft", 1.5 + 1.5 * float(orders[i, j]))
        for i in np.argsort(x[:, 2]):
            colour, radius = ELEMENTS[int(numbers[i])]
            cx, cy = place[i]
            self.add("circle", cx=cx, cy=cy, r=radius * scale * size, fill=colour, stroke="#39424e", stroke_width=0.8)

    def save(self, path: Path) -> None:
        """One line: a blank one would end a block of HTML in Markdown."""
        name = f"tip-{path.stem}"  # a page may hold several figures
        tip = f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        tip += '<path d="M0 0 8 4 0 8z" style="fill:var(--soft)"/></marker>'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {self.width} {self.height}" role="img">'
        )
        about = f"<title>{escape(self.title)}</title><desc>{escape(self.text_for_all)}</desc>"
        style = f"<style>{STYLE.replace(chr(10), '')}</style><defs>{tip}</defs>"
        parts = "".join(self.parts).replace("url(#tip)", f"url(#{name})")
        path.write_text(f"{head}{about}{style}{parts}</svg>\n", encoding="utf-8")


@dataclass
class Axes:
    """A panel of a figure: its box in pixels and what its edges mean."""

    figure: Figure
    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    log: tuple[bool, bool] = (False, False)

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, width, height = self.box
        across, up = _share(x, self.x, self.log[0]), _share(y, self.y, self.log[1])
        return left + width * across, top + height * (1 - up)

    def frame(self, title: str, xs: Iterable[float], ys: Iterable[float], names: tuple[str, str] = ("", "")) -> None:
        """Grid lines with their values, a title and what the axes show."""
        left, top, width, height = self.box
        for value in xs:
            px, _ = self.place(value, self.y[0])
            self.figure.add("path", "axis", d=f"M{px:.1f} {top}V{top + height}")
            self.figure.text(px, top + height + 18, _tick(value), "soft mid")
        for value in ys:
            _, py = self.place(self.x[0], value)
            self.figure.add("path", "axis", d=f"M{left} {py:.1f}H{left + width}")
            self.figure.text(left - 7, py + 4, _tick(value), "soft end")
        self.figure.text(left, top - 14, title, "strong")
        self.figure.text(left + width / 2, top + height + 38, names[0], "soft mid")

    def line(self, xs: Iterable[float], ys: Iterable[float], colour: str, width: float = 2.2, cls: str = "") -> None:
        points = [self.place(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        self.figure.line(_thinned(points), colour, width, cls)

    def dots(self, xs: Iterable[float], ys: Iterable[float], colour: str, radius: float = 3.5) -> None:
        for x, y in zip(xs, ys, strict=True):
            self.figure.dot(*self.place(float(x), float(y)), colour, radius)


def _share(value: float, ends: tuple[float, float], log: bool) -> float:
    """How far along from one end to the other a value lies."""
    if log:
        value, ends = math.log10(value), (math.log10(ends[0]), math.log10(ends[1]))
    return (value - ends[0]) / (ends[1] - ends[0])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without points that no one could tell from the one before."""
    return [points[0], *(b for a, b in pairwise(points) if math.dist(a, b) > 0.05)]


def _tick(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) <= 1e-3):
        mantissa, exponent = f"{value:.0e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"
    return f"{value:,.6g}"


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
