"""coset runs and coset diff: the folders of runs, and what sets two of them apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from coset.cli.display import console

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to look in, with its subfolders.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs: where each stands, its best validation loss, and the stable molecules of its --evaluate."""
    from dataclasses import asdict

    from coset.training.summary import find_runs, summarise

    found = []
    for path in find_runs(folder):
        try:
            found.append(summarise(path))
        except ValueError as error:  # one damaged run should not hide the others
            typer.echo(f"{path}: {error}", err=True)
    if as_json:
        print(json.dumps([_plain(asdict(run)) for run in found], indent=1))
        return
    table = Table(
        "run", "recipe", "state", "molecules", "minutes", "FLOPs", "best validation loss", "molecule stability"
    )
    for run in found:
        budget = [_number(run.budget[key]) for key in ("molecules", "minutes", "flops")]
        loss = _number(run.validation.get("best_valid_loss"))
        stable = run.metrics.get("molecule_stability")
        rate = "" if stable is None else f"{100 * stable:.1f} %"
        table.add_row(escape(run.folder), run.recipe, run.state, *budget, loss, rate)
    console.print(table if found else f"no runs in {escape(str(folder))}; coset train makes one")


def diff(
    first: Annotated[Path, typer.Argument(help="Folder of a run.")],
    second: Annotated[Path, typer.Argument(help="Folder of another.")],
    as_json: AsJson = False,
) -> None:
    """Settings in which two runs differ; budgets, validation and metrics side by side."""
    from coset.training.summary import compare, summarise

    one, two = summarise(first), summarise(second)
    found = compare(one, two)
    if as_json:
        print(json.dumps(_plain({"runs": [one.folder, two.folder], **found}), indent=1))
        return
    table = Table("", escape(one.folder), escape(two.folder), "difference")
    for part, rows in found.items():
        if rows:
            table.add_section()
            table.add_row(f"[bold]{part}[/bold]", "", "", "")
        for key, (left, right) in rows.items():
            name = key.replace("_", " ") if part != "settings" else key
            if part == "metrics":
                table.add_row(name, _rate(one, key), _rate(two, key), _difference(left, right, 100))
            else:
                change = "" if part in ("settings", "sampling") else _difference(left, right)
                table.add_row(name, _number(left), _number(right), change)
    if not found["settings"]:
        table.caption = "the settings are the same"
    console.print(table)


def _rate(run: Any, name: str) -> str:
    """Per cent and its 95 % interval."""
    if name not in run.metrics:
        return ""
    low, high = run.intervals[name]
    return f"{100 * run.metrics[name]:.1f} % ({100 * low:.1f} - {100 * high:.1f})"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else escape(value if isinstance(value, str) else json.dumps(value))


def _difference(left: Any, right: Any, factor: float = 1) -> str:
    numbers = all(isinstance(value, int | float) for value in (left, right))
    if not numbers:
        return ""
    change = factor * (right - left)
    return f"{change:+,}" if isinstance(change, int) else f"{change:+.1f}" if factor == 100 else f"{change:+.3g}"


def _plain(value: Any) -> Any:
    """None in place of NaN, which JSON has not."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
