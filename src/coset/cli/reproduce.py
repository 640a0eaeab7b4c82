"""coset reproduce: published experiments and studies, one command each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from coset.cli.display import console, progress_bar, say
from coset.cli.options import resolve_device
from coset.cli.train import show, use_large_pages

app = typer.Typer(
    help="Repeat published experiments and studies: rows.json, report.md and a figure in a folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
FOLDER = Path("runs/reproduce")
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder; by default runs/reproduce/NAME. Resumes.")]
Seeds = Annotated[str, typer.Option(help="Seeds, such as 0,1,2; each repeats its numbers.")]
Rows = Annotated[str | None, typer.Option(help="Only these models, parted by commas.")]


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


@app.command("symmetry-study")
def symmetry_study(
    out: Out = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder.")] = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 1_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    rows: Rows = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Every way of respecting symmetry on one data set, network size and budget; half an hour a row on a CPU."""
    use_large_pages()
    from coset.reproduce.symmetry_study import NAME, ROWS, Study, run

    study = Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps)
    with row_progress(1.0) as begin:
        record = run(study, out or FOLDER / NAME, parse_rows(rows, tuple(ROWS)), resolve_device(device), telling(begin))
    finished(record.folder)


@app.command("recipe-ablation")
def recipe_ablation(
    out: Out = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder.")] = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 300_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 2_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    size: Annotated[str, typer.Option(help="Of the networks: xs or s.")] = "xs",
    precision: Annotated[str, typer.Option(help="Of the networks' inside: fp32 or bf16.")] = "bf16",
    rows: Rows = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """What each part of the coset recipe is worth: one change a row, ten minutes a row on a CPU."""
    use_large_pages()
    from coset.reproduce.recipe_ablation import NAME, ROWS, Study, run

    study = Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps, size, precision)
    with row_progress(1.0) as begin:
        record = run(study, out or FOLDER / NAME, parse_rows(rows, tuple(ROWS)), resolve_device(device), telling(begin))
    finished(record.folder)


@app.command("radm-ablation")
def radm_ablation(
    out: Out = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder.")] = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row and a codec.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn to measure a row.")] = 1_000,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    rows: Rows = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """RADM's ablation and more: poses before an autoencoder, none, rotated data; 15 minutes a row on a CPU."""
    use_large_pages()
    from coset.reproduce.latent_ablation import NAME, ROWS, Study, run

    study = Study(data, molecules, tuple(parse_seeds(seeds)), draws, steps)
    with row_progress(1.0) as begin:
        record = run(study, out or FOLDER / NAME, parse_rows(rows, tuple(ROWS)), resolve_device(device), telling(begin))
    finished(record.folder)


@app.command("radm-alignment")
def radm_alignment(
    models: Annotated[str, typer.Option(help="NAME=PATH,... of latent models or autoencoders.")],
    out: Out = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder, for held-out molecules.")] = "qm9-small",
    n: Annotated[int, typer.Option("-n", min=2, help="Molecules that are posed.")] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
) -> None:
    """Whether molecules lie alike in a learned pose: order of rings, axes and groups before and after; a picture."""
    from coset.model import load
    from coset.reproduce.alignment import NAME, Study, run
    from coset.reproduce.straightness import parse_models

    loaded = {name: load(path) for name, path in parse_models(models).items()}
    finished(run(Study(data, n, seed), loaded, out or FOLDER / NAME).folder)


@app.command("quality-steps")
def quality_steps(
    out: Out = None,
    model: Annotated[str, typer.Option(help="A packaged model's name, or a path.")] = "qm9",
    steps: Annotated[str, typer.Option(help="Sampling steps, parted by commas.")] = "10,20,50,100,250,500,1000",
    n: Annotated[int, typer.Option("-n", min=1, help="Molecules drawn for a row.")] = 1_000,
    sampler: Annotated[list[str] | None, typer.Option(help="Such as 'heun karras', 'ancestral churn=1.4'.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    reference: Annotated[str | None, typer.Option(help="qm9, qm9-small, a file, none; by the model without.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """A model's quality at each number of network calls, by sampler; --sampler again and again for several."""
    counts = parse_steps(steps)
    from coset.model import load
    from coset.reproduce.quality_steps import NAME, Study, reference_name, run

    trained = load(model, resolve_device(device))
    study = Study(n, seed, reference or reference_name(trained))
    with row_progress(n) as begin:
        record = run(study, trained, out or FOLDER / NAME, sampler, counts, begin)
    finished(record.folder)


@app.command("end-steps")
def step_efficiency(
    out: Out = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder.")] = "qm9-small",
    molecules: Annotated[int, typer.Option(min=1, help="Seen in training, a row.")] = 1_000_000,
    seeds: Seeds = "0",
    draws: Annotated[int, typer.Option(min=1, help="Molecules drawn at each number of steps.")] = 500,
    steps: Annotated[str, typer.Option(help="Sampling steps, parted by commas.")] = "50,100,250,500,1000",
    rows: Rows = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Twice as fast after minutes of compiling.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Learned noising (END) against fixed: quality at each number of steps; an hour a row on a CPU."""
    use_large_pages()
    counts = parse_steps(steps)
    from coset.reproduce.step_efficiency import NAME, ROWS, Study, run

    study, chosen = Study(data, molecules, draws), parse_rows(rows, tuple(ROWS))
    with row_progress(1.0) as begin:
        where = resolve_device(device)
        record = run(study, out or FOLDER / NAME, chosen, counts, parse_seeds(seeds), where, telling(begin), compiled)
    finished(record.folder)


@app.command("end-trajectories")
def trajectories(
    out: Out = None,
    models: Annotated[str | None, typer.Option(help="NAME=PATH,... of runs; those of end-steps without.")] = None,
    data: Annotated[str, typer.Option(help="Data set or a store's folder, for held-out molecules.")] = "qm9-small",
    n: Annotated[int, typer.Option("-n", min=2, help="Molecules whose paths are followed.")] = 100,
    steps: Annotated[int, typer.Option(min=2, help="Of a path.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """How straight molecules move, by model: along learned and fixed noising processes, and in sampling."""
    from coset.reproduce.straightness import NAME, Study, find_models, parse_models, run

    runs = (FOLDER / "end-steps" / "runs", Path("benchmarks/results/end-steps/runs"))
    found = find_models(runs) if models is None else parse_models(models)
    with row_progress(1.0) as begin:
        record = run(Study(data, n, steps, seed), found, out or FOLDER / NAME, resolve_device(device), begin)
    finished(record.folder)


@app.command("joining")
def joining(
    out: Out = None,
    model: Annotated[str, typer.Option(help="A packaged model's name, or a path.")] = "qm9",
    data: Annotated[str, typer.Option(help="Data set or a store's folder, for held-out molecules.")] = "qm9",
    fragments: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 50,
    draws: Annotated[int, typer.Option(min=1, help="Molecules around each fragment.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Of sampling.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 1,
    kinds: Annotated[str | None, typer.Option(help="substituent, scaffold, linker; all without.")] = None,
    resample: Annotated[str, typer.Option(help="Times each step is made, parted by commas.")] = "1,3",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Drawing around fragments of held-out molecules: how often what comes out is valid and in one piece."""
    from coset.model import load
    from coset.reproduce.joining import KINDS, NAME, Study, run

    trained, study = load(model, resolve_device(device)), Study(data, fragments, draws, steps, seed)
    chosen, times = parse_rows(kinds, tuple(KINDS)), parse_steps(resample, "--resample")
    with row_progress(fragments * draws) as begin:
        record = run(study, trained, out or FOLDER / NAME, chosen, times, begin)
    finished(record.folder)


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
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
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
