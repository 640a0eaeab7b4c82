"""Quality against steps of learned noising: END, its controls, and EDM with the same network, on one budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from coset.data.catalog import open_dataset
from coset.files import atomic_write
from coset.metrics.evaluate import Rate, evaluate
from coset.metrics.reference import load_reference
from coset.model import Model
from coset.processes.neural import Neural
from coset.processes.steps import EulerMaruyama
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.quality_steps import RATES, parse_sampler, reference_name
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import MeasureAt, check_known, run_steps, trained
from coset.samplers.solvers import SOLVERS
from coset.training.log import Listener

NAME = "end-steps"
STEPS = (50, 100, 250, 500, 1000)
TRAINING = {
    "batch": 128, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "decay": 0.4,
    "clip": 1.0, "ema": (0.999, 0.9995), "precision": "bf16", "sample_molecules": 0,
}  # fmt: skip
EQGAT = {"width": 48, "vector_width": 24, "edge_width": 16, "depth": 3}
EGNN = {"width": 64, "depth": 4}
PLAIN = {"width": 64, "depth": 4, "heads": 4, "kernels": 32, "pose_width": 32, "pose_depth": 2}
PUBLISHED = "ancestral grid_power=1"  # equal steps


@dataclass(frozen=True)
class Row:
    """trained: the row whose weights it has, where only the sampler differs. sampler: in words (`parse_sampler`).

    euler: steps of Euler and Maruyama in the place of those whose marginals are exact.
    """

    what: str
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=lambda: EQGAT)
    trained: str = ""
    sampler: str = PUBLISHED
    euler: bool = False


ROWS: dict[str, Row] = {
    "edm": Row("EDM: EGNN, fixed noising", "edm", EGNN),
    "edm-eqgat": Row("EDM with END's network", "edm_eqgat"),
    "edm-eqgat-karras": Row("the same on Karras's grid", "edm_eqgat", trained="edm-eqgat", sampler="ancestral karras"),
    "fixed": Row("END's network and loss, nothing of the noising learned", "end_fixed"),
    "mu-only": Row("learned mean", "end_mu_only"),
    "scalar": Row("learned mean and scale", "end_scalar"),
    "full": Row("learned mean, scale and matrix: END", "end"),
    "full-euler": Row("the same, sampled as published (Euler-Maruyama)", "end", trained="full", euler=True),
    "full-heun": Row("the same, deterministic, two calls a step", "end", trained="full", sampler="heun grid_power=1"),
    "direct": Row("END's drift learned without its noising", "end_direct"),
    "straight": Row("END with a penalty on curvature", "end", EQGAT | {"curvature": 0.01}),
    "symdiff": Row("END of plain transformers in poses", "end_symdiff", PLAIN),
}


@dataclass(frozen=True)
class Study:
    """Budget: molecules seen in training, a row, and molecules drawn at each number of steps."""

    data: str = "qm9-small"
    molecules: int = 1_000_000
    draws: int = 500


def run(
    study: Study,
    folder: Path,
    rows: Sequence[str] = tuple(ROWS),
    steps: Sequence[int] = STEPS,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    begin: Callable[[str], Listener | None] = lambda row: None,
    compiled: bool = False,
) -> Record:
    """Trains and measures what is not there yet, and writes the report anew after each number of steps.

    compiled: trains by `torch.compile`, which takes minutes to begin and half the time then.
    A row that was broken off goes on from its checkpoint. Raises ValueError for unknown rows, and where the folder
    holds the rows of another study.
    """
    check_known("row", rows, ROWS)
    record = Record.open(NAME, folder, asdict(study))

    def make(row: str, seed: int) -> MeasureAt:
        more = {"seed": seed, "compile": compiled}
        model = _trained(study, row, more, folder / "runs", device, begin(f"{row} seed {seed}"))
        return lambda steps: {"row": row, "seed": seed} | measure(model, ROWS[row], steps, study.draws, seed)

    return run_steps(record, rows, steps, seeds, make, lambda: report(record, study))


def _trained(
    study: Study, row: str, more: Mapping[str, Any], folder: Path, device: str, listener: Listener | None
) -> Model:
    spec = ROWS[row]
    folder = folder / f"{spec.trained or row}-{more['seed']}"
    budget = {"data": study.data, "molecules": study.molecules, "validate_every": max(study.molecules // 20, 1)}
    settings = TRAINING | budget | dict(spec.settings) | dict(more)
    model = trained(spec.recipe, settings, folder, device, listener)
    if not spec.euler:
        return model
    process = cast(Neural, model.diffusion.process).with_step(EulerMaruyama())
    return replace(model, diffusion=model.diffusion.having(process=process))


def measure(model: Model, spec: Row, steps: int, draws: int, seed: int) -> dict[str, Any]:
    """What the table says at one number of steps. seconds: a molecule, of this process's own time."""
    options = parse_sampler(spec.sampler)
    about = {"steps": steps, "calls": steps * SOLVERS[options["solver"]].calls + 1, "parameters": model.parameters}
    about |= {"minutes": model.card["minutes"], "flops": model.card["flops"]}
    begun = time.process_time()
    try:
        drawn = model.draw(draws, seed, steps=steps, **options)
    except FloatingPointError:  # ten draws of a molecule, none of them finite
        return about | {"diverged": True}
    seconds = time.process_time() - begun
    known = reference_name(model)
    found = evaluate(drawn.molecules, None if known == "none" else load_reference(known))
    distances = {name: float(value) for name, value in (found.distances or {}).items() if math.isfinite(value)}
    return about | {
        "diverged": False,
        "redrawn": len(drawn.redrawn),
        "seconds": round(seconds / draws, 5),
        "rates": {name: list(astuple(found.rates[name])) for name in RATES},
        "distances": distances,
    }


