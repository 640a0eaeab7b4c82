"""coset likelihood: how probable held-out molecules are under a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from coset.cli.display import console, progress_bar, say
from coset.cli.options import resolve_device

if TYPE_CHECKING:
    from coset.likelihood import Likelihood


def likelihood(
    model: Annotated[str, typer.Argument(help="Packaged model, weights file or run folder.")] = "qm9",
    data: Annotated[str | None, typer.Option(help="Data set or store folder; by default the trained one.")] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    molecules: Annotated[int | None, typer.Option("-n", help="Only some, spread over the split.")] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps of the chain; 0 for continuous time.")] = 1000,
    draws: Annotated[str, typer.Option(help="Draws of a random pose a step, such as 1,10,100.")] = "1",
    repeats: Annotated[int, typer.Option(help="Passes over the molecules with fresh noise.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Terms of every molecule, .npz; resumes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Measure a model's negative log-likelihood in nats a molecule, positions in Angstrom (an upper bound)."""
    from coset.data.catalog import open_dataset
    from coset.likelihood import Settings
    from coset.likelihood import likelihood as measure
    from coset.model import load

    counts = parse_draws(draws)
    loaded = load(model, resolve_device(device))
    dataset = open_dataset(data or loaded.card["data"]["name"])
    rows = choose(dataset, split, molecules)
    found = []
    for count in counts:
        settings = Settings(steps or None, count, repeats, seed)
        path = out and (out if len(counts) == 1 else out.with_name(f"{out.stem}.{count}{out.suffix}"))
        with progress_bar(f"likelihood, {count} draw{'s' * (count > 1)}", 1.0) as update:
            found.append(measure(loaded, dataset, rows, settings, path, update))
    if as_json:
        about = {"model": loaded.name, "data": dataset.name, "split": split}
        print(json.dumps([about | each.to_dict() for each in found], indent=1))
        return
    show(found, f"{loaded.name} on {len(found[0].ids):,} {split} molecules of {dataset.name}")


def show(found: list[Likelihood], title: str) -> None:
    """One row a number of draws."""
    settings, unseen = found[0].settings, found[0].unseen
    chain = f"{settings.steps:,} steps" if settings.steps else "continuous time"
    table = Table(title=f"{title}; {chain}, {settings.repeats} passes, seed {settings.seed}", title_justify="left")
    for heading in (
        "draws",
        "prior",
        "steps",
        "output",
        "size",
        "nats a molecule",
        "error (noise)",
        "error (molecules)",
    ):
        table.add_column(heading, justify="right")
    for each in found:
        numbers = [*each.means().values(), each.nll, each.noise_error, each.molecule_error]
        table.add_row(str(each.settings.draws), *(f"{value:.2f}" for value in numbers))
    console.print(table)
    if unseen:
        say(f"{unseen} molecules left out: the model gives their number of atoms no probability")


def parse_draws(text: str) -> list[int]:
    """Numbers from 1, parted by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"--draws expects numbers from 1, such as 1 or 1,10,100; got {text!r}")
    return [int(part) for part in parts]


def choose(dataset: Any, split: str, molecules: int | None) -> Any:
    """Rows of a split, or some of them at even distances, so that all sizes and kinds are there."""
    if split not in ("train", "valid", "test"):
        raise ValueError(f"--split must be train, valid or test; got {split!r}")
    rows = getattr(dataset, split)
    if not len(rows):
        raise ValueError(f"{dataset.name} has no {split} molecules; choose another --split")
    if molecules is None or molecules >= len(rows):
        return rows
    if molecules < 1:
        raise ValueError(f"-n must be at least 1; got {molecules}")
    return rows[[i * len(rows) // molecules for i in range(molecules)]]
