"""coset train and coset leg: training, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coset.cli.display import console, coverage_table, progress_bar, quality_table, say
from coset.cli.options import resolve_device, warn

if TYPE_CHECKING:
    from coset.recipes.settings import Training
    from coset.training.loop import Run

Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value; --dry-run shows all keys.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (see coset recipes).")] = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run; runs/RECIPE without.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this much training.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out, with its own settings.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write the log as TensorBoard files too.")] = False,
    evaluate: Annotated[int, typer.Option(min=0, help="Molecules at the end for a table; papers: 10000.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps of --evaluate; papers: 1000.")] = 100,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved settings and stop.")] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Train a recipe; leaves model.safetensors and its card in the folder, with --evaluate also what it scored."""
    use_large_pages()
    from coset.training.distributed import ranks, restarted, together
    from coset.training.folder import SETTINGS

    if recipe is None and not resume:
        raise ValueError("train needs a recipe's name, or --resume with --out; see coset recipes")
    folder = out or Path("runs") / (recipe or "")
    command = f"coset train --resume -o {folder}" + (f" --evaluate {evaluate} --steps {steps}" if evaluate else "")
    with together(resolve_device(device)) as own:
        quiet = console.quiet = ranks().rank > 0
        resume = resume or (restarted() and (folder / SETTINGS).exists())
        recipe, resolved = resolve_run(recipe, settings or (), minutes, folder if resume else None)
        if dry_run:
            print_settings(recipe, resolved)
            return
        with told_how_to_go_on(command, folder):
            run = _carried_out(recipe, resolved, folder, own, resume, tensorboard)
    if evaluate and not quiet:
        with told_how_to_go_on(command, folder):
            _evaluated(run, folder, evaluate, steps)


def _carried_out(recipe: str, resolved: Training, folder: Path, device: str, resume: bool, tensorboard: bool) -> Run:
    """The run, trained to its end."""
    from coset.recipes.conformer_settings import Reflowed
    from coset.training.distributed import ranks
    from coset.training.events import summary_writer
    from coset.training.folder import CHECKPOINT, EVENTS, MODEL
    from coset.training.pairs import FOLDER as PAIRS
    from coset.training.stages import FOLDER, needs_codec
    from coset.training.start import carry_out, open_run

    if resume and not (folder / CHECKPOINT).exists():
        say(f"{folder} has no checkpoint yet: starting at the beginning")
    events = tensorboard or (folder / EVENTS).is_dir()
    if events:
        summary_writer()  # says at once what is missing
    with progress_bar(f"training {recipe}", 1.0) as update:
        opened = partial(open_run, recipe, resolved, folder, device, lambda record: show(record, update))
        run = ranks().in_turn(opened)
        say(f"{recipe}: {len(run.rows.train):,} molecules of {resolved.data} -> {folder}")
        if needs_codec(resolved) and not run.checkpoint.exists():
            codec = resolved.codec
            say(f"its codec is that of {codec}" if codec else f"stage one, its autoencoder -> {folder / FOLDER}")
        if isinstance(resolved, Reflowed) and not run.checkpoint.exists():
            say(f"first {resolved.teacher} draws {resolved.teacher_conformers} of each molecule -> {folder / PAIRS}")
        carry_out(run, folder, resume, events)
    say(f"model -> {folder / MODEL}")
    return run


def _evaluated(run: Run, folder: Path, evaluate: int, steps: int) -> None:
    """Measures the trained model and shows what was found."""
    from coset.metrics.evaluate import Report
    from coset.training.folder import METRICS
    from coset.training.start import evaluate as measured

    with progress_bar(f"drawing for {evaluate:,} molecules", evaluate) as update:
        found = measured(run, folder, evaluate, steps, update)
    if isinstance(found, Report):
        console.print(quality_table(found))
        say(f"molecules and numbers -> {folder / METRICS}")
    else:
        console.print(coverage_table(found))


def resolve_run(
    recipe: str | None, settings: Iterable[str], minutes: float | None, resumed: Path | None
) -> tuple[str, Training]:
    """Recipe and settings as asked for; those of the run to resume, if what is asked for agrees with them."""
    from coset.recipes.registry import find_recipe
    from coset.recipes.settings import parse_settings
    from coset.training.folder import differences, read_settings

    overrides = parse_settings(settings) | ({"minutes": minutes} if minutes is not None else {})
    if resumed is None:
        return str(recipe), find_recipe(str(recipe)).resolve(overrides)
    name, saved = read_settings(resumed)
    found = find_recipe(name)
    sized = found.sizes.get(str(overrides.get("size")), {})
    asked = found.resolve({**saved.model_dump(), **sized, **overrides})
    changes = differences(saved.model_dump(mode="json"), asked.model_dump(mode="json"))
    if recipe not in (None, name):
        changes = f"recipe was {name} and is {recipe}"
    if changes:
        raise ValueError(
            f"--resume keeps the settings of the run in {resumed}: {changes}; leave that out, or start anew"
        )
    return name, asked  # which may be compiled where the run was not


