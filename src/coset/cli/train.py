"""coset train and coset leg: training, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from coset.cli.display import console, progress_bar
from coset.cli.options import resolve_device

Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value; --dry-run shows all keys.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (see coset recipes).")] = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run; runs/RECIPE without.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this much training.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out, with its own settings.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved settings and stop.")] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Train a recipe; leaves model.safetensors and its card in the folder."""
    use_large_pages()
    from coset.recipes.registry import build, find_recipe
    from coset.recipes.settings import parse_settings
    from coset.training.runs import CHECKPOINT, ELEMENTS, MODEL, prepare, read_settings, run_recipe

    if recipe is None and not resume:
        raise ValueError("train needs a recipe's name, or --resume with --out; see coset recipes")
    folder = out or Path("runs") / (recipe or "")
    if resume:
        if settings or minutes:
            raise ValueError("--resume keeps the settings of the run; leave --set and --minutes out")
        recipe, resolved = read_settings(folder)
    else:
        overrides = parse_settings(settings or ()) | ({"minutes": minutes} if minutes else {})
        resolved = find_recipe(str(recipe)).resolve(overrides)
    assert recipe is not None
    if dry_run:
        parameters = sum(p.numel() for p in build(recipe, resolved, len(ELEMENTS)).parameters())
        print(json.dumps({"recipe": recipe, "parameters": parameters, **resolved.model_dump(mode="json")}, indent=1))
        return
    if not resume and (folder / CHECKPOINT).exists():
        raise FileExistsError(f"{folder} holds a run already; go on with --resume, or choose another --out")
    with progress_bar(f"training {recipe}", 1.0) as update:
        run = prepare(recipe, resolved, folder, resolve_device(device), lambda record: show(record, update))
        console.print(f"{recipe}: {len(run.dataset.train):,} molecules of {run.dataset.name} -> {folder}")
        with told_how_to_go_on(f"coset train --resume -o {folder}"):
            run_recipe(run, folder, resume)
    console.print(f"model -> {folder / MODEL}")


def leg(
    minutes: Annotated[float, typer.Option(help="Minutes of training, now.")],
    total: Annotated[float | None, typer.Option(help="Minutes of the whole leg, if it takes several calls.")] = None,
    queue: Annotated[Path, typer.Option(help="The queue; its top entry is trained.")] = Path("training/QUEUE.md"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the leg.")] = Path("runs/leg"),
    data: Annotated[str | None, typer.Option(help="Data set or a store's folder; as queued without.")] = None,
    settings: Settings = None,
    evaluate: Annotated[int, typer.Option(help="Molecules drawn at the end to measure the model.")] = 1000,
    install: Annotated[bool, typer.Option(help="Put the new weights and numbers where the queue says.")] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Train the queue's top run for some minutes from its last weights, and export it with a card."""
    use_large_pages()
    from coset.recipes.settings import parse_settings
    from coset.training.leg import Leg

    overrides = parse_settings(settings or ()) | ({"data": data} if data else {})
    planned = Leg.plan(queue, total or minutes, overrides)
    with progress_bar(f"leg of {planned.entry.name}", 1.0) as update, told_how_to_go_on("the same command"):
        card = planned.train(out, resolve_device(device), lambda record: show(record, update), evaluate, minutes)
    metrics = card["metrics"]
    console.print(
        f"{card['name']}: {card['molecules_seen']:,} molecules seen in {card['minutes']} min; of {evaluate} drawn:"
    )
    for name, rate in metrics["rates"].items():
        console.print(f"  {name.replace('_', ' ')} {100 * rate:.1f} % (data's own {100 * metrics['data'][name]:.1f})")
    console.print(f"weights and card -> {out}")
    if install:
        planned.install(out)
        console.print(f"installed as {planned.entry.weights}; {queue} is up to date")


def use_large_pages() -> None:
    """A tenth faster on a CPU with the large tensors of training (the small ones of sampling suffer); read by torch."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def told_how_to_go_on(command: str) -> Iterator[None]:
    """After Ctrl-C, says how to go on from the saved state."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"stopped and saved; go on with: {command}")
        raise


def show(record: dict[str, Any], update) -> None:
    """Progress from a log record, and a line for every validation."""
    rate = record["molecules"] / max(record["seconds"], 1e-9)
    if record["kind"] == "train":
        update(record["progress"], f"loss {record['loss']:.4f}, {rate:.0f} molecules/s")
        return
    samples = "".join(f", {key.replace('_', ' ')} {100 * record[key]:.1f} %" for key in SAMPLED if key in record)
    console.print(
        f"{record['molecules']:,} molecules, {record['seconds'] / 60:.1f} min ({rate:.0f}/s): "
        f"validation loss {record['valid_loss']:.4f} (EMA {record['ema']}){samples}"
    )


SAMPLED = ("atom_stable", "molecule_stable", "valid")
