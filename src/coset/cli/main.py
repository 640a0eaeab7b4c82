"""`coset`: one program, one sentence for every mistake of its user."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from coset.allocator import keep_freed_memory
from coset.cli import conformers, data, ensembles, evaluate, likelihood, lists, relax, reproduce, runs, sample, train

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
app.command()(conformers.conformers)
app.command()(relax.relax)
app.command()(evaluate.evaluate)
app.command()(likelihood.likelihood)
app.command()(lists.recipes)
app.command()(lists.models)
data.app.command()(ensembles.ensembles)
data.app.command()(ensembles.geom)
app.add_typer(data.app, name="data")
app.add_typer(reproduce.app, name="reproduce")
app.command()(train.leg)
app.command()(runs.runs)
app.command()(runs.diff)

MISTAKES = (ValueError, FloatingPointError, OSError)
USER_ERROR, INTERRUPTED = 2, 130


def main() -> None:
    """Runs the program. Exit code 2 and one sentence for bad input, 130 after Ctrl-C."""
    keep_freed_memory()
    try:
        app()
    except MISTAKES as error:
        tell(_sentence(error))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        tell("not enough memory for this; use a smaller model, smaller molecules or smaller batches")
    except KeyboardInterrupt:  # a second one, while the first was being answered
        interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            interrupted()
        raise
    sys.exit(USER_ERROR)


def tell(sentence: str) -> None:
    """One line on standard error."""
    console = Console(stderr=True, highlight=False)
    console.print(f"[red]error:[/red] {escape(' '.join(sentence.splitlines()))}", soft_wrap=True, emoji=False)


def interrupted() -> NoReturn:
    """One line."""
    Console(stderr=True, highlight=False).print("interrupted")
    raise SystemExit(INTERRUPTED)


def _sentence(error: BaseException) -> str:
    """The error as its author wrote it, or what the system says of a file."""
    if isinstance(error, OSError) and error.strerror:
        advice = "nothing was half-written; check the path, its permissions and the space left"
        return f"{error.filename or 'the system says'}: {error.strerror.lower()}; {advice}"
    return str(error) or type(error).__name__


def _out_of_memory(error: BaseException) -> bool:
    """Python's own, a GPU's, or a CPU's, which torch tells in words alone."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in ("out of memory", "allocate memory"))
