"""coset reproduce: tables of models that are trained on one budget."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from coset.cli.options import resolve_device
from coset.cli.reproduce.options import (
    FOLDER,
    Data,
    Device,
    Out,
    Rows,
    Seeds,
    finished,
    parse_rows,
    parse_seeds,
    parse_steps,
    row_progress,
    telling,
)
from coset.cli.train import use_large_pages

app = typer.Typer()


@app.command("symmetry-study")
def symmetry_study(
    out: Out = None,
    data: Data = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 1_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    rows: Rows = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Every way of respecting symmetry on one data set, network size and budget; half an hour a row on a CPU."""
    use_large_pages()
    from coset.reproduce import symmetry_study as table

    study = table.Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps)
    make(table, study, out, rows, device)


@app.command("recipe-ablation")
def recipe_ablation(
    out: Out = None,
    data: Data = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 300_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 2_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    size: Annotated[str, typer.Option(help="Of the networks: xs or s.")] = "xs",
    precision: Annotated[str, typer.Option(help="Of the networks' inside: fp32 or bf16.")] = "bf16",
    rows: Rows = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """What each part of the coset recipe is worth: one change a row, ten minutes a row on a CPU."""
    use_large_pages()
    from coset.reproduce import recipe_ablation as table

    study = table.Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps, size, precision)
    make(table, study, out, rows, device)


@app.command("radm-ablation")
def latent_ablation(
    out: Out = None,
    data: Data = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row and a codec.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 1_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    rows: Rows = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """RADM's ablation and more: poses before an autoencoder, none, rotated data; half an hour a row on a CPU."""
    use_large_pages()
    from coset.reproduce import latent_ablation as table

    study = table.Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps)
    make(table, study, out, rows, device)


@app.command("end-steps")
def step_efficiency(
    out: Out = None,
    data: Data = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn at each number of steps.")] = 500,
    steps: Annotated[str, typer.Option(help="Sampling steps, parted by commas.")] = "50,100,250,500,1000",
    rows: Rows = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Twice as fast after minutes of compiling.")] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Learned noising (END) against fixed: quality at each number of steps; an hour a row on a CPU."""
    use_large_pages()
    from coset.reproduce import step_efficiency as table

    study = table.Study(data, molecules, draws)
    make(table, study, out, rows, device, steps=parse_steps(steps), seeds=parse_seeds(seeds), compiled=compiled)


@app.command("drugs")
def drugs(
    out: Out = None,
    data: Data = "drug-like",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row and a codec.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 500,
    checked: Annotated[int, typer.Option(min=1, help="Of these, tested by PoseBusters and relaxed.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    rows: Rows = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Drug-sized molecules: ways of respecting symmetry on one budget, by both protocols, beside the data."""
    use_large_pages()
    from coset.reproduce import drugs as table

    study = table.Study(data, molecules, tuple(parse_seeds(seeds)), draws, checked, steps)
    make(table, study, out, rows, device)


@app.command("conformers")
def conformers(
    out: Out = None,
    data: Annotated[str, typer.Option(help="Ensembles: xtb, drug-like or an .npz.")] = "xtb",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 1_000_000,
    seeds: Seeds = "0",
    targets: Annotated[int, typer.Option(min=1, help="Test molecules, the first ones.")] = 1_000,
    size: Annotated[str, typer.Option(help="Of the networks: xs or small; published ones need a GPU.")] = "xs",
    steps: Annotated[str, typer.Option(help="Sampling steps, parted by commas.")] = "1,2,5,10,20,50",
    rows: Rows = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Conformers by ETFlow, ETDiff and plain transformers, with and without symmetrised targets, beside RDKit's."""
    use_large_pages()
    from coset.reproduce import conformer_study as table

    study = table.Study(data, molecules, targets, size)
    make(table, study, out, rows, device, steps=parse_steps(steps), seeds=parse_seeds(seeds))


def make(table: ModuleType, study: Any, out: Path | None, rows: str | None, device: str, **more: Any) -> None:
    """Trains and measures the rows of a study's module that are not there yet, and shows its report."""
    chosen, folder = parse_rows(rows, tuple(table.ROWS)), out or FOLDER / table.NAME
    with row_progress(1.0) as begin:
        record = table.run(study, folder, chosen, device=resolve_device(device), begin=telling(begin), **more)
    finished(record.folder)