def print_settings(recipe: str, settings: Training) -> None:
    """All settings as JSON, with the number of parameters for the elements of a store, else for QM9's five."""
    from coset.data.catalog import open_dataset
    from coset.recipes.registry import build

    types = len(open_dataset(settings.data).vocabulary) if Path(settings.data).is_dir() else 5
    parameters = sum(p.numel() for p in build(recipe, settings, types).parameters())
    print(json.dumps({"recipe": recipe, "parameters": parameters, **settings.model_dump(mode="json")}, indent=1))


def leg(
    minutes: Annotated[float, typer.Option(help="Minutes of training, now.")],
    total: Annotated[float | None, typer.Option(help="Minutes of the whole leg, if it takes several calls.")] = None,
    queue: Annotated[Path, typer.Option(help="The queue; its top run is trained.")] = Path("training/QUEUE.md"),
    run: Annotated[str | None, typer.Option("--run", help="Another run of the queue, by name.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the leg.")] = Path("runs/leg"),
    data: Annotated[str | None, typer.Option(help="Data set or a store's folder; as queued without.")] = None,
    settings: Settings = None,
    evaluate: Annotated[int, typer.Option(help="Molecules at the end to measure the model with.")] = 1000,
    install: Annotated[bool, typer.Option(help="Put the new weights and numbers where the queue says.")] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Train the queue's top run, or another, for some minutes from its last weights, and export it with a card."""
    use_large_pages()
    from coset.recipes.settings import parse_settings
    from coset.training.leg import Leg

    overrides = parse_settings(settings or ()) | ({"data": data} if data else {})
    planned = Leg.plan(queue, total or minutes, overrides, run)
    with progress_bar(f"leg of {planned.entry.name}", 1.0) as update, told_how_to_go_on("the same command", out):
        card = planned.train(out, resolve_device(device), lambda record: show(record, update), evaluate, minutes)
    _tell(card)
    say(f"weights and card -> {out}")
    if install:
        planned.install(out)
        say(f"installed as {planned.entry.weights}; {queue} is up to date")


def _tell(card: dict[str, Any]) -> None:
    """How far the legs of a card have come, and what the last one's model was measured to be."""
    metrics, far = card["metrics"], f"{card['molecules_seen']:,} molecules seen in {card['minutes']} min"
    if "coverage" in metrics:
        say(f"{card['name']}: {far}")
        console.print(coverage_table(metrics))
        return
    say(f"{card['name']}: {far}; of {metrics['molecules']} drawn:")
    for name, rate in metrics["rates"].items():
        own = f" (data's own {100 * metrics['data'][name]:.1f})" if name in metrics["data"] else ""
        say(f"  {name.replace('_', ' ')} {100 * rate:.1f} %{own}")


def use_large_pages() -> None:
    """A tenth faster on a CPU with the large tensors of training (the small ones of sampling suffer); read by torch."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def told_how_to_go_on(command: str, folder: Path) -> Iterator[None]:
    """After Ctrl-C, says how to go on from the saved state, or that there is none yet."""
    try:
        yield
    except KeyboardInterrupt:
        from coset.training.folder import CHECKPOINT

        saved = (folder / CHECKPOINT).exists()
        say(f"stopped and saved; go on with: {command}" if saved else "stopped before anything was saved")
        raise


def show(record: dict[str, Any], update) -> None:
    """Progress from a log record, and a line for every validation."""
    rate = record["molecules"] / max(record["seconds"], 1e-9)
    if record["kind"] == "train":
        update(record["progress"], f"loss {record['loss']:.4f}, {rate:.0f} molecules/s")
        return
    samples = "".join(f", {key.replace('_', ' ')} {100 * record[key]:.1f} %" for key in SAMPLED if key in record)
    if (rms := record.get("yardstick_bond_rms")) is not None:
        samples += f", after denoising {100 * record['yardstick_stable']:.1f} % stable, bonds off by {rms:.4f} Å"
    say(
        f"{record['molecules']:,} molecules, {record['seconds'] / 60:.1f} min ({rate:.0f}/s): "
        f"validation loss {record['valid_loss']:.4f} (EMA {record['ema']}){samples}"
    )
    if record.get("symptoms"):
        warn(record["symptoms"])


SAMPLED = ("atom_stable", "molecule_stable", "valid", "cov_recall_mean_0.5", "cov_precision_mean_0.5")
