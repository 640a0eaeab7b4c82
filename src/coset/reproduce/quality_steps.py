"""Quality against steps: what a trained model's molecules are worth at each number of network calls, by sampler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from coset.files import atomic_write
from coset.metrics.evaluate import RATES as PARTS
from coset.metrics.evaluate import Rate, evaluate
from coset.metrics.protocol import protocol_of
from coset.metrics.reference import REFERENCES, Reference, kept_reference, load_reference
from coset.model import SAMPLER, Model
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.record import Record, heading, markdown_table
from coset.samplers.sampling import GRIDS, Sampling
from coset.samplers.solvers import SOLVERS
from coset.training.checkpoint import tensor_crc

NAME = "quality-steps"
SAMPLERS = ("ancestral", "ancestral karras churn=1.4", "heun karras", "multistep log_snr")
STEPS = (10, 20, 50, 100, 250, 500, 1000)
TEACHER = "teacher: "  # before its sampler
TEACHER_STEPS = (4, 10, 25, 50, 100)
RATES = {
    "atom_stability": "atoms stable %",
    "molecule_stability": "molecules stable %",
    "validity": "valid %",
    "valid_and_unique": "valid and unique %",
    "connectivity": "connected %",
}
UNTOLD = {"sizes"}  # of the distances from the data: sizes are drawn from the data's own


@dataclass(frozen=True)
class Study:
    """molecules: drawn for a row, from one seed. reference: a name or file for `load_reference`; "none" for none."""

    molecules: int = 1000
    seed: int = 0
    reference: str = "qm9"

    def known(self) -> Reference | None:
        return None if self.reference == "none" else load_reference(self.reference)


@dataclass(frozen=True)
class Teacher:
    """The model that a student of few steps was tuned from, with steps of its own; drawn from as its card says."""

    model: Model
    steps: Sequence[int] = TEACHER_STEPS


def run(
    study: Study,
    model: Model,
    folder: Path,
    samplers: Sequence[str] | None = None,
    steps: Sequence[int] = STEPS,
    begin: Callable[[str], Callable[[float], None]] = lambda row: lambda done: None,
    teacher: Teacher | None = None,
) -> Record:
    """Draws and scores the rows that are not there yet, and writes the report anew after each.

    samplers: each in words (`parse_sampler`); by default what the model's card recommends, and `SAMPLERS` too where
    there is no teacher, whose rows stand beside the model's. Further samplers and steps join the rows that are there.
    Raises ValueError for samplers and steps that cannot be, before anything is drawn, and where the folder holds the
    rows of another model or study.
    """
    asked = (() if teacher else SAMPLERS) if samplers is None else samplers
    plans = [Sampling(**parse_sampler(text)) for text in asked]
    if samplers is None:
        plans.insert(0, model.sampling())
    rows = {row_name(plan): (model, plan) for each in plans for plan in _at_steps(each, steps)}
    about = {"model": model.name, "weights": fingerprint(model), **asdict(study)}
    if teacher:
        taught = _at_steps(teacher.model.sampling(), teacher.steps)
        rows |= {f"teacher, {row_name(plan)}": (teacher.model, plan) for plan in taught}
        about |= {"teacher": teacher.model.name, "teacher_weights": fingerprint(teacher.model)}
    known, record = study.known(), Record.open(NAME, folder, about)
    for row, (drawn, plan) in rows.items():
        if row not in record.rows:
            who = TEACHER if row.startswith("teacher, ") else ""
            record.add(row, _row(study, drawn, plan, known, begin(row), who))
            write_report(record, known)
    write_report(record, known)
    return record


def _at_steps(sampling: Sampling, steps: Sequence[int]) -> list[Sampling]:
    return [replace(sampling, steps=count) for count in steps]


def parse_sampler(text: str) -> dict[str, Any]:
    """Options of `Sampling` in words: a solver's name, a grid's, and others with a number, such as until=0.1.

    "heun karras", "ancestral churn=1.4". What is left out is as `Sampling` has it. Raises ValueError.
    """
    found: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        key, equals, value = word.partition("=")
        if not equals:
            key, value = "solver" if word in SOLVERS else "grid", word
            if word not in (*SOLVERS, *GRIDS):
                names = ", ".join([*SOLVERS, *GRIDS])
                raise ValueError(f"unknown word {word!r} in the sampler {text!r}; choose among {names}, KEY=NUMBER")
        if key not in SAMPLER or key in found:
            raise ValueError(f"a sampler has each of {', '.join(SAMPLER)} once at most; got {word!r} in {text!r}")
        try:
            found[key] = value if key in ("solver", "grid") else float(value)
        except ValueError:
            raise ValueError(f"{key} of a sampler must be a number; got {value!r} in {text!r}") from None
    return {"solver": "ancestral", **found}


def sampler_name(sampling: Sampling) -> str:
    """A sampler in the words that `parse_sampler` reads, without what is as it always is."""
    usual = {field.name: field.default for field in fields(Sampling)}
    words = [sampling.solver, sampling.grid] if sampling.grid != usual["grid"] else [sampling.solver]
    eta = None if sampling.randomness == Sampling(solver=sampling.solver).randomness else sampling.eta
    numbers = {"eta": eta, "grid_power": sampling.grid_power, "churn": sampling.churn}
    numbers |= {"late": sampling.late, "until": sampling.until}
    if sampling.grid != "power":
        del numbers["grid_power"]
    return " ".join(
        [*words, *(f"{key}={value:g}" for key, value in numbers.items() if value not in (None, usual[key]))]
    )


def row_name(sampling: Sampling) -> str:
    return f"{sampler_name(sampling)}, {sampling.steps} step{'s' if sampling.steps > 1 else ''}"


def calls_of(sampling: Sampling) -> int:
    """Network calls a molecule."""
    return sampling.steps * SOLVERS[sampling.solver].calls + 1


def reference_name(model: Model) -> str:
    """The reference of the data that a model was trained on, packaged or kept in its store; "none" for other data."""
    data = str(model.card.get("data", {}).get("name", ""))
    if data in REFERENCES or data.startswith("qm9"):
        return data if data in REFERENCES else "qm9"
    return data if data and kept_reference(data).is_file() else "none"


def fingerprint(model: Model) -> str:
    """CRC-32 of the weights."""
    found = 0
    for parameter in model.diffusion.parameters():
        found = tensor_crc(parameter, found)
    return f"{found:08x}"


def _row(
    study: Study, model: Model, plan: Sampling, known: Reference | None, update: Callable[[float], None], who: str
) -> dict[str, Any]:
    options = {name: getattr(plan, name) for name in SAMPLER}
    begun = time.monotonic()
    drawn = model.draw(
        study.molecules, study.seed, steps=plan.steps, **options, progress=lambda done, total: update(done)
    )
    seconds = time.monotonic() - begun
    report = evaluate(drawn.molecules, known, protocol=None if known else protocol_of(model.vocabulary.numbers))
    return {
        "sampler": who + sampler_name(plan),
        "sampling": {"steps": plan.steps, **options},
        "calls": calls_of(plan),
        "seconds": round(seconds / study.molecules, 5),
        "redrawn": len(drawn.redrawn),
        "rates": {name: list(astuple(report.rates[name])) for name in RATES},
        "distances": {name: value for name, value in (report.distances or {}).items() if math.isfinite(value)},
    }


def write_report(record: Record, known: Reference | None) -> None:
    """report.md and, where matplotlib is installed, figure.svg."""
    s, samplers = record.settings, list(dict.fromkeys(row["sampler"] for row in record.rows.values()))
    rows = sorted(record.rows.values(), key=lambda row: (samplers.index(row["sampler"]), row["calls"]))
    drawn = f"{s['model']} (CRC-32 of the weights {s['weights']})"
    command = f" --model {s['model']} -n {s['molecules']} --seed {s['seed']} --reference {s['reference']}"
    counts: dict[bool, set[int]] = {False: set(), True: set()}
    for row in rows:
        counts[row["sampler"].startswith(TEACHER)].add(row["sampling"]["steps"])
    command += f" --steps {_listed(counts[False])}"
    if "teacher" in s:
        drawn += f" and its teacher {s['teacher']} ({s['teacher_weights']})"
        command += f" --teacher {s['teacher']} --teacher-steps {_listed(counts[True])}"
    data = f"compared with {s['reference']}" if known else "compared with no data"
    budget = f"{s['molecules']:,} molecules a row, drawn with {drawn}"
    text = heading(record, budget, str(s["seed"]), data, command)
    distances = sorted({name for row in rows for name in row["distances"]} - UNTOLD)
    headings = ["sampler", "steps", "network calls", *RATES.values(), *(_title(name) for name in distances)]
    lines = [_line(row, distances) for row in rows]
    if known:
        lines.append(_line_of_data(known, distances, s["molecules"]))
    shown = save_figure(record.folder / "figure.svg", lambda axes: _figure(axes, rows), panels=2)
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table([*headings, "seconds a molecule"], lines) + NOTES)
        file.write("\n![Quality against network calls](figure.svg)\n" if shown else f"\n{NO_PLOT}.\n")


NOTES = """
Rates in per cent, molecules stable with their 95 % interval (Wilson). Distances are from the training data. Every row
has the same seed, and so the same sizes. Heun's solver makes two network calls a step; every sampler makes one more at
the end. Seconds are those of a machine that may have had other work.
"""


def _listed(steps: set[int]) -> str:
    return ",".join(map(str, sorted(steps)))


def _title(name: str) -> str:
    return f"distance of {name.replace('_', ' ')}"


def _line(row: dict[str, Any], distances: Sequence[str]) -> list[str]:
    rates = {name: Rate(*values).percent() for name, values in row["rates"].items()}
    cells = {name: f"{rate.value:.1f}" for name, rate in rates.items()}
    stable = rates["molecule_stability"]
    cells["molecule_stability"] += f" ({stable.low:.1f} - {stable.high:.1f})"
    return [
        row["sampler"],
        str(row["sampling"]["steps"]),
        str(row["calls"]),
        *(cells[name] for name in RATES),
        *(_number(row["distances"].get(name)) for name in distances),
        f"{row['seconds']:.3g}",
    ]


def _line_of_data(known: Reference, distances: Sequence[str], molecules: int) -> list[str]:
    """The data's own test split; distances of as many of its molecules, for few lie farther."""
    apart = known.own_distances(molecules)
    own = [f"{100 * known.counts[top] / known.counts[bottom]:.1f}" for top, bottom in (PARTS[name] for name in RATES)]
    return ["the data's own", "", "", *own, *(_number(apart.get(name)) for name in distances), ""]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _figure(axes: Sequence[Any], rows: Sequence[dict[str, Any]]) -> None:
    stable, lengths = axes
    for sampler in dict.fromkeys(row["sampler"] for row in rows):
        own = [row for row in rows if row["sampler"] == sampler]
        calls = [row["calls"] for row in own]
        rates = [Rate(*row["rates"]["molecule_stability"]).percent() for row in own]
        spread = [[rate.value - rate.low for rate in rates], [rate.high - rate.value for rate in rates]]
        values = [rate.value for rate in rates]
        stable.errorbar(calls, values, yerr=spread, marker="o", markersize=3, capsize=2, label=sampler)
        far = [row["distances"].get("bond_lengths", float("nan")) for row in own]
        lengths.plot(calls, far, marker="o", markersize=3, label=sampler)
    stable.set(xlabel="network calls", ylabel="molecules stable %", xscale="log")
    lengths.set(xlabel="network calls", ylabel="total variation of bond lengths", xscale="log")
    if rows:
        stable.legend(fontsize=7)
