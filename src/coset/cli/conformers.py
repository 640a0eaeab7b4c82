"""coset conformers: SMILES in, checked conformers out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coset.cli.display import progress_bar, say
from coset.cli.shards import Count, Only, OnRay, Workers, conformer_shards, workforce

if TYPE_CHECKING:
    from coset.ensembles.methods import Method
    from coset.ensembles.plan import Plan
    from coset.ensembles.requests import Request
    from coset.ensembles.writing import Journal

SOME_FAILED = 1  # exit code
_LONG = 500  # conformers of a run, of which a trial tells the time beforehand
_SHOWN = 5  # failures on the terminal; the table has them all

Source = Annotated[str, typer.Argument(help="A SMILES, or a file: .smi, .csv with a column smiles, .sdf (or .gz).")]
Made = Annotated[Literal["learned", "rdkit", "rdkit-mmff"], typer.Option(help="What makes the positions.")]
Model = Annotated[str | None, typer.Option(help="Of the learned method: a packaged model's name, or a path.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Of the learned method; by the model's card without.")]
Relax = Annotated[Literal["mmff", "xtb"] | None, typer.Option(help="Relax with MMFF94 or GFN2-xTB; energies follow.")]
Prune = Annotated[float | None, typer.Option(help="Å, RMSD of heavy atoms up to which two conformers are one.")]
Window = Annotated[float | None, typer.Option(help="kcal/mol above the lowest that is kept; for --relax.")]
CoreFile = Annotated[Path | None, typer.Option("--core", help="One molecule in 3D: conformers are laid around it.")]
Limit = Annotated[float, typer.Option(help="Seconds for a molecule's drawing, and for relaxing it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]


def conformers(
    source: Source,
    n: Annotated[int, typer.Option("-n", min=1, help="Conformers a molecule.")] = 10,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output, .sdf.")] = Path("conformers.sdf"),
    seed: Annotated[int, typer.Option(help="The same molecule and seed give the same conformers.")] = 0,
    method: Made = "learned",
    model: Model = None,
    steps: Steps = None,
    relax: Relax = None,
    prune: Prune = None,
    window: Window = None,
    core: CoreFile = None,
    time_limit: Limit = 60.0,
    resume: Resume = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")] = False,
    shards: Count = None,
    workers: Workers = None,
    shard: Only = None,
    ray: OnRay = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; of the learned method.")] = "auto",
) -> None:
    """Make conformers with the stereo asked for and write them with bonds, hydrogens, seeds and energies.

    Molecules that fail are listed with the reason in OUT.failures.csv, the others are unharmed. Exit code 0 if all are
    done, 1 if some failed, 2 for a mistake in the command.
    """
    from coset.ensembles.plan import Plan
    from coset.ensembles.refine import AfterWork
    from coset.ensembles.requests import requests
    from coset.ensembles.writing import check_output

    force = workforce(shards, workers, shard, ray, {"--core": core, "--overwrite": overwrite})
    if not force:
        check_output(out, overwrite, resume)
    if core is not None and relax is not None:
        raise ValueError("--relax would move the atoms that --core keeps; make conformers first, then relax the file")
    plan = Plan(n, seed, AfterWork(relax, prune, window, time_limit, workers=None), _core(core), time_limit)
    asked = requests(source)
    maker = _method(method, model, device, steps, time_limit)
    learned = {"method": method, "model": maker.name} if method == "learned" else {"method": maker.name}
    told = {"seed": seed, **learned}
    plan = Plan(n, seed, plan.after, plan.core, time_limit, told)
    if force and shards:
        label, chosen = _label(asked, maker, plan), (method, model, steps)
        if conformer_shards(asked, label, chosen, plan, out, shards, force, _device(method, device)):
            raise typer.Exit(SOME_FAILED)
    else:
        _run(asked, maker, plan, out, resume)


def _method(method: str, model: str | None, device: str, steps: int | None, seconds: float) -> Method:
    from coset.ensembles.methods import method_of

    return method_of(method, model, _device(method, device), steps, seconds)


def _device(method: str, device: str) -> str:
    """Where a method runs: those that know the CPU alone are not asked about a GPU."""
    from coset.cli.options import resolve_device
    from coset.ensembles.gpu_method import installed

    return resolve_device(device) if method == "learned" or installed() else device


def _core(path: Path | None):
    if path is None:
        return None
    from coset.ensembles.core import read_core

    return read_core(path)


def _run(asked: Sequence[Request], method: Method, plan: Plan, out: Path, resume: bool) -> None:
    """Makes, writes as it goes, tells; raises typer.Exit(1) where molecules failed."""
    from coset.ensembles.jobs import made, windows
    from coset.ensembles.writing import Journal, failures_path

    journal = Journal(out, _label(asked, method, plan), resume)
    if journal.done:
        say(f"going on after {journal.done:,} of {len(asked):,} molecules")
    earlier = journal.conformers
    try:
        _tell_time(asked[journal.done :], method, plan)
        started = time.monotonic()
        with progress_bar(f"conformers by {method.name}", len(asked)) as update:
            for window in windows(len(asked), plan.count, method.at_once, journal.done):
                rate = _Rate(update, window.start, started, journal.conformers - earlier)
                journal.add(made(asked[window.start : window.stop], method, plan, rate))
    except BaseException:
        if not journal.done:
            journal.discard()
            raise
        say(f"{journal.done:,} of {len(asked):,} molecules are kept; go on with the same command and --resume")
        raise
    journal.finish()
    seconds = time.monotonic() - started
    rate = f"{(journal.conformers - earlier) / seconds:.1f} a second" if seconds else ""
    done = len(asked) - journal.failed
    of = f"{done:,} of {len(asked):,} molecules"
    say(f"{journal.conformers:,} conformers of {of} in {seconds:.1f} s ({rate}) -> {out}")
    _tell_failures(journal, failures_path(out))
    if journal.failed:
        raise typer.Exit(SOME_FAILED)


class _Rate:
    """Tells a bar how many molecules are drawn, and how many a second."""

    def __init__(self, update, before: int, started: float, conformers: int) -> None:
        self._update, self._before, self._started, self._conformers = update, before, started, conformers

    def __call__(self, done: float) -> None:
        seconds = time.monotonic() - self._started
        note = f"{self._conformers / seconds:.1f} conformers/s" if seconds and self._conformers else ""
        self._update(self._before + done, note)


def _tell_time(asked: Sequence[Request], method: Method, plan: Plan) -> None:
    """An estimate before a long run."""
    if len(asked) * plan.count < _LONG:
        return
    from coset.ensembles.jobs import estimated

    seconds = estimated(asked, method, plan)
    unit, size = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= s), ("s", 1))
    if seconds:
        each = f"{len(asked):,} molecules, {plan.count} conformers each"
        say(f"{each}: about {seconds / size:.2g} {unit}, by a short trial")


def _tell_failures(journal: Journal, table: Path) -> None:
    for line, name, smiles, reason in journal.rows[:_SHOWN]:
        say(f"line {line}, {name or smiles or 'no name'}: {reason}")
    if len(journal.rows) > _SHOWN:
        say(f"and {len(journal.rows) - _SHOWN:,} more")
    if journal.rows:
        failed = f"{journal.failed:,} molecule{'s' * (journal.failed != 1)} failed"
        say(f"{failed}, {journal.partial:,} lack{'s' * (journal.partial == 1)} some conformers; reasons -> {table}")


def _label(asked: Sequence[Request], method: Method, plan: Plan) -> dict[str, Any]:
    """What a run is; another one cannot go on with its part."""
    from importlib.metadata import version

    content = hashlib.sha256()
    for request in asked:
        content.update(f"{request.line}\0{request.name}\0{request.text}\0{request.fault}\n".encode())
    after = plan.after
    return {
        "input": content.hexdigest()[:16], "n": plan.count, "seed": plan.seed, "method": method.name,
        "model": method.key, "relax": after.relax, "prune": after.prune, "window": after.window,
        "core": None if plan.core is None else plan.core.key, "time limit": plan.seconds,
        "coset": version("coset"), "rdkit": version("rdkit"),
    }  # fmt: skip
