"""What people see: tables and progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from coset.metrics.evaluate import Report

console = Console(highlight=False)


def quality_table(report: Report) -> Table:
    """The rates with their intervals, beside the data's own."""
    table = Table(title=f"{report.counts['molecules']:,} molecules, per cent", title_justify="left")
    for heading in ("", "value", "95 % interval", "data's own", "difference"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in report.rows():
        own = "" if row.data is None else f"{row.data:.2f}"
        difference = "" if row.difference is None else f"{row.difference:+.2f}"
        table.add_row(row.name, f"{row.value:.2f}", f"{row.low:.2f} - {row.high:.2f}", own, difference)
    return table


@contextmanager
def progress_bar(text: str, total: float) -> Iterator[Any]:
    """Yields update(done, note): a bar with rate and time left on a terminal, nothing in a pipe."""
    columns = [
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    target = Console(stderr=True, highlight=False)
    with Progress(*columns, console=target, transient=True, disable=not target.is_terminal) as progress:
        task = progress.add_task(text, total=total, note="")

        def update(done: float, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield update
