"""coset reproduce: molecules that are asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from coset.cli.options import resolve_device
from coset.cli.reproduce.options import (
    FOLDER,
    Device,
    Held,
    Out,
    finished,
    parse_numbers,
    parse_rows,
    parse_steps,
    row_progress,
    telling,
)
from coset.cli.train import use_large_pages

app = typer.Typer()


@app.command("conditional")
def conditional(
    out: Out = None,
    recipe: Annotated[str, typer.Option(help="Any recipe; the study's sizes for coset and edm.")] = "coset",
    data: Annotated[str, typer.Option(help="Data set or a store's folder, with gap_ev (coset data properties).")] = (
        "qm9-small"
    ),
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training.")] = 1_000_000,
    targets: Annotated[int, typer.Option(min=1, help="Test molecules whose conditions are asked for.")] = 1_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    kinds: Annotated[str | None, typer.Option(help="composition, morgan, pattern, gap_ev; all without.")] = None,
    strengths: Annotated[str, typer.Option(help="Of guidance, parted by commas.")] = "0,1,2,4",
    workers: Annotated[int, typer.Option(min=1, help="Processes for GFN2-xTB.")] = 1,
    device: Device = "auto",
) -> None:
    """Steered generation: how well one model keeps to compositions, fingerprints, parts and gaps it is asked for."""
    use_large_pages()
    from coset.reproduce.conditional import KINDS, NAME, Study, run

    study, levels = Study(recipe, data, molecules, targets, steps, seed), parse_numbers(strengths)
    with row_progress(1.0) as begin:
        record = run(
            study,
            out or FOLDER / NAME,
            parse_rows(kinds, KINDS),
            levels,
            resolve_device(device),
            telling(begin),
            workers,
        )
    finished(record.folder)


@app.command("joining")
def joining(
    out: Out = None,
    model: Annotated[str, typer.Option(help="A packaged model's name, or a path.")] = "qm9",
    data: Held = "qm9",
    fragments: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 50,
    draws: Annotated[int, typer.Option(min=1, help="Molecules around each fragment.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 1,
    kinds: Annotated[str | None, typer.Option(help="substituent, scaffold, linker; all without.")] = None,
    resample: Annotated[str, typer.Option(help="Times each step is made, parted by commas.")] = "1,3",
    device: Device = "auto",
) -> None:
    """Drawing around fragments of held-out molecules: how often what comes out is valid and in one piece."""
    from coset.model import load
    from coset.reproduce.joining import KINDS, NAME, Study, run

    trained, study = load(model, resolve_device(device)), Study(data, fragments, draws, steps, seed)
    chosen, times = parse_rows(kinds, tuple(KINDS)), parse_steps(resample, "--resample")
    with row_progress(fragments * draws) as begin:
        record = run(study, trained, out or FOLDER / NAME, chosen, times, begin)
    finished(record.folder)
