"""coset relax: molecules of a file at the nearest minimum of a force field or of GFN2-xTB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from coset.cli.display import progress_bar, say

if TYPE_CHECKING:
    from coset.energies import Limits
    from coset.molecule import Molecule

Method = Literal["mmff", "xtb"]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores without.")]
Reference = Literal["qm9", "qm9-small", "none"]


def relax(
    file: Annotated[Path, typer.Argument(help=".sdf, .sdf.gz, .xyz or .npz.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output: .sdf, .sdf.gz, .xyz or .smi.")],
    method: Annotated[Method, typer.Option(help="mmff (MMFF94) or xtb (GFN2-xTB).")] = "mmff",
    charge: Annotated[int, typer.Option(help="Total charge of every molecule.")] = 0,
    seconds: Annotated[float, typer.Option(help="CPU time for one molecule, at most.")] = 60.0,
    reference: Annotated[Reference, typer.Option(help="Data whose own strain is set beside.")] = "qm9",
    bonds: Annotated[Literal["distance", "rdkit"], typer.Option(help="Bonds written to the output.")] = "rdkit",
    workers: Workers = None,
) -> None:
    """Relax molecules and write energies (kcal/mol) and shifts (Å) as properties.

    A molecule that cannot be relaxed is written as it was, with the reason among its properties. Stopped half-way, the
    same command goes on where it was.
    """
    from coset.cli.sample import check_output, write
    from coset.energies import Limits, check_method
    from coset.files import read

    check_output(out)
    check_method(method)
    limits = Limits(seconds=seconds)
    write(out, relaxed(read(file), method, out, limits, charge, reference, workers), bonds)
    partial(out, method).unlink(missing_ok=True)
    say(f"-> {out}")


def relaxed(
    molecules: Sequence[Molecule],
    method: Method,
    out: Path,
    limits: Limits | None = None,
    charge: int = 0,
    reference: str = "qm9",
    workers: int | None = None,
) -> list[Molecule]:
    """The molecules relaxed where that succeeds, with properties that say so; what was found is told.

    Results are kept beside `out` as they come (`partial`), for a run that is stopped.
    """
    from coset.energies import annotated
    from coset.energies.batch import enough
    from coset.energies.strain import StrainReport, relax_all

    with progress_bar(f"relaxing with {method}", len(molecules)) as update:
        found = relax_all(
            molecules,
            method,
            limits,
            charge,
            workers=workers or enough(len(molecules)),
            kept=partial(out, method),
            progress=lambda done, total: update(done),
        )
    for line in StrainReport.of(found, limits, None if reference == "none" else reference).lines():
        say(line)
    return [annotated(molecule, each) for molecule, each in zip(molecules, found, strict=True)]


def partial(out: Path, method: str) -> Path:
    """Where results wait until the output is written."""
    return out.with_name(f"{out.name}.{method}.jsonl")
