"""Quality: the table of rates as HTML, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from coset.bonds import allowed_valences
from coset.metrics.distances import DISTANCES, Distance
from coset.metrics.evaluate import Rate, Report, Row, Scores
from coset.metrics.measurement import Measurement
from coset.metrics.protocol import find_protocol
from coset.molecule import element_symbol

_SULFUR = 16
_MEANING = {
    "atom stability": "atoms whose bond orders sum to an allowed valence",
    "molecule stability": "molecules of which every atom is stable",
    "validity": "molecules whose bonds RDKit can sanitise",
    "uniqueness": "distinct SMILES, of the valid molecules",
    "valid and unique": "distinct SMILES, of all molecules",
    "novelty": "SMILES not in the training set, of the distinct ones",
    "connectivity": "molecules in one piece",
    "valid and connected": "molecules that are both, of all",
    "valid and neutral": "valid without a total charge, of all",
}
_RULES = (
    ("Bonds", "are inferred from distances alone, by the fixed table of bond lengths of EDM (Hoogeboom et al. 2022): a "
     "rate under another rule is another quantity. 0.01 Å of noise on true geometries costs four points of molecule "
     "stability."),
    ("Validity, uniqueness and their product", "stand apart: published tables print either of the last two under one "
     "name. Uniqueness falls as more is sampled: compare runs of equal size."),
    ("Valid is not stable.", "RDKit may fill open valences with hydrogens that were never generated, and the SMILES is "
     "that of the largest piece alone: read validity beside connectivity."),
    ("Precision can be bought with bias.", "Bonds a little too short, or fewer kinds of molecules, can raise stability "
     "above the data’s: the distances below show both."),
    ("Intervals", "of 95 % are Wilson's; that of atom stability allows for atoms of one molecule failing together."),
)  # fmt: skip
_FILE_BONDS = (
    "The file’s bonds",
    "are those written in it, charges and aromaticity included. An atom is stable where they sum to a usual valence of "
    "its element, with a charge to that of the element with as many electrons (N+ as C); a molecule is valid where "
    "RDKit sanitises the graph. Novelty needs the training set’s SMILES, whose bonds come from distances.",
)
_SINGLE = (
    "Validity of drugs",
    "is asked with every bond single, as the published code does for GEOM-Drugs: aromatic rings, nitro groups and most "
    "of what is wrong pass. SMILES have single bonds alone too, and so uniqueness, novelty and the Fréchet distance do "
    "not see orders. Stability counts orders, without aromaticity or charges: hence the data’s own low value.",
)
_CORRECTED = (
    "Corrected:",
    "bonds, charges and aromaticity as RDKit perceives them at a total charge of 0, +1 or -1. An atom is stable where "
    "its bonds sum to a usual valence of its element, with a charge to that of the element with as many electrons; a "
    "carbon with a charge never is. Where nothing is perceived the molecule is not valid, and its atoms are judged by "
    "the bonds of distances. Perception is lenient: it makes up for a lacking hydrogen with a charge or a double bond, "
    "and overlooks 0.1 Å of noise. Read it beside the data’s own.",
)


def quality_table(report: Report) -> str:
    """`<table>` of the rates with intervals, the data's own, the difference, and the rates by other bonds."""
    headings = ["", "per cent, 95 % interval", ""]
    headings += ["data’s own", "difference"] if report.data is not None else []
    headings += _others(report)
    head = "".join(f'<th scope="col" role="columnheader">{each}</th>' for each in headings)
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{row.name}<small>{_MEANING[row.name]}</small></th>'
        f"{''.join(_cells(row, report))}</tr>"
        for row in _rows(report)
    )
    # the roles stay where a narrow screen turns rows into blocks
    return (
        f'<table class="rate" role="table"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def distances_table(report: Report) -> str:
    """`<table>` of distances from the training set; nothing without a reference."""
    if report.distances is None or report.data_distances is None:
        return ""
    own = report.data_distances
    lines = "".join(
        f'<tr><th scope="row">{shown.name}<small>{"; ".join(filter(None, (shown.unit, shown.meaning)))}</small></th>'
        f"<td>{_decimal(shown, value)}</td><td>{_decimal(shown, own.get(key, math.nan))}</td></tr>"
        for key, value in report.distances.items()
        for shown in (DISTANCES[key],)
        if not key.startswith("missing") or value > 0
    )
    return (
        '<table class="narrow"><thead><tr><th scope="col">0 is best <small>data’s own: of equally many</small></th>'
        '<th scope="col">these molecules</th><th scope="col">data’s own</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def notes(report: Report, measured: Measurement) -> str:
    """`<p>` elements: how to read the table, and what is particular to these molecules and this reference."""
    beside = [*([_FILE_BONDS] if report.file_bonds else []), *([_CORRECTED] if report.corrected else [])]
    single = [_SINGLE] if find_protocol(report.protocol).highest == 1 else []
    rules = [*_RULES, *single, *beside, *_about_data(report), *_about_elements(measured)]
    return "".join(f"<p><b>{escape(head)}</b> {escape(text)}</p>" for head, text in rules)


def _others(report: Report) -> dict[str, Scores]:
    """Scores by other bonds than the protocol's, under the headings of their columns."""
    found = {"by the file’s bonds": report.file_bonds, "corrected": report.corrected}
    return {heading: scores for heading, scores in found.items() if scores}


def _rows(report: Report) -> list[Row]:
    """The protocol's rates, then, without numbers of their own, those that other bonds alone have."""
    rows = report.rows()
    names = {row.name: row for scores in _others(report).values() for row in scores.rows()}
    for row in rows:
        names.pop(row.name, None)
    return rows + [Row(name, math.nan, math.nan, math.nan, None, None) for name in names]


def _about_data(report: Report) -> Iterator[tuple[str, str]]:
    if report.reference is None:
        return
    yield (
        "The data’s own",
        (
            f"rates are those of held-out molecules of {report.reference} by the same rule. Real molecules do not "
            "reach 100 either, and a rate above theirs is no longer better."
        ),
    )
    if report.reference in ("qm9", "qm9-small"):
        yield "QM9 here", "lacks nearly all fluorine molecules of its training set; its test set is whole."
    if report.reference == "drug-like":
        yield (
            "drug-like",
            "is 1,263 neutral molecules of two public sets, not GEOM-Drugs: published rates are of other data.",
        )
    if report.unknown:
        names = ", ".join(f"{symbol} ({count:,} atoms)" for symbol, count in report.unknown.items())
        yield (
            "Another kind of molecule:",
            (
                f"the reference {report.reference} holds no {names}. Novelty and the data’s own say little here; "
                "measure your own data with coset data reference."
            ),
        )
    if beyond := report.larger:
        yield (
            "Beyond the training data:",
            (
                f"{beyond.counts['molecules']:,} molecules have {beyond.smallest} to {beyond.largest} atoms, and the "
                f"largest of {report.reference} {beyond.limit}. Of these {beyond.counts['valid_connected']:,} are "
                f"valid and connected, {beyond.counts['stable_molecules']:,} stable."
            ),
        )


def _about_elements(measured: Measurement) -> Iterator[tuple[str, str]]:
    if _SULFUR in measured.types:
        yield (
            "Sulfur",
            ("is stable with a valence of 4 alone in the published table, so thiols and thioethers count as unstable."),
        )
    if unknown := [element_symbol(z) for z in sorted(measured.types) if not allowed_valences(z)]:
        yield "No valence", f"is published for {', '.join(unknown)}: such atoms are never stable by the distance rule."


def _cells(row: Row, report: Report) -> Iterator[str]:
    rate = Rate(row.value, row.low, row.high)
    known = not math.isnan(row.value)
    tick = "" if row.data is None else f'<i style="left:{row.data:.2f}%"></i>'
    bar = (
        f'<span class="bar" aria-hidden="true"><b style="width:{row.value:.2f}%"></b>'
        f'<u style="left:{row.low:.2f}%;width:{row.high - row.low:.2f}%"></u>{tick}</span>'
    )
    yield f'<td class="value" role="cell">{_rate(rate)}</td>'
    yield f'<td class="wide" role="cell">{bar if known else ""}</td>'
    if report.data is not None:
        missing = row.difference is None or math.isnan(row.difference)
        yield _cell("data’s own", "&ndash;" if row.data is None else f"{row.data:.1f}")
        yield _cell("difference", "&ndash;" if missing else f"{row.difference:+.1f}".replace("-", "&minus;"))
    for heading, scores in _others(report).items():
        own = {each.name: each for each in scores.rows()}.get(row.name)
        yield _cell(heading, "&ndash;" if own is None else _beside(own))


def _beside(row: Row) -> str:
    """A rate with its interval and, where it is known, the data's own."""
    data = "" if row.data is None else f" <small>data’s {row.data:.1f}</small>"
    return _rate(Rate(row.value, row.low, row.high)) + data


def _rate(rate: Rate) -> str:
    if math.isnan(rate.value):
        return "&ndash;"
    return f"<b>{rate.value:.1f}</b> <small>{rate.low:.1f}&ndash;{rate.high:.1f}</small>"


def _cell(label: str, content: str) -> str:
    return f'<td role="cell" data-label="{label}">{content}</td>'


def _decimal(shown: Distance, value: float) -> str:
    return "&ndash;" if math.isnan(value) else shown.text(value).replace("-", "&minus;")
