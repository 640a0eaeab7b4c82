"""coset evaluate: the quality of molecules in a file, beside the data's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from coset.cli.display import console, quality_table


def evaluate(
    file: Annotated[Path, typer.Argument(help=".sdf, .sdf.gz, .xyz or .npz; elements and positions count.")],
    reference: Annotated[str, typer.Option(help="qm9, qm9-small, a reference file, or none.")] = "qm9",
    as_json: Annotated[bool, typer.Option("--json", help="Counts, rates and the data's own as JSON.")] = False,
    per_size: Annotated[bool, typer.Option(help="Counts by number of atoms, in the JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page to read in a browser.")] = None,
) -> None:  # fmt: skip
    """Score molecules by EDM's protocol: bonds from distances, stability, validity, uniqueness, novelty."""
    from coset.files import read
    from coset.metrics.evaluate import evaluate as score
    from coset.metrics.page import write_report

    started = time.monotonic()
    molecules = read(file)
    found = score(molecules, None if reference == "none" else reference, per_size=per_size)
    if as_json:
        values = found.to_dict()
        print(json.dumps({**values.pop("counts"), **values}, indent=1))
    else:
        console.print(quality_table(found))
        for name, value in (found.distances or {}).items():
            own = (found.data_distances or {})[name]
            console.print(f"total variation of {name.replace('_', ' ')}: {value:.3f} (data's own {own:.3f})")
    if report:
        write_report(report, found, molecules, _card(file, molecules, time.monotonic() - started))
        if not as_json:
            console.print(f"report -> {report}")


def _card(file: Path, molecules, seconds: float) -> dict[str, object]:
    """What the page says was run: the file, and what the molecules say of their model."""
    from coset.model import list_models

    known = molecules[0].properties
    card: dict[str, object] = {"file": file.name, "evaluated_in": f"{seconds:.1f} s"}
    card |= {name: known[name] for name in ("model", "steps", "seed") if name in known}
    if model := list_models().get(str(known.get("model"))):
        card |= {"recipe": model["recipe"], "parameters": f"{model['parameters']:,}"}
        card |= {
            "molecules_seen_in_training": f"{model['molecules_seen']:,}",
            "trained_on": model["hardware"],
        }
    return card
