"""coset reproduce: published toys and the variance of targets."""

from __future__ import annotations

from typing import Annotated

import typer

from coset.cli.display import progress_bar
from coset.cli.reproduce.options import FOLDER, Out, Rows, Seeds, finished, parse_rows, parse_seeds, row_progress

app = typer.Typer()


@app.command("ts-toy-1d")
def toy_on_the_line(
    out: Out = None,
    seeds: Seeds = "0,1,2",
    iterations: Annotated[int, typer.Option(min=1, help="Of the training; the paper has 100,000.")] = 100_000,
    batch: Annotated[int, typer.Option(min=1, help="Clouds an iteration.")] = 100,
    steps: Annotated[int, typer.Option(min=2, help="Network calls of a sample.")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="Drawn for each kind of starts; an even number.")] = 100_000,
    rows: Rows = None,
) -> None:  # fmt: skip
    """TS's toy on the line: distance to the data and W2², plain target against symmetrised ones."""
    from coset.recipes.ts import LINE
    from coset.reproduce.toy_line import NAME, Settings, run

    settings = Settings(iterations, batch, steps, samples)
    with row_progress(iterations) as begin:
        record = run(out or FOLDER / NAME, settings, parse_seeds(seeds), parse_rows(rows, tuple(LINE)), begin)
    finished(record.folder)


@app.command("ts-toy-2d")
def toy_in_the_plane(
    out: Out = None,
    seeds: Seeds = "0,1,2",
    iterations: Annotated[int, typer.Option(min=1, help="Of the training.")] = 4_000,
    batch: Annotated[int, typer.Option(min=1, help="Clouds an iteration.")] = 100,
    lr: Annotated[float, typer.Option(help="First learning rate.")] = 4e-3,
    samples: Annotated[int, typer.Option(min=2, help="Drawn for each number of steps.")] = 1_000,
    rows: Rows = None,
) -> None:  # fmt: skip
    """TS's toy in the plane: best RMSD by sampling steps, and what fails without rotated data."""
    from coset.recipes.ts import PLANE
    from coset.reproduce.toy_plane import NAME, Settings, run

    if not lr > 0:
        raise ValueError(f"--lr must be positive; got {lr:g}")
    settings = Settings(iterations, batch, lr, samples=samples)
    with row_progress(iterations) as begin:
        record = run(out or FOLDER / NAME, settings, parse_seeds(seeds), parse_rows(rows, tuple(PLANE)), begin)
    finished(record.folder)


@app.command("gradient-variance")
def gradient_variance(
    out: Out = None,
    clouds: Annotated[int, typer.Option(min=2, help="Noisy clouds of a molecule at each level.")] = 4,
    repeats: Annotated[int, typer.Option(min=2, help="Posterior draws at each noisy cloud.")] = 64,
    steps: Annotated[int, typer.Option(min=0, help="Of training that the networks have behind them.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
) -> None:
    """Bias and variance of targets and of gradients: plain, TS's Algorithm 1, its public variant, exact; with cost."""
    from coset.reproduce.gradient_variance import NAME, Settings, run

    settings, folder = Settings(clouds, repeats, steps, seed=seed), out or FOLDER / NAME
    with progress_bar(NAME, settings.rows) as update:
        run(folder, settings, update)
    finished(folder)
