"""`coset`: one program, one sentence for every mistake of its user."""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console

from coset.cli import evaluate, likelihood, lists, sample, train

# Read when torch is first imported, which no module here does before a command runs. Threads that sleep while they wait
# keep a shared machine from a standstill (measured: 25 times as long beside another program with threads that spin).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="3D molecules from diffusion models that respect symmetry, each in its own way.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train.train)
app.command()(sample.sample)
app.command()(evaluate.evaluate)
app.command()(likelihood.likelihood)
app.command()(lists.recipes)
app.command()(lists.models)
app.add_typer(lists.data, name="data")
app.command()(train.leg)

MISTAKES = (ValueError, FileNotFoundError, FileExistsError, FloatingPointError, PermissionError)
USER_ERROR, INTERRUPTED = 2, 130


def main() -> None:
    """Runs the program. Exit code 2 and one sentence for bad input, 130 after Ctrl-C."""
    console = Console(stderr=True, highlight=False)
    try:
        app()
    except MISTAKES as error:
        console.print(f"[red]error:[/red] {_escaped(error)}", soft_wrap=True)
    except OSError as error:  # a full disk, a device that went away
        console.print(f"[red]error:[/red] {_escaped(error)}; nothing was half-written", soft_wrap=True)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            console.print("interrupted")
        raise
    sys.exit(USER_ERROR)


def _escaped(error: Exception) -> str:
    return str(error).replace("[", r"\[")
