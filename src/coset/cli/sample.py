"""coset sample: molecules from a trained model into a file."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coset.cli.display import progress_bar, say
from coset.cli.fixing import Fix, Fixing, Resample
from coset.cli.options import Compile, Precision, check_precision, resolve_device
from coset.cli.shards import Count, Only, OnRay, Workers, sample_shards, workforce
from coset.cli.wishes import Composition, Guidance, Like, Property, Substructure, heeded, tell, wishes

if TYPE_CHECKING:
    from coset.model import Drawn, Model

SUFFIXES = (".sdf", ".sdf.gz", ".xyz", ".smi")


Flag = Annotated[str | None, typer.Option(help="stable, valid, connected, joined, or several: draw until n pass.")]
Bonds = Annotated[Literal["distance", "rdkit"], typer.Option(help="EDM's distance rule, or RDKit's perception.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output: .sdf, .sdf.gz, .xyz or .smi.")]
Relax = Annotated[Literal["mmff", "xtb"] | None, typer.Option(help="Relax with MMFF94 or GFN2-xTB, as coset relax.")]
Atoms = Annotated[int | None, typer.Option(help="Size of every molecule; drawn from the data's sizes without.")]


def sample(
    n: Annotated[int, typer.Option("-n", help="Number of molecules.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same molecules.")] = 0,
    out: Out = Path("molecules.sdf"),
    model: Annotated[str, typer.Option(help="A packaged model's name, or a path.")] = "qm9",
    steps: Annotated[int | None, typer.Option(help="From noise to data, 100; few for models made for it.")] = None,
    solver: Annotated[str | None, typer.Option(help="ancestral, multistep, heun, or renewed (for few steps).")] = None,
    eta: Annotated[float | None, typer.Option(help="1 random, 0 deterministic; by the solver without.")] = None,
    grid: Annotated[str | None, typer.Option(help="power (of time), karras or log_snr.")] = None,
    grid_power: Annotated[float | None, typer.Option(help="1: equal steps, as published; more: shorter last.")] = None,
    churn: Annotated[float | None, typer.Option(help="Noise added before each step, as a factor; 1 for none.")] = None,
    late: Annotated[float | None, typer.Option(help="Noise in Å below which steps are ancestral.")] = None,
    until: Annotated[float | None, typer.Option(help="Noise in Å that the last call starts from.")] = None,
    atoms: Atoms = None,
    composition: Composition = None,
    substructure: Substructure = None,
    like: Like = None,
    properties: Property = None,
    guidance: Guidance = 1.0,
    fix: Fix = None,
    resample: Resample = 1,
    keep: Flag = None,
    bonds: Bonds = "distance",
    relax: Relax = None,
    shards: Count = None,
    workers: Workers = None,
    shard: Only = None,
    ray: OnRay = False,
    precision: Precision = None,
    compile: Compile = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Draw molecules and write them with bonds, seed, model and quality flags.

    Without --solver, --eta, --grid, --grid-power, --churn, --late and --until the model's card says how.
    """
    options = {"solver": solver, "eta": eta, "grid": grid, "grid_power": grid_power, "churn": churn, "late": late}
    options |= {"steps": steps, "until": until, "precision": precision, "compile": compile or None}
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"atoms": atoms, "resample": resample, "guidance": guidance}
    force = workforce(shards, workers, shard, ray, {"--keep": keep, "--relax": relax, "--fix": fix})
    if not force:
        check_output(out, relax)
    asked = wishes(composition, substructure, like, properties, guidance)
    from coset.model import load

    where = resolve_device(device)
    check_precision(precision, where)
    trained = load(model, "cpu" if force else where)
    conditions = heeded(trained, asked, atoms)
    if force and shards:
        options |= {"conditions": asked}
        sample_shards(model, trained, n, seed, options, bonds, out, shards, force, where)
    else:
        drawn = _draw(trained, n, seed, {**options, "conditions": conditions}, fix, keep, relax, bonds, out)
        tell(drawn.molecules, asked)


def _draw(
    model: Model, n: int, seed: int, options: dict[str, Any], fix: Path | None, keep: str | None,
    relax: Literal["mmff", "xtb"] | None, bonds: Literal["distance", "rdkit"], out: Path,
) -> Drawn:  # fmt: skip
    """Draws molecules into one file, and tells how it went. options: of `Model.draw`."""
    from coset.metrics.flags import flag, passes
    from coset.metrics.protocol import protocol_of
    from coset.model import Unlikely, UnseenSize

    wanted = tuple(keep.split(",")) if keep else ()
    protocol = protocol_of(model.vocabulary.numbers)
    fixing = Fixing.of(fix, wanted, relax, protocol)
    started = time.monotonic()
    with warnings.catch_warnings(), progress_bar(f"sampling with {model.name}", n) as update:
        for told in (UnseenSize, Unlikely):
            warnings.simplefilter("ignore", told)
        drawn = model.draw(
            n, seed, **options, fix=fixing.fragment, keep=fixing.watched(passes(wanted, protocol) if wanted else None),
            progress=lambda done, total: update(done, f"{total} drawn" if wanted else ""),
        )  # fmt: skip
    seconds = time.monotonic() - started
    molecules = _relaxed(drawn.molecules, relax, out)
    write(out, flag(molecules, protocol), bonds)
    say(f"{n} molecules in {seconds:.1f} s ({drawn.drawn / seconds:.1f} drawn a second) -> {out}")
    _tell(drawn, keep, fixing.report(drawn, model))
    return drawn


def _tell(drawn: Drawn, keep: str | None, joined: str | None) -> None:
    """What else is worth knowing of the drawing."""
    if drawn.redrawn:
        from coset.samplers.generate import some_of

        again = sorted(set(drawn.redrawn))
        say(f"{len(again)} came out non-finite and were drawn again: numbers {some_of(again)}")
    if keep:
        rate = 100 * drawn.passed / drawn.drawn
        say(f"acceptance ({keep}): {drawn.passed} of {drawn.drawn} drawn, {rate:.1f} %")
    if joined:
        say(joined)


def _relaxed(molecules, method: Literal["mmff", "xtb"] | None, out: Path):
    """As drawn without a method, else relaxed, with what was found told."""
    if method is None:
        return molecules
    from coset.cli.relax import partial, relaxed

    found = relaxed(molecules, method, out)
    partial(out, method).unlink(missing_ok=True)  # the same seed draws them again
    return found


def check_output(out: Path, relax: str | None = None) -> None:
    """Refuses what could not be written in the end, before the work is done."""
    if relax:
        from coset.energies import check_method

        check_method(relax)
    if not out.name.endswith(SUFFIXES):
        raise ValueError(f"Cannot write {out}: expected a name that ends in {', '.join(SUFFIXES)}")
    from coset.files import check_writable

    check_writable(out)


def write(out: Path, molecules, bonds: Literal["distance", "rdkit"]) -> None:
    """Writes by the suffix of the name."""
    from coset.files import write_sdf, write_smiles, write_xyz

    if out.suffix == ".xyz":
        write_xyz(out, molecules)
    elif out.suffix == ".smi":
        write_smiles(out, molecules, bonds)
    else:
        write_sdf(out, molecules, bonds)
