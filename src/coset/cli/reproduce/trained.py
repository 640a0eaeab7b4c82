"""coset reproduce: what trained models do: quality against steps, poses, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset.cli.options import resolve_device
from coset.cli.reproduce.options import FOLDER, Device, Held, Out, finished, parse_steps, row_progress

app = typer.Typer()


@app.command("quality-steps")
def quality_steps(
    out: Out = None,
    model: Annotated[str, typer.Option(help="A packaged model's name, or a path.")] = "qm9",
    steps: Annotated[str, typer.Option(help="Sampling steps, parted by commas.")] = "10,20,50,100,250,500,1000",
    n: Annotated[int, typer.Option("-n", min=1, help="Molecules drawn for a row.")] = 1_000,
    sampler: Annotated[list[str] | None, typer.Option(help="Such as 'heun karras', 'ancestral churn=1.4'.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    reference: Annotated[str | None, typer.Option(help="qm9, qm9-small, a file, none; by the model without.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The model that this one was tuned from, beside it.")] = None,
    teacher_steps: Annotated[str, typer.Option(help="Its sampling steps.")] = "4,10,25,50,100",
    device: Device = "auto",
) -> None:  # fmt: skip
    """A model's quality at each number of network calls, by sampler; --sampler again and again for several.

    A student of few steps (recipe distill) stands beside its --teacher, both drawn from as their cards say.
    """
    counts, taught = parse_steps(steps), parse_steps(teacher_steps, "--teacher-steps")
    from coset.model import load
    from coset.reproduce.quality_steps import NAME, Study, Teacher, reference_name, run

    where = resolve_device(device)
    trained, beside = load(model, where), teacher and Teacher(load(teacher, where), taught)
    study = Study(n, seed, reference or reference_name(trained))
    with row_progress(n) as begin:
        record = run(study, trained, out or FOLDER / NAME, sampler, counts, begin, beside or None)
    finished(record.folder)


@app.command("radm-alignment")
def alignment(
    models: Annotated[str, typer.Option(help="NAME=PATH,... of latent models or autoencoders.")],
    out: Out = None,
    data: Held = "qm9-small",
    n: Annotated[int, typer.Option("-n", min=2, help="Molecules that are posed.")] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
) -> None:
    """Whether molecules lie alike in a learned pose: order of rings, axes and groups before and after; a picture."""
    from coset.model import load
    from coset.reproduce.alignment import NAME, Study, run
    from coset.reproduce.straightness import parse_models

    loaded = {name: load(path) for name, path in parse_models(models).items()}
    finished(run(Study(data, n, seed), loaded, out or FOLDER / NAME).folder)


@app.command("end-trajectories")
def trajectories(
    out: Out = None,
    models: Annotated[str | None, typer.Option(help="NAME=PATH,... of runs; those of end-steps without.")] = None,
    data: Held = "qm9-small",
    n: Annotated[int, typer.Option("-n", min=2, help="Molecules whose paths are followed.")] = 100,
    steps: Annotated[int, typer.Option(min=2, help="Of a path.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    device: Device = "auto",
) -> None:
    """How straight molecules move, by model: along learned and fixed noising processes, and in sampling."""
    from coset.reproduce.straightness import NAME, Study, find_models, parse_models, run

    runs = (FOLDER / "end-steps" / "runs", Path("benchmarks/results/end-steps/runs"))
    found = find_models(runs) if models is None else parse_models(models)
    with row_progress(1.0) as begin:
        record = run(Study(data, n, steps, seed), found, out or FOLDER / NAME, resolve_device(device), begin)
    finished(record.folder)


@app.command("conformer-properties")
def conformer_properties(
    out: Out = None,
    models: Annotated[str, typer.Option(help="NAME=PATH,... of conformer models.")] = "learned=conformers",
    data: Annotated[str, typer.Option(help="Ensembles: xtb, drug-like or an .npz.")] = "xtb",
    targets: Annotated[int, typer.Option(min=1, help="Test molecules, the first ones.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Of the models' sampling.")] = 25,
    relax: Annotated[str, typer.Option(help="Ways of relaxing first: none,mmff,xtb.")] = "none",
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes for GFN2-xTB.")] = 1,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Boltzmann-averaged energies, dipoles and gaps of generated ensembles beside the reference's, by GFN2-xTB."""
    from coset.ensembles.model import load_conformer_model
    from coset.reproduce.conformer_properties import NAME, RELAX, Study, run
    from coset.reproduce.rows import check_known
    from coset.reproduce.straightness import parse_models

    ways = [part.strip() for part in relax.split(",")]
    check_known("way of relaxing", ways, RELAX)
    where = resolve_device(device)
    loaded = {
        name: load_conformer_model(path, where).having(steps=steps) for name, path in parse_models(models).items()
    }
    with row_progress(1.0) as begin:

        def told(row: str):
            update = begin(row)
            return lambda done, total: update(done / max(total, 1))

        study, chosen = Study(data, targets, seed), [RELAX[way] for way in ways]
        record = run(study, loaded, out or FOLDER / NAME, chosen, workers, told)
    finished(record.folder)


@app.command("plausible-conformers")
def plausible_conformers(
    source: Annotated[str, typer.Argument(help="Molecules: .smi, .csv with a column smiles, .sdf (or .gz).")],
    out: Out = None,
    models: Annotated[str, typer.Option(help="NAME=PATH,... of conformer models.")] = "learned=conformers",
    targets: Annotated[int | None, typer.Option(min=1, help="Only the first so many molecules.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Conformers a molecule.")] = 1,
    relax: Annotated[str, typer.Option(help="Ways of relaxing after it: none,mmff,xtb.")] = "none,mmff",
    seed: Annotated[int, typer.Option(min=0, help="Repeats its numbers.")] = 0,
    device: Device = "auto",
) -> None:
    """How many molecules of a file get conformers, their stereo, PoseBusters' tests and the time, beside ETKDGv3."""
    from coset.ensembles.model import load_conformer_model
    from coset.ensembles.requests import requests
    from coset.metrics.plausibility import check_installed
    from coset.reproduce.plausible_conformers import NAME, RELAX, Study, run
    from coset.reproduce.rows import check_known
    from coset.reproduce.straightness import parse_models

    check_installed()
    ways = [part.strip() for part in relax.split(",")]
    check_known("way of relaxing", ways, RELAX)
    asked, where = requests(source)[:targets], resolve_device(device)
    loaded = {name: load_conformer_model(path, where) for name, path in parse_models(models).items()}
    study = Study.of(Path(source).name, asked, n, seed)
    with row_progress(len(asked)) as begin:
        record = run(study, asked, loaded, out or FOLDER / NAME, [RELAX[way] for way in ways], begin)
    finished(record.folder)
