"""What the commands of `coset reproduce` share: options, lists parted by commas, progress, the last words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from coset.cli.display import console, progress_bar, say
from coset.cli.train import show

FOLDER = Path("runs/reproduce")
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder; by default runs/reproduce/NAME. Resumes.")]
Seeds = Annotated[str, typer.Option(help="Seeds, such as 0,1,2; each repeats its numbers.")]
Data = Annotated[str, typer.Option(help="Data set or a store's folder.")]
Held = Annotated[str, typer.Option(help="Data set or a store's folder, for held-out molecules.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Rows = Annotated[str | None, typer.Option(help="Only these models, parted by commas.")]


def parse_numbers(text: str) -> list[float]:
    """Different numbers, parted by commas."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found):
        raise ValueError(f"expected different numbers, such as 0,1,2; got {text!r}")
    return found


def parse_steps(text: str, option: str = "--steps") -> list[int]:
    """Different numbers from 1, parted by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ValueError(f"{option} expects different numbers from 1, such as 100 or 10,50,250; got {text!r}")
    return [int(part) for part in parts]


def parse_seeds(text: str) -> list[int]:
    """Different numbers from 0, parted by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ValueError(f"--seeds expects different numbers from 0, such as 0 or 0,1,2; got {text!r}")
    return [int(part) for part in parts]


def parse_rows(text: str | None, known: tuple[str, ...]) -> list[str]:
    """Names parted by commas; all if there is no text."""
    return list(known) if text is None else [part.strip() for part in text.split(",")]


@contextmanager
def row_progress(total: float) -> Iterator[Callable[[str], Callable[[float], None]]]:
    """Yields begin(row) -> update(done): a bar with the time left for each row in turn; its name alone in a pipe."""
    with ExitStack() as bars:

        def begin(row: str) -> Callable[[float], None]:
            bars.close()
            if not sys.stderr.isatty():
                typer.echo(row, err=True)
            return bars.enter_context(progress_bar(row, total))

        yield begin


def telling(begin: Callable[[str], Callable[[float], None]]) -> Callable[[str], Callable[[dict[str, Any]], None]]:
    """From begin(row) -> update(done) to begin(row) -> listener of a training's log."""

    def listen(row: str) -> Callable[[dict[str, Any]], None]:
        update = begin(row)
        return lambda record: show(record, update)

    return listen


def finished(folder: Path) -> None:
    """Where the results are, and the report itself."""
    from rich.markdown import Markdown

    report = (folder / "report.md").read_text(encoding="utf-8")
    console.print(Markdown("".join(line for line in report.splitlines(True) if not line.startswith("!["))))
    say(f"in {folder}: report.md, rows.json")
