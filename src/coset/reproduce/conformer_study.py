"""Conformers: recipes on one budget, with and without symmetrised targets, beside RDKit, by steps of sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from coset.ensembles.measure import THRESHOLDS, References, measure
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.files import atomic_write
from coset.graphs.graph import read_smiles
from coset.metrics.coverage import ceiling, coverage
from coset.metrics.rmsd import MOST_MAPS
from coset.recipes.registry import find_recipe
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import MeasureAt, check_known, run_steps
from coset.training.log import Listener
from coset.training.start import carry_out, open_run

NAME = "conformers"
STEPS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Row:
    """A recipe with settings, or RDKit's method where it names none. teacher: another row, where a student needs it."""

    what: str
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    teacher: str = ""


CLOSED = "target in closed form"
SEEN = {"seen_stereo": True, "mirrored": True}
# The SMILES of xtb's training molecules have no marks: rows are without stereo but where they say so.
TOLD = {"seen_stereo", "mirrored", "hands"}
ROWS: dict[str, Row] = {
    "etflow": Row("ETFlow: harmonic prior, aligned", "etflow"),
    "etflow-free": Row("the same, not aligned", "etflow", {"coupling": "independent"}),
    "etflow-ts": Row(f"ETFlow+TS: not aligned, {CLOSED}", "etflow_ts"),
    "etflow-ts-per-atom": Row(
        "the same with the loss of each atom's distance: not exact", "etflow_ts", {"loss": "per_atom"}
    ),
    "etflow-ts-rotations": Row("ETFlow+TS over rotations alone", "etflow_ts", {"orbit": "rotations"}),
    "etflow-ts-released": Row("ETFlow+TS by 64 draws, the true pose among them", "etflow_ts", {"target": "released"}),
    "etflow-ts-conformers": Row(
        "ETFlow+TS over four conformers too", "etflow_ts", {"conformers": 4, "most_automorphisms": 8}
    ),
    "etdiff": Row("ETDiff: isotropic prior", "etdiff"),
    "etdiff-ts": Row(f"ETDiff+TS: {CLOSED}", "etdiff_ts"),
    "dit": Row("plain transformer, random poses", "dit_conf"),
    "dit-ts": Row(f"plain transformer, random poses, {CLOSED}", "dit_conf_ts"),
    "dit-ts-seen": Row("dit-ts, told the stereo of its training conformers", "dit_conf_ts", {"seen_stereo": True}),
    "dit-ts-mirrored": Row("dit-ts, told it of them and of their mirror images", "dit_conf_ts", SEEN),
    "dit-ts-hands": Row("dit-ts, told both and where hands would have corners", "dit_conf_ts", SEEN | {"hands": True}),
    "dit-reflow": Row(
        "dit-ts (plain transformer, target in closed form) reflowed",
        "dit_conf_reflow",
        {"teacher_conformers": 6},
        "dit-ts",
    ),
    "mcf": Row("plain transformer, graph by eigenvectors, diffusion", "mcf"),
    "rdkit": Row("RDKit ETKDGv3"),
    "rdkit-mmff": Row("RDKit ETKDGv3, MMFF94"),
    "ceiling": Row("one half of the reference against the other"),
}


@dataclass(frozen=True)
class Study:
    """Budget: molecules seen in training, a row; molecules of the test split (the first ones), 2 L conformers each.

    size: of the networks, a name of their recipes'.
    """

    data: str = "xtb"
    molecules: int = 1_000_000
    targets: int = 1000
    size: str = "xs"


def run(
    study: Study,
    folder: Path,
    rows: Sequence[str] = tuple(ROWS),
    steps: Sequence[int] = STEPS,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    begin: Callable[[str], Listener | None] = lambda row: None,
) -> Record:
    """Trains and measures what is not there yet; the report is written anew after each number of steps.

    A row that was broken off goes on from its checkpoint. Raises ValueError for unknown rows, and where the folder
    holds the rows of another study.
    """
    check_known("row", rows, ROWS)
    record = Record.open(NAME, folder, asdict(study))
    tests = References.of(study.data, study.targets)

    def make(row: str, seed: int) -> MeasureAt:
        if not ROWS[row].recipe:
            return lambda steps: _untrained(row, tests)
        model = _trained(study, row, seed, folder / "runs", device, begin(f"{row} seed {seed}"))
        about, budget = {"row": row, "seed": seed}, budget_of(model)
        return lambda steps: about | {"steps": steps} | budget | measure(model.having(steps=steps), tests, seed)

    once = [row for row in rows if not ROWS[row].recipe]
    return run_steps(record, rows, steps, seeds, make, lambda: report(record, study), once)


