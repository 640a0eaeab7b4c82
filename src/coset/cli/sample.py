"""coset sample: molecules from a trained model into a file."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from coset.cli.display import progress_bar, say
from coset.cli.fixing import Fix, Fixing, Resample
from coset.cli.options import resolve_device
from coset.cli.wishes import Composition, Guidance, Like, Property, Substructure, heeded, tell, wishes

if TYPE_CHECKING:
    from coset.model import Drawn

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
    steps: Annotated[int, typer.Option(help="Steps from noise to data; more is better and slower.")] = 100,
    solver: Annotated[str | None, typer.Option(help="ancestral; multistep (DPM-Solver++) or heun, of order 2.")] = None,
    eta: Annotated[float | None, typer.Option(help="1 random, 0 deterministic; by the solver without.")] = None,
    grid: Annotated[str | None, typer.Option(help="power (of time), karras or log_snr.")] = None,
    grid_power: Annotated[float | None, typer.Option(help="1: equal steps, as published; more: shorter last.")] = None,
    churn: Annotated[float | None, typer.Option(help="Noise added before each step, as a factor; 1 for none.")] = None,
    late: Annotated[float | None, typer.Option(help="Noise in Å below which steps are ancestral.")] = None,
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
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Draw molecules and write them with bonds, seed, model and quality flags.

    Without --solver, --eta, --grid, --grid-power, --churn and --late the model's card says how.
    """
    sampler = {"solver": solver, "eta": eta, "grid": grid, "grid_power": grid_power, "churn": churn, "late": late}
    check_output(out, relax)
    asked = wishes(composition, substructure, like, properties, guidance)
    from coset.metrics.flags import flag, passes
    from coset.model import Unlikely, UnseenSize, load

    trained = load(model, resolve_device(device))
    wanted = tuple(keep.split(",")) if keep else ()
    fixing = Fixing.of(fix, wanted, relax)
    conditions = heeded(trained, asked, atoms)
    started = time.monotonic()
    with warnings.catch_warnings(), progress_bar(f"sampling with {model}", n) as update:
        for told in (UnseenSize, Unlikely):
            warnings.simplefilter("ignore", told)
        drawn = trained.draw(
            n, seed, steps=steps, **{name: value for name, value in sampler.items() if value is not None},
            atoms=atoms, resample=resample, conditions=conditions, guidance=guidance, fix=fixing.fragment,
            keep=fixing.watched(passes(wanted) if wanted else None),
            progress=lambda done, total: update(done, f"{total} drawn" if wanted else ""),
        )  # fmt: skip
    seconds = time.monotonic() - started
    molecules = _relaxed(drawn.molecules, relax, out)
    write(out, flag(molecules), bonds)
    say(f"{n} molecules in {seconds:.1f} s ({drawn.drawn / seconds:.1f} drawn a second) -> {out}")
    _tell(drawn, keep, fixing.report(drawn, trained))
    tell(drawn.molecules, asked)


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
