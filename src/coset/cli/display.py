"""What people see: tables and progress."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from coset.cli.cards import Card
    from coset.metrics.evaluate import Report
    from coset.metrics.rates import Row, Scores
    from coset.metrics.sections import Section

console = Console(highlight=False)


def say(text: str) -> None:
    """A line as it is: long ones are not broken, so that paths and commands can be copied."""
    console.print(text, soft_wrap=True, markup=False, emoji=False)


def quality_table(report: Report) -> Table:
    """The rates with their intervals, beside the data's own, and by the file's bonds where it holds them."""
    found = report.file_bonds  # its intervals, in JSON and page, would not fit 80 columns
    beside = {"file's\nbonds": {row.name: row for row in found.rows()}} if found else {}
    return _rates_table(f"{report.counts['molecules']:,} molecules, per cent", report.rows(), beside)


def corrected_table(scores: Scores) -> Table:
    """The same by perceived bonds, aromaticity and charges."""
    return _rates_table("corrected: bonds, aromaticity, charges perceived", scores.rows())


def _rates_table(title: str, rows: Sequence[Row], beside: Mapping[str, Mapping[str, Row]] | None = None) -> Table:
    """Rates a line; beside: values by other bonds, by heading and name of the rate."""
    beside = beside or {}
    table = Table(title=title, title_justify="left")
    for heading in ("", "value", "95 % interval", "data's\nown", "difference", *beside):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rows:
        own = "" if row.data is None else f"{row.data:.2f}"
        difference = "" if row.difference is None else f"{row.difference:+.2f}"
        others = [_rate(*found[row.name][1:4])[0] if row.name in found else "-" for found in beside.values()]
        table.add_row(row.name, *_rate(row.value, row.low, row.high), own, difference, *others)
    return table


def section_table(section: Section) -> Table:
    """A section of measured values, with its note below."""
    table = Table(title=section.title, title_justify="left", caption=escape(section.note), caption_justify="left")
    for heading in section.headings:
        table.add_column(heading, justify="left" if heading == section.headings[0] else "right", no_wrap=True)
    for row in section.rows:
        table.add_row(*map(escape, row))
    return table


def model_table(cards: Sequence[Card]) -> Table:
    """One line a model: what it is, how large, and its measured rates."""
    from coset.cli.cards import bonds_in_training

    table = Table("model", "recipe", "parameters", "on disk", "molecules seen", "measured")
    for card in cards:
        values = card.values
        rates = measured_rates(values.get("metrics", {}))
        measured = "\n".join(f"{key.replace('_', ' ')} {100 * value:.1f} %" for key, value in rates.items())
        size, seen = f"{card.size / 1e6:.1f} MB", f"{values['molecules_seen']:,}"
        recipe = values["recipe"] + (", bonds used in training" if bonds_in_training(values) else "")
        table.add_row(escape(values["name"]), recipe, f"{values['parameters']:,}", size, seen, measured)
    return table


def show_card(card: Card) -> None:
    """A model's card on the terminal: what it is, how it was trained, its file, its rates beside the data's own."""
    from coset.cli.cards import describe

    groups = describe(card.values)
    state = "as its card states" if card.checksum == card.sha256 else "its card states another"
    state = "its card states none" if card.checksum is None else state
    groups["Weights"] = {
        "file": str(card.weights),
        "licence": str(card.values.get("licence", "MIT, as coset" if card.packaged else "not stated")),
        "on disk": f"{card.size:,} bytes",
        "SHA-256": f"{card.sha256} ({state})",
    }
    for heading, values in groups.items():
        table = Table(title=escape(heading), title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in values.items():
            table.add_row(escape(name), escape(value))
        console.print(table, "")
    metrics = card.values.get("metrics", {})
    if "coverage" in metrics:
        console.print(coverage_table(metrics))
    elif metrics:
        console.print(_measured(metrics))


def measured_rates(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Shares by name, of a model's card."""
    found = metrics.get("coverage")
    if found is None:
        return metrics.get("rates", {})
    return {
        "recall within 0.5 Å": found["cov_recall_mean_0.5"],
        "precision within 0.5 Å": found["cov_precision_mean_0.5"],
        "stereo right": metrics["stereo_repaired"],
    }


def coverage_table(metrics: Mapping[str, Any]) -> Table:
    """Recall and precision of conformers, as `ensembles.measure` gives them."""
    found = metrics["coverage"]
    table = Table(
        f"{found['molecules']:.0f} test molecules, {metrics['steps']} steps", "recall", "precision",
        caption="means over molecules; 2 L conformers for L of the reference", caption_justify="left",
    )  # fmt: skip
    for threshold in ("0.1", "0.5"):
        shares = (f"{100 * found[f'cov_{side}_mean_{threshold}']:.1f} %" for side in ("recall", "precision"))
        table.add_row(f"COV within {threshold} Å", *shares)
    table.add_row("AMR", *(f"{found[f'amr_{side}_mean']:.3f} Å" for side in ("recall", "precision")))
    table.add_row("stereo right", f"{100 * metrics['stereo_right']:.1f} %", "as drawn")
    table.add_row("", f"{100 * metrics['stereo_repaired']:.1f} %", "repaired")
    return table


def _measured(metrics: Mapping[str, Any]) -> Table:
    """The rates of a card, in per cent."""
    title = (
        f"Measured on {metrics['molecules']:,} molecules, {metrics['steps']} steps, seed {metrics['seed']}; per cent"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("", "value", "95 % interval", "data's own"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in metrics["rates"].items():
        low, high = metrics.get("intervals", {}).get(name, (math.nan, math.nan))
        own = metrics.get("data", {}).get(name)
        rate = _rate(100 * value, 100 * low, 100 * high)
        table.add_row(name.replace("_", " "), *rate, "" if own is None else f"{100 * own:.2f}")
    return table


def _rate(value: float, low: float, high: float) -> tuple[str, str]:
    unknown = math.isnan(value)
    return ("-" if unknown else f"{value:.2f}"), ("-" if math.isnan(low) else f"{low:.2f} - {high:.2f}")


@contextmanager
def progress_bar(text: str, total: float) -> Iterator[Any]:
    """Yields update(done, note): a bar with rate and time left on a terminal, nothing in a pipe."""
    columns = [
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    target = Console(stderr=True, highlight=False)
    with Progress(
        *columns, console=target, transient=True, disable=console.quiet or not target.is_terminal
    ) as progress:
        task = progress.add_task(text, total=total, note="")

        def update(done: float, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield update