def _trained(study: Study, row: str, seed: int, runs: Path, device: str, listener: Listener | None) -> ConformerModel:
    """The model of a row, trained as far as it was not, after that of its teacher."""
    folder = runs / f"{row}-{seed}"
    budget = {"size": study.size, "data": study.data, "molecules": study.molecules, "seed": seed, "sample_molecules": 0}
    budget |= {"validate_every": max(study.molecules // 10, 1)}
    spec = ROWS[row]
    if spec.teacher:
        _trained(study, spec.teacher, seed, runs, device, listener)
        budget["teacher"] = str(runs / f"{spec.teacher}-{seed}")
    recipe = find_recipe(spec.recipe)
    budget |= dict.fromkeys(TOLD & recipe.settings.model_fields.keys(), False)
    settings = recipe.resolve({**budget, **spec.settings})
    carry_out(open_run(spec.recipe, settings, folder, device, listener), folder, resume=True)
    return load_conformer_model(folder, device)


def budget_of(model: ConformerModel) -> dict[str, Any]:
    """What training took, of the card; of a student beside its teacher's."""
    found = {key: model.card[key] for key in ("parameters", "molecules_seen", "minutes", "flops")}
    data = model.card["data"]
    return found | ({"pairs": data["train_conformers"], "left_out": data["left_out"]} if "left_out" in data else {})


def _untrained(row: str, tests: References) -> dict[str, Any]:
    if row != "ceiling":
        return {"row": row} | measure(DistanceGeometry(relaxed=row == "rdkit-mmff"), tests, seed=0)
    halves = [each for each in tests.ensembles if len(each.positions) > 1]
    matrices = [ceiling(read_smiles(each.smiles), each.positions) for each in halves]
    return {"row": row, "coverage": coverage(matrices, THRESHOLDS).summary()}


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    tests = References.of(study.data, study.targets)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen in training, a row; {len(tests.ensembles):,} test molecules, 2 L "
        f"conformers for L of the reference, {2 * tests.conformers:,} in all",
        "as named",
        f"{study.data}: GFN2-xTB ensembles, a stand-in for GEOM-QM9's CREST ones and smaller",
        f" --molecules {study.molecules} --targets {study.targets}",
    )
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(HEADINGS, [_line(values) for values in record.rows.values()]))
        file.write(NOTES.format(MOST_MAPS=MOST_MAPS, capped=_capped(record)))


HEADINGS = [
    "row", "steps", "seed", "COV-R 0.1", "COV-P 0.1", "COV-R 0.5", "COV-P 0.5", "AMR-R", "AMR-P",
    "stereo right, repaired %", "intact %", "ms a conformer", "parameters", "minutes of training",
]  # fmt: skip
NOTES = """
COV in per cent and AMR in Angstrom are means over molecules; thresholds 0.1 and 0.5 Angstrom, heavy atoms, symmetric
atoms alike. R recall, P precision. Conformers with a wrong stereocentre or double bond are repaired where a rigid
motion or the mirror image does it, and left out otherwise: "stereo" is the share of right ones before and after.
Intact: every bond has a bond's length and no other atoms are as near; coverage is of those and of the broken ones.
Distances are over all matches of symmetric atoms, {MOST_MAPS:,} at most; {capped} molecules of a row have more.
Training SMILES without marks of stereo (all of xtb's) leave it open but in rows that say they are told.
The last row halves each reference ensemble, which was pruned of duplicates: no conformer is in both halves.
A reflowed model begins with the weights of its teacher, the row it is called after, and learns from what that one
draws; its minutes are its own training's alone.
"""


def _capped(record: Record) -> str:
    """The most of any row."""
    return f"{max((row['coverage']['capped'] for row in record.rows.values()), default=0):.0f}"


def _line(values: Mapping[str, Any]) -> list[str]:
    found = values["coverage"]
    shares = [f"{100 * found[f'cov_{side}_mean_{d:g}']:.1f}" for d in THRESHOLDS for side in ("recall", "precision")]
    amr = [f"{found[f'amr_{side}_mean']:.3f}" for side in ("recall", "precision")]
    stereo = f"{100 * values['stereo_right']:.1f}, {100 * values['stereo_repaired']:.1f}" if "made" in values else ""
    whole = f"{100 * values['intact']:.1f}" if "intact" in values else ""
    cost = f"{1000 * values['seconds']:.1f}" if "seconds" in values else ""
    training = [f"{values['parameters']:,}", f"{values['minutes']:.0f}"] if "parameters" in values else ["", ""]
    about = [ROWS[values["row"]].what, str(values.get("steps", "")), str(values.get("seed", ""))]
    return [*about, *shares, *amr, stereo, whole, cost, *training]