def report(record: Record, study: Study) -> None:
    """report.md and, where matplotlib is installed, figure.svg, from the rows that are there."""
    seeds = sorted({row["seed"] for row in record.rows.values()})
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen a row; {study.draws:,} molecules drawn at each number of steps",
        ", ".join(map(str, seeds)) or "none",
        f"{dataset.name}: {len(dataset.train):,} train, {len(dataset.valid):,} valid",
        "".join(f" --{name} {value}" for name, value in asdict(study).items() if value != getattr(Study(), name)),
    )
    headings = [
        "row", "what it is", "parameters", "TFLOP of training", "steps", "atoms stable %", "molecules stable %",
        "valid %", "connected %", "bond lengths (pm)", "drawn again", "ms a molecule",
    ]  # fmt: skip
    rows = sorted(record.rows.values(), key=lambda row: (list(ROWS).index(row["row"]), row["seed"], row["steps"]))
    drawn = save_figure(record.folder / "figure.svg", lambda axes: _figure(axes, rows), panels=2)
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, [_line(row) for row in rows]) + NOTES)
        file.write("\n![Atoms stable against steps and against time](figure.svg)\n" if drawn else f"\n{NO_PLOT}.\n")


NOTES = """
Molecules stable with their 95 % interval (Wilson). Bond lengths: Wasserstein's distance from the training data's. Drawn
again: molecules that came out non-finite; a row says diverged where one did in ten draws. Times are those of a row's
own process, on the machine that drew it.
"""


def _line(row: Mapping[str, Any]) -> list[str]:
    spec = ROWS[row["row"]]
    begins = [row["row"], spec.what, f"{row['parameters']:,}", f"{row['flops'] / 1e12:.0f}", f"{row['steps']:,}"]
    if row["diverged"]:
        return [*begins, "diverged", *[""] * 6]
    rates = {name: Rate(*values).percent() for name, values in row["rates"].items()}
    stable = rates["molecule_stability"]
    return [
        *begins,
        f"{rates['atom_stability'].value:.1f}",
        f"{stable.value:.1f} ({stable.low:.1f} - {stable.high:.1f})",
        f"{rates['validity'].value:.1f}",
        f"{rates['connectivity'].value:.1f}",
        f"{row['distances'].get('bond_length_pm', math.nan):.2f}",
        str(row["redrawn"]),
        f"{1000 * row['seconds']:.0f}",
    ]


def _figure(axes: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Seeds are points of their own on one line of a row."""
    for name in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == name and not row["diverged"]]
        stable = [100 * row["rates"]["atom_stability"][0] for row in own]
        for axis, x in zip(axes, ("steps", "seconds"), strict=True):
            axis.plot([row[x] for row in own], stable, marker="o", markersize=3, label=name)
    axes[0].set(xlabel="steps", ylabel="atoms stable %", xscale="log")
    axes[1].set(xlabel="seconds a molecule", ylabel="atoms stable %", xscale="log")
    if rows:
        axes[0].legend(fontsize=6)
