"""Page: a report that opens in any browser, in one file, without scripts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from coset.files import atomic_write
from coset.metrics.depiction import depict
from coset.metrics.evaluate import Report, Row
from coset.metrics.measurement import Measurement, measure
from coset.molecule import Molecule

_SHOWN = 24
_MEANING = {
    "atom stability": "atoms whose bond orders sum to an allowed valence",
    "molecule stability": "molecules of which every atom is stable",
    "validity": "molecules whose bonds RDKit can sanitise",
    "uniqueness": "distinct SMILES, of the valid molecules",
    "valid and unique": "distinct SMILES, of all molecules",
    "novelty": "SMILES not in the training set, of the distinct ones",
    "connectivity": "molecules in one piece",
}


def write_report(
    path: str | os.PathLike[str], report: Report, molecules: Sequence[Molecule], card: Mapping[str, Any]
) -> None:
    """Writes one self-contained HTML file: rates beside the data's own, sizes, molecules, what was run.

    card: what was run, shown in its order (model, recipe, seed, steps, seconds, molecules seen in training,
    ...); `title` heads the page. molecules: those that were evaluated; the first 24 are drawn, none is
    picked.
    """
    details = {name: value for name, value in card.items() if name != "title"}
    page = Template(resources.files("coset.metrics").joinpath("page.html").read_text(encoding="utf-8"))
    text = page.substitute(
        title=escape(str(card.get("title", "Generated molecules"))),
        lead=_lead(report),
        rates="".join(_rate_row(row) for row in report.rows()),
        distances=_distances(report),
        sizes=_size_strip(report),
        shown=min(_SHOWN, len(molecules)),
        total=f"{len(molecules):,}",
        molecules="".join(_figures(molecules[:_SHOWN])),
        card="".join(f"<dt>{_words(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in details.items()),
        data_note=_data_note(report),
    )
    with atomic_write(path) as file:
        file.write(text)


def _lead(report: Report) -> str:
    counts = report.counts
    text = (
        f"{counts['molecules']:,} molecules of {counts['atoms']:,} atoms in all: "
        f"{counts['stable_molecules']:,} stable, {counts['valid']:,} valid, {counts['unique']:,} different"
    )
    return text + (f", {counts['novel']:,} of them new." if "novel" in counts else ".")


def _rate_row(row: Row) -> str:
    if math.isnan(row.value):
        value = bar = "&ndash;"
    else:
        value = f"<b>{row.value:.1f}</b> <small>{row.low:.1f}&ndash;{row.high:.1f}</small>"
        tick = "" if row.data is None else f'<i style="left:{row.data:.2f}%"></i>'
        bar = f'<span class="bar"><b style="width:{row.value:.2f}%"></b>{tick}</span>'
    own = "&ndash;" if row.data is None else f"{row.data:.1f}"
    unknown = row.difference is None or math.isnan(row.difference)
    difference = "&ndash;" if unknown else f"{row.difference:+.1f}".replace("-", "&minus;")
    return (
        f"<tr><th>{row.name}<small>{_MEANING[row.name]}</small></th><td>{value}</td>"
        f"<td>{bar}</td><td>{own}</td><td>{difference}</td></tr>"
    )


def _distances(report: Report) -> str:
    if report.distances is None or report.data_distances is None:
        return ""
    own = report.data_distances
    lines = "".join(
        f"<tr><th>{_words(name)}</th><td>{_decimal(value)}</td><td>{_decimal(own[name])}</td></tr>"
        for name, value in report.distances.items()
    )
    return (
        '<table class="narrow"><thead><tr><th>total variation from the training set '
        "<small>0 equal, 1 disjoint</small></th>"
        f"<th>molecules</th><th>data&rsquo;s own</th></tr></thead><tbody>{lines}</tbody></table>"
    )


def _size_strip(report: Report) -> str:
    own = report.data_sizes or {}
    low, high = min({*report.sizes, *own}), max({*report.sizes, *own})
    share, known = _shares(report.sizes), _shares(own)
    top = max([*share.values(), *known.values()])
    step, height = 760 / (high - low + 1), 130
    parts = []
    for size in range(low, high + 1):
        left, tall, data = (size - low) * step, share.get(size, 0) / top, known.get(size, 0) / top
        bars = ((left + 0.1 * step, 0.8, data, "data"), (left + 0.25 * step, 0.5, tall, "own"))
        parts += [
            f'<rect class="{kind}" x="{x:.1f}" y="{height * (1 - part):.1f}" width="{width * step:.1f}" '
            f'height="{height * part:.1f}"/>'
            for x, width, part, kind in bars
        ]
        if high - low < 40 or size % 10 == 0:
            parts.append(f'<text x="{left + step / 2:.1f}" y="{height + 16}">{size}</text>')
    return f'<svg class="sizes" viewBox="0 0 760 {height + 22}">{"".join(parts)}</svg>'


def _figures(molecules: Sequence[Molecule]) -> list[str]:
    measured = measure(molecules)
    return [_figure(molecule, measured, i) for i, molecule in enumerate(molecules)]


def _figure(molecule: Molecule, measured: Measurement, i: int) -> str:
    flags = {
        "stable": bool(measured.stable[i] == measured.sizes[i]),
        "valid": measured.smiles[i] is not None,
        "one piece": bool(measured.connected[i]),
    }
    marks = "".join(
        f'<span class="{"yes" if holds else "no"}">{"" if holds else "not "}{name}</span>'
        for name, holds in flags.items()
        if name != "one piece" or not holds
    )
    formula = "".join(f"<sub>{c}</sub>" if c.isdigit() else c for c in molecule.formula)
    return f"<figure>{depict(molecule)}<figcaption>{formula}{marks}</figcaption></figure>"


def _data_note(report: Report) -> str:
    if report.reference is None:
        return ""
    note = (
        "The data&rsquo;s own rates are those of held-out molecules of the data set "
        f"<b>{escape(report.reference)}</b> by the same rule: real molecules do not reach 100 either, and a "
        "rate above theirs is no longer better."
    )
    if report.reference in ("qm9", "qm9-small"):
        note += " The training set of QM9 here lacks nearly all its molecules with fluorine."
    return f"<p>{note}</p>"


def _shares(counts: Mapping[int, int]) -> dict[int, float]:
    total = sum(counts.values())
    return {key: count / total for key, count in counts.items()}


def _words(name: str) -> str:
    return escape(str(name).replace("_", " "))


def _decimal(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{value:.3f}"
