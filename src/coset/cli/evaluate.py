"""coset evaluate: the quality of molecules in a file, beside the data's own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coset.cli.display import console, corrected_table, quality_table, say, section_table
from coset.cli.relax import Workers

if TYPE_CHECKING:
    from rich.table import Table

    from coset.metrics.evaluate import Report
    from coset.molecule import Molecule

_BEYOND = ("molecule_stability", "validity", "valid_and_connected")


def evaluate(
    file: Annotated[Path, typer.Argument(help=".sdf, .sdf.gz, .xyz or .npz.")],
    reference: Annotated[str, typer.Option(help="qm9, qm9-small, drug-like, a reference file, or none.")] = "qm9",
    protocol: Annotated[str | None, typer.Option(help="qm9 or drugs; the reference's without.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Counts, rates and the data's own as JSON.")] = False,
    per_size: Annotated[bool, typer.Option(help="Counts by number of atoms, in the JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page to read in a browser.")] = None,
    level: Annotated[Literal["fast", "full"], typer.Option(help="full: PoseBusters, strain, drug-likeness.")] = "fast",
    workers: Workers = None,
) -> None:  # fmt: skip
    """Score molecules by EDM's protocol: bonds from distances, stability, validity, uniqueness, novelty.

    Protocol drugs, which the reference drug-like brings along, asks validity with every bond single, as is published
    for GEOM-Drugs; the rates by perceived bonds, aromaticity and charges stand beside.

    Bond lengths, angles, torsions and graphs are set beside the training data's: precision can be bought with bias.
    Of an SD file the bonds it holds are scored beside, charges and aromaticity included. With --level full also
    PoseBusters, strain by MMFF94 and GFN2-xTB, SA score, QED, rings, and variation by kind, over processes; stopped
    half-way, the same command goes on where it was.
    """
    from coset.cli.chemistry import chemistry, partial, require
    from coset.energies.batch import enough
    from coset.files import check_writable, read
    from coset.metrics.evaluate import evaluate as score
    from coset.metrics.file_bonds import read_graphs
    from coset.metrics.page import write_report

    if report:
        check_writable(report)
    if level == "full":
        require()
    started = time.monotonic()
    molecules = read(file)
    known, graphs = None if reference == "none" else reference, read_graphs(file)
    found = score(molecules, known, per_size, graphs, protocol, workers or enough(len(molecules), each=500))
    for note in _notes(found):
        typer.echo(f"note: {note}", err=True)
    more = chemistry(found, molecules, file, workers) if level == "full" else None
    seconds = time.monotonic() - started
    if as_json:
        values = found.to_dict()
        print(json.dumps({**values.pop("counts"), **values, **({"full": more.values} if more else {})}, indent=1))
    else:
        console.print(quality_table(found))
        if found.corrected:
            console.print(corrected_table(found.corrected))
        if found.distances:
            console.print(distances_table(found))
        for section in more.sections if more else ():
            console.print(section_table(section))
    if report:
        card = report_card(file, found, molecules, seconds)
        write_report(report, found, molecules, card, more.sections if more else ())
        if not as_json:
            say(f"report -> {report}")
    if more:
        partial(file).unlink(missing_ok=True)


def distances_table(report: Report) -> Table:
    """Distances from the training set, beside those of as many molecules of the data's own test split."""
    from rich.table import Table

    from coset.metrics.distances import DISTANCES

    table = Table(title=f"distance from the training data of {report.reference}", title_justify="left")
    for heading in ("", "value", "data's\nown", "unit"):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right", no_wrap=True)
    for key, value in (report.distances or {}).items():
        own = (report.data_distances or {}).get(key, math.nan)
        if key.startswith("missing") and not value > 0:
            continue  # nearly always
        shown = DISTANCES[key]
        table.add_row(shown.name, shown.text(value), shown.text(own), shown.unit)
    return table


def _notes(report: Report) -> Iterator[str]:
    """What these molecules have that the reference lacks: elements, sizes."""
    if report.unknown:
        yield _unknown(report)
    if beyond := report.larger:
        rates = (f"{name.replace('_', ' ')} {100 * beyond.rates[name].value:.1f} %" for name in _BEYOND)
        yield (
            f"{beyond.counts['molecules']:,} of {report.counts['molecules']:,} molecules have more atoms "
            f"({beyond.smallest} to {beyond.largest}) than the largest of {report.reference} ({beyond.limit}); "
            f"of these: {', '.join(rates)}"
        )


def _unknown(report: Report) -> str:
    """What to do where the molecules hold elements that the reference lacks."""
    names = ", ".join(report.unknown)
    return (
        f"the reference {report.reference} holds no {names}, so novelty and the data's own say little; "
        "use --reference drug-like or none, or a file from: coset data reference"
    )


def report_card(file: Path, report: Report, molecules: Sequence[Molecule], seconds: float) -> dict[str, Any]:
    """What the page says was run: the file, its sampling, its model where that is packaged, the data."""
    import rdkit

    import coset
    from coset.cli.cards import describe
    from coset.model_files import list_models

    sampling = {name: _told(molecules, name) for name in ("model", "steps", "eta", "grid_power", "seed")}
    card: dict[str, Any] = {
        "title": file.name,
        "version": coset.__version__,
        "Evaluation": {
            "file": file.name,
            "molecules": f"{len(molecules):,}",
            "date": date.today().isoformat(),
            "seconds": f"{seconds:.1f}",
            "coset": coset.__version__,
            "RDKit": rdkit.__version__,
        },
        "Sampling": {name: value for name, value in sampling.items() if value is not None},
    }
    if model := list_models().get(sampling["model"] or ""):
        card |= describe(model)
    if report.known is not None:
        sizes = report.known.sizes.values()
        card["Reference"] = {
            "data": report.known.name,
            "protocol": report.protocol,
            "training molecules": f"{sum(sizes):,}",
            "held-out molecules": f"{report.known.counts['molecules']:,}",
        }
        if report.known.name in ("qm9", "qm9-small"):
            card["Reference"]["caveat"] = "1,638 molecules of the standard set are missing, nearly all with fluorine"
    return {name: value for name, value in card.items() if value}


def _told(molecules: Sequence[Molecule], name: str) -> str | None:
    """A property that the molecules share; "several" where they differ, None where they lack it."""
    values = {str(molecule.properties[name]) for molecule in molecules if name in molecule.properties}
    return None if not values else values.pop() if len(values) == 1 else "several"
