"""Page: a report that opens in any browser, in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from coset.files import atomic_write
from coset.metrics.comparison import comparison
from coset.metrics.evaluate import Report
from coset.metrics.failures import worst
from coset.metrics.gallery import figure, viewer_data
from coset.metrics.measurement import Measurement, measure
from coset.metrics.quality import distances_table, notes, quality_table
from coset.metrics.sections import Section, sections_html
from coset.molecule import Molecule

SHOWN, WORST = 24, 12


def write_report(
    path: str | os.PathLike[str],
    report: Report,
    molecules: Sequence[Molecule],
    card: Mapping[str, Any],
    sections: Sequence[Section] = (),
) -> None:
    """Writes one HTML file: rates beside the data's own, molecules in 2D and 3D, distributions, what was run.

    molecules: those that were evaluated, in order; the first 24 are drawn, none is picked, and the 12 that fail worst;
    coordinates of no others are in the file. card: what was run (model, recipe, seed, steps, ...), shown in its order;
    a mapping within becomes a group under its name; `title` heads the page, `version` is coset's. sections: tables of
    what else was measured.
    """
    measured = report.measured or measure(molecules, report.protocol)
    first, failing = list(range(min(SHOWN, len(molecules)))), worst(measured, WORST)
    shown = [*first, *(place for place in failing if place not in first)]
    script, library = _asset("page.js"), _library()
    text = Template(_asset("page.html")).substitute(
        policy=_policy(script, library),
        title=escape(str(card.get("title", "Generated molecules"))),
        version=escape(str(card.get("version", ""))),
        style=_asset("page.css"),
        lead=_lead(report),
        quality=quality_table(report),
        notes=notes(report, measured),
        shown=len(first),
        total=f"{len(molecules):,}",
        molecules="".join(figure(molecules[i], measured, i, shown.index(i)) for i in first),
        worst_link='<a href="#worst">Worst</a>' if failing else "",
        worst=_worst(molecules, measured, failing, shown),
        key=_key(report),
        charts=_charts(report, measured),
        chemistry_link='<a href="#chemistry">Chemistry</a>' if sections else "",
        chemistry=sections_html(sections),
        card=_card(card),
        data=viewer_data(molecules, measured, shown),
        library=library,
        script=script,
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


def _worst(molecules: Sequence[Molecule], measured: Measurement, failing: list[int], shown: list[int]) -> str:
    if not failing:
        return ""
    figures = "".join(figure(molecules[i], measured, i, shown.index(i), reasons=True) for i in failing)
    return (
        '<section id="worst" aria-labelledby="worst-title"><h2 id="worst-title">The worst, and why they fail</h2>'
        f'<p class="hint">The {len(failing)} with most unstable atoms of all {len(molecules):,}. Atoms are numbered '
        f'from 1, as in the file.</p><div class="grid reasons">{figures}</div></section>'
    )


def _key(report: Report) -> str:
    ours = '<b class="sample"></b>these molecules'
    if report.known is None:
        return ours
    return f'{ours}<b class="data"></b>training data of {escape(report.known.name)}; shares within each'


def _charts(report: Report, measured: Measurement) -> str:
    groups, table = comparison(measured, report.known), distances_table(report)
    distances = f"<h3>Distance from the training data</h3>{table}" if table else ""
    return distances + "".join(
        f'<h3>{escape(name)}</h3><div class="charts">{"".join(charts)}</div>'
        for name, charts in groups.items()
        if charts
    )


def _card(card: Mapping[str, Any]) -> str:
    """Groups of name and value; what stands in no group comes first."""
    loose = {k: v for k, v in card.items() if k not in ("title", "version") and not isinstance(v, Mapping)}
    groups = {"Run": loose} if loose else {}
    groups |= {name: value for name, value in card.items() if isinstance(value, Mapping)}
    return "".join(
        f"<div><h3>{_words(name)}</h3><dl>"
        + "".join(f"<dt>{_words(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in values.items())
        + "</dl></div>"
        for name, values in groups.items()
    )


def _words(name: str) -> str:
    return escape(str(name).replace("_", " "))


def _asset(name: str) -> str:
    return resources.files("coset.metrics").joinpath("assets", name).read_text(encoding="utf-8")


def _library() -> str:
    """3Dmol.js headed by its licence, which asks to stay with every copy."""
    licence = _asset("3Dmol-LICENSE.txt").replace("*/", "* /")
    text = f"/*!\n{licence}*/\n{_asset('3Dmol-min.js')}"
    return text.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _policy(*scripts: str) -> str:
    """What the page may do: run these scripts and no others, and load nothing from anywhere."""
    sums = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in sums)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
