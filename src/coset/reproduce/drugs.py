"""Drug-sized molecules: ways of respecting symmetry on one data set and budget, by both protocols, beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coset.data.catalog import Dataset, open_dataset
from coset.energies.atoms import Atoms
from coset.energies.strain import strain
from coset.files import atomic_write
from coset.metrics.evaluate import evaluate
from coset.metrics.plausibility import Plausibility, plausible
from coset.metrics.reference import REFERENCES
from coset.molecule import Molecule
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import Table, mean_of, parts_told, seeds_of, seeds_told, trained
from coset.training.log import Listener

NAME = "drugs"
DATA = "data"  # the row of held-out molecules
EPOCH = 0.8 * 6_922_516  # conformers of GEOM-Drugs that are trained on


@dataclass(frozen=True)
class Row:
    """A recipe at size small, and how its molecules are drawn.

    epochs: of the published training. published: atoms stable and molecules valid there, per cent.
    """

    what: str
    recipe: str = ""
    epochs: float | None = None
    published: tuple[float, float] | None = None
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"grid": "karras", "churn": 1.4})


ROWS: dict[str, Row] = {
    DATA: Row("held-out molecules", published=(86.5, 99.9)),
    "edm": Row("equivariant network", "edm_drugs", 14, (81.3, 92.6)),
    "dit-aug": Row("random rotations of the data", "dit_aug_drugs", 40, (83.95, 94.26)),
    "symdiff": Row("learned random pose at every call", "symdiff_drugs", 40, (86.16, 98.18)),
    "radm": Row("learned pose, autoencoder", "radm_drugs_s", 55, (83.8, 98.9)),
    "end": Row("learned equivariant noising", "end_drugs", None, (87.8, 92.9), {"grid_power": 1.0}),
    "coset": Row("equivariant pair transformer", "coset_drugs"),
}
TRAINING = {
    "batch": 16, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 100, "decay": 0.4,
    "clip": 1.0, "ema": (0.999,), "sample_molecules": 0,
}  # fmt: skip
CODEC = {"codec_batch": 16, "codec_lr": 1e-3}


@dataclass(frozen=True)
class Study:
    """molecules: seen in training, a row (and as many by a codec). draws: sampled to measure a row.

    checked: of these, so many are tested by PoseBusters and relaxed.
    """

    data: str = "drug-like"
    molecules: int = 1_000_000
    seeds: tuple[int, ...] = (0,)
    draws: int = 500
    checked: int = 100
    steps: int = 100


def _row(study: Study, row: str, seed: int, folder: Path, device: str, listener: Listener | None) -> dict[str, Any]:
    if row == DATA:
        return measure(held_out(open_dataset(study.data), study.draws, seed), study)
    own = folder / f"{row}-{seed}"
    model = trained(ROWS[row].recipe, settings_of(row, study, seed), own, device, listener)
    drawn = model.draw(study.draws, seed=0, steps=study.steps, **ROWS[row].sampling)
    cost = {"parameters": model.parameters, "flops": model.card["flops"], "minutes": model.card["minutes"]}
    return cost | {"redrawn": len(drawn.redrawn)} | measure(drawn.molecules, study)


def settings_of(row: str, study: Study, seed: int) -> dict[str, Any]:
    """Of a row's training: its recipe's small size under the study's budget."""
    budget = {"data": study.data, "molecules": study.molecules, "validate_every": max(study.molecules // 20, 1)}
    budget |= {"size": "small", "seed": seed}
    codec = CODEC | {"codec_molecules": study.molecules} if row == "radm" else {}
    return TRAINING | budget | codec


def held_out(dataset: Dataset, count: int, seed: int) -> list[Molecule]:
    """So many test molecules by chance, or all."""
    rows = dataset.test if len(dataset.test) else dataset.valid
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
    found = (dataset.store[row] for row in chosen)
    return [Molecule(numbers.astype(np.int64), positions.astype(np.float64)) for numbers, positions in found]


def measure(molecules: Sequence[Molecule], study: Study) -> dict[str, Any]:
    """Rates by the published and by the corrected protocol; of the first ones PoseBusters' fast tests and strain."""
    found = evaluate(molecules, study.data if study.data in REFERENCES else None, protocol="drugs")
    assert found.corrected is not None
    first = molecules[: study.checked]
    tests = Plausibility.of([plausible(Atoms.of(molecule), energy=False) for molecule in first])
    return {
        "rates": {name: [rate.value, rate.low, rate.high] for name, rate in found.rates.items()},
        "corrected": {name: [rate.value, rate.low, rate.high] for name, rate in found.corrected.rates.items()},
        "plausible": tests.passed_all / tests.molecules,
        "strain": strain(first, "mmff", None).summary(),
    }


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen a row, and as many by an autoencoder; {study.draws} molecules drawn in "
        f"{study.steps} steps to measure it (karras grid, churn 1.4; equal steps in time where noising is learned), "
        f"{study.checked} of them tested by PoseBusters and relaxed",
        seeds_told(record),
        f"{parts_told(dataset)} conformers, split by molecule",
    )
    headings = [
        "row", "what it is", "parameters", "TFLOP", "atoms stable %", "valid %", "connected %",
        "corrected: atoms stable %", "valid %", "connected %", "PoseBusters %", "strain (kcal/mol)", "relaxed %",
        "published: atoms stable, valid %", "budget of the paper's",
    ]  # fmt: skip
    rows = [_line(name, seeds_of(record.rows, name), study) for name in ROWS if seeds_of(record.rows, name)]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, rows) + NOTES)


NOTES = """
First by the published protocol (bonds from distances, every bond single for validity), then by the corrected one (bonds
perceived with aromaticity and charges). PoseBusters: all fast tests. Strain: median by MMFF94 of those that relax.
Published: on GEOM-Drugs with full-size networks, split by conformer, so that molecules are in train and test; ours is
split by molecule, and its data are other ones: our rows are to be compared with one another. Budget: molecules seen
over the published epochs' (END's are not public).
"""


def _line(name: str, found: list[dict[str, Any]], study: Study) -> list[str]:
    spec = ROWS[name]

    mean = partial(mean_of, found)

    def rates(table: str) -> list[str]:
        names = ("atom_stability", "validity", "connectivity")
        return [mean(lambda row, rate=rate: 100 * row[table][rate][0]) for rate in names]

    own = "parameters" in found[0]
    strains = [row["strain"] for row in found if row["strain"]["strain_kcal_mol"]]
    return [
        name,
        spec.what,
        f"{found[0]['parameters']:,}" if own else "",
        mean(lambda row: row["flops"] / 1e12, 0) if own else "",
        *rates("rates"),
        *rates("corrected"),
        mean(lambda row: 100 * row["plausible"]),
        f"{np.mean([each['strain_kcal_mol'][1] for each in strains]):.1f}" if strains else "",
        mean(lambda row: 100 * row["strain"]["relaxed"] / row["strain"]["molecules"]),
        "" if spec.published is None else ", ".join(f"{each:g}" for each in spec.published),
        "" if spec.epochs is None else f"1/{spec.epochs * EPOCH / study.molecules:,.0f}",
    ]


TABLE = Table(NAME, ROWS, _row, report)
run = TABLE.run
