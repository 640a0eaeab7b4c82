"""Large jobs of coset sample and coset conformers: many files in a folder, by many workers, resumed by themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coset.cli.display import progress_bar, say

if TYPE_CHECKING:
    from coset.ensembles.plan import Plan
    from coset.ensembles.requests import Request
    from coset.model import Model
    from coset.scale.job import Items, Maker
    from coset.scale.run import Workforce

SUFFIXES = (".sdf.gz", ".sdf")

COUNT = "So many files in a folder of OUT's name, made by --workers; the same command goes on where it was stopped."
Count = Annotated[int | None, typer.Option("--shards", min=1, help=COUNT)]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes for --shards; one a GPU, or one a core, without.")]
Only = Annotated[int | None, typer.Option("--shard", min=0, help="Of --shards this one alone, from 0: for job arrays.")]
OnRay = Annotated[bool, typer.Option("--ray", help="Workers for --shards on a Ray cluster, in place of processes.")]


def workforce(
    shards: int | None, workers: int | None, only: int | None, ray: bool, refused: Mapping[str, Any]
) -> Workforce | None:
    """Who makes the files; None without --shards. Raises ValueError for options that do not go together.

    refused: options that are for one file, with what was given for them.
    """
    if shards is None:
        if workers is not None or only is not None or ray:
            raise ValueError("--workers, --shard and --ray are for jobs in many files; give --shards too")
        return None
    if given := [name for name, value in refused.items() if value]:
        raise ValueError(f"{', '.join(given)} cannot be had with --shards; treat the files afterwards, one by one")
    from coset.scale.run import Workforce

    return Workforce(workers, only, ray)


def sample_shards(
    model: str, trained: Model, n: int, seed: int, options: dict[str, Any], bonds: Any, out: Path, shards: int,
    force: Workforce, device: str,
) -> None:  # fmt: skip
    """Molecules 0 to n - 1 of a seed, in files. options: of `Model.draw`."""
    from coset.metrics.protocol import protocol_of
    from coset.scale.making import Molecules

    sampler = {key: value for key, value in options.items() if key not in ("conditions", "keep", "fix", "precision")}
    about = {"seed": seed, "model": _key(trained), **asdict(trained.sampling(**sampler)), "bonds": bonds}
    about |= {"conditions": options.get("conditions"), "precision": options.get("precision")}
    maker = Molecules(model, seed, options, bonds, protocol_of(trained.vocabulary.numbers))
    found = _made(maker, range(n), about, out, shards, force, device)
    if again := sum(record["redrawn"] for record in found):
        say(f"{again} came out non-finite and were drawn again")


def conformer_shards(
    asked: Sequence[Request], label: dict[str, Any], method: tuple[str, str | None, int | None], plan: Plan,
    out: Path, shards: int, force: Workforce, device: str,
) -> int:  # fmt: skip
    """Conformers of all requests, in files, and one table of failures beside them; how many molecules failed.

    method: its name, its model and its steps.
    """
    from coset.ensembles.writing import write_failures
    from coset.scale.making import Conformers

    name, model, steps = method
    found = _made(Conformers(name, plan, model, steps), asked, label, out, shards, force, device)
    rows = [row for record in found for row in record["rows"]]
    failed = sum(record["failed"] for record in found)
    say(f"{sum(record['conformers'] for record in found):,} conformers")
    if rows and len(found) == shards:
        table = folder_of(out) / "failures.csv"
        write_failures(table, rows)
        say(f"{failed:,} molecules failed; reasons -> {table}")
    return failed


def folder_of(out: Path) -> Path:
    """The folder of a job's files: OUT without the suffix of a file."""
    for suffix in SUFFIXES:
        if out.name.endswith(suffix):
            return out.with_name(out.name.removesuffix(suffix))
    return out


def _made(
    maker: Maker, items: Items, about: Mapping[str, Any], out: Path, shards: int, force: Workforce, device: str
) -> list[dict[str, Any]]:
    """Makes the files and tells; the records of those that are there."""
    from importlib.metadata import version

    from coset.scale.job import Job, Shards
    from coset.scale.run import run

    folder, started = folder_of(out), time.monotonic()
    about = {**about, "coset": version("coset"), "rdkit": version("rdkit")}
    job = Job(maker, items, Shards(folder, shards, maker.suffix), about)
    try:
        with progress_bar(f"{len(items):,} molecules in {shards} files", shards) as update:
            whole = run(job, force, device, update)
    except KeyboardInterrupt:
        say("stopped; what is done is kept: go on with the same command")
        raise
    found = job.records()
    molecules = sum(record["molecules"] for record in found)
    part = "" if whole else f" of {shards}"
    say(f"{molecules:,} molecules in {len(found)}{part} files, {time.monotonic() - started:.1f} s -> {folder}")
    return found


def _key(model: Model) -> str:
    """Differs for other weights."""
    from coset.training.checkpoint import tensor_crc

    found = 0
    for parameter in model.diffusion.parameters():
        found = tensor_crc(parameter, found)
    return f"{model.name}-{found:08x}"
