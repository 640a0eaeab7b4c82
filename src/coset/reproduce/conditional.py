"""Steering: how well a model that is told what to draw draws it, against the strength of guidance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coset.conditions.asked import Asked, matches, query
from coset.conditions.fingerprints import fingerprint, fingerprints, tanimoto
from coset.conditions.kept import graph_of
from coset.conditions.layout import Layout
from coset.data.catalog import Dataset, open_dataset
from coset.energies.table import electronic_all
from coset.files import atomic_write
from coset.metrics.evaluate import RATES, evaluate
from coset.model import Model
from coset.molecule import Molecule
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import check_known, trained
from coset.training.log import Listener
from coset.training.runs import conditions

NAME = "conditional"
KINDS = ("composition", "morgan", "pattern", "gap_ev")
STRENGTHS = (0.0, 1.0, 2.0, 4.0)
PARTS = {
    "hydroxyl": "[OX2H]", "carbonyl": "[CX3]=[OX1]", "nitrile": "C#N", "amine": "[NX3;H2,H1,H0;!$(N-C=O)]",
    "ether": "[OD2]([#6])[#6]", "three-membered ring": "*1**1", "five-membered ring": "*1****1",
    "aromatic ring": "a1aaaa1",
}  # fmt: skip
SIZES = {
    "coset": {"size": "xs", "precision": "bf16"},
    "edm": {"width": 64, "depth": 4, "batch": 128, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False,
            "warmup": 500, "decay": 0.4, "clip": 1.0, "ema": (0.999, 0.9995)},
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """One model is told of all kinds, each dropped now and then, and asked for one at a time.

    molecules: seen in training. targets: molecules of the test split whose conditions are asked for, one draw each.
    """

    recipe: str = "coset"
    data: str = "qm9-small"
    molecules: int = 1_000_000
    targets: int = 1000
    steps: int = 100
    seed: int = 0


def run(
    study: Study,
    folder: Path,
    kinds: Sequence[str] = KINDS,
    strengths: Sequence[float] = STRENGTHS,
    device: str = "cpu",
    begin: Callable[[str], Listener | None] = lambda row: None,
    workers: int = 1,
) -> Record:
    """Trains the model once and draws the rows that are not there yet; the report is written anew after each.

    Raises ValueError for unknown kinds, and where the folder holds the rows of another study.
    """
    check_known("kind", kinds, KINDS)
    record = Record.open(NAME, folder, asdict(study))
    rows = {f"{kind}, guidance {strength:g}": (kind, strength) for kind in kinds for strength in strengths}
    if not rows.keys() <= record.rows.keys():
        model = _trained(study, folder / "runs" / f"{study.recipe}-{study.seed}", device, begin("model"))
        targets = Targets.of(open_dataset(study.data), study)
        for row, (kind, strength) in rows.items():
            if row not in record.rows:
                record.add(row, _row(study, model, targets, kind, strength, workers))
                report(record, study)
    report(record, study)
    return record


def _trained(study: Study, folder: Path, device: str, listener: Listener | None) -> Model:
    budget = {"data": study.data, "molecules": study.molecules, "seed": study.seed, "sample_molecules": 0}
    budget |= {"validate_every": max(study.molecules // 20, 1), "condition": KINDS}
    settings = SIZES.get(study.recipe, {"size": "small"}) | budget
    return trained(study.recipe, settings, folder, device, listener)


@dataclass(frozen=True)
class Targets:
    """Molecules of the test split and what they would be asked for as. gaps: eV, NaN where not known."""

    numbers: NDArray
    positions: NDArray
    scalars: torch.Tensor
    layout: Layout
    gaps: NDArray

    @classmethod
    def of(cls, dataset: Dataset, study: Study) -> Targets:
        rows = np.random.default_rng(study.seed).choice(
            dataset.test, study.targets, replace=len(dataset.test) < study.targets
        )
        layout = Layout(KINDS, len(dataset.vocabulary))
        table = conditions(dataset, layout)
        assert table is not None
        numbers, positions = dataset.store.collate(rows)
        own, scalars = table.ranges["gap_ev"], table(rows)
        given, value = scalars[:, layout.slices["gap_ev"]].double().numpy().T
        gaps = np.where(given > 0, own.mean + own.deviation * value, np.nan)
        return cls(numbers, positions, scalars, layout, gaps)

    def asked(self, kind: str) -> Asked:
        """One kind alone, at the sizes of the targets. Of parts, the eight of `PARTS` in turn."""
        scalars, place = torch.zeros_like(self.scalars), self.layout.slices[kind]
        sizes = torch.as_tensor((self.numbers > 0).sum(1))
        if kind == "pattern":
            bits = [torch.as_tensor(fingerprint("pattern", query(smarts))) for smarts in PARTS.values()]
            for row in range(len(scalars)):
                scalars[row, place] = torch.cat([torch.ones(1), bits[row % len(bits)].float()])
        else:
            scalars[:, place] = self.scalars[:, place]
        return Asked(scalars, sizes)


def _row(study: Study, model: Model, targets: Targets, kind: str, strength: float, workers: int) -> dict[str, Any]:
    drawn = model.draw(
        len(targets.numbers), study.seed, steps=study.steps, conditions=targets.asked(kind), guidance=strength
    )
    found = evaluate(drawn.molecules, reference=None)
    return {
        "kind": kind,
        "guidance": strength,
        "kept": _kept(kind, drawn.molecules, targets, workers),
        "rates": {name: found.rates[name].value for name in RATES if name != "novelty"},
        "redrawn": len(drawn.redrawn),
        "molecules_seen": model.card["molecules_seen"],
        "minutes": model.card["minutes"],
    }


def _kept(kind: str, molecules: Sequence[Molecule], targets: Targets, workers: int) -> dict[str, float]:
    """How well the molecules are what was asked for."""
    if kind == "composition":
        wanted = [np.sort(row[row > 0]) for row in targets.numbers]
        same = [np.array_equal(np.sort(m.numbers), row) for m, row in zip(molecules, wanted, strict=True)]
        return {"match": float(np.mean(same))}
    if kind == "morgan":
        own, _ = fingerprints("morgan", targets.numbers, targets.positions)
        graphs = [graph_of(molecule) for molecule in molecules]
        likeness = [
            0.0 if graph is None else tanimoto(fingerprint("morgan", graph), bits)
            for graph, bits in zip(graphs, own, strict=True)
        ]
        return {"tanimoto": float(np.mean(likeness)), "same": float(np.mean(np.array(likeness) == 1))}
    if kind == "pattern":
        graphs = [graph_of(molecule) for molecule in molecules]
        hits = {
            name: float(np.mean(matches(graphs[number :: len(PARTS)], query(smarts))))
            for number, (name, smarts) in enumerate(PARTS.items())
        }
        return {"match": float(np.mean(list(hits.values()))), **hits}
    return _gap(molecules, targets.gaps, workers)


def _gap(molecules: Sequence[Molecule], wanted: NDArray, workers: int) -> dict[str, float]:
    """Of GFN2-xTB at the positions drawn; molecules that it cannot treat are counted."""
    found = electronic_all(molecules, workers=workers).values["gap_ev"]
    known = np.isfinite(found) & np.isfinite(wanted)
    failed = float(np.mean(~np.isfinite(found)))
    if known.sum() < 3:
        return {"correlation": math.nan, "mae": math.nan, "failed": failed}
    return {
        "correlation": float(np.corrcoef(found[known], wanted[known])[0, 1]),
        "mae": float(np.abs(found - wanted)[known].mean()),
        "failed": failed,
    }


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen, recipe {study.recipe}; {study.targets:,} targets of the test split, one "
        f"molecule each in {study.steps} steps",
        str(study.seed),
        f"{dataset.name}: {len(dataset.train):,} train, {len(dataset.test):,} test",
    )
    headings = [
        "asked for",
        "guidance",
        "kept to",
        "molecules stable %",
        "valid %",
        "connected %",
        "valid and unique %",
    ]
    lines = [_line(row) for row in record.rows.values()]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, lines) + NOTES)


NOTES = """
Guidance 0 is the same model told nothing, at the sizes of the targets. Composition: share with exactly the target's
atoms. Morgan: mean Tanimoto similarity to the target, 0 for what has no graph, and the share of 1. Pattern: share that
holds the part asked for, eight parts in turn. gap_ev: correlation and mean absolute error of GFN2-xTB's gap at the
drawn positions against the gap asked for, and the share that GFN2-xTB cannot treat.
"""


def _line(row: Mapping[str, Any]) -> list[str]:
    kept = row["kept"]
    told = {
        "composition": lambda: f"{100 * kept['match']:.1f} % match",
        "morgan": lambda: f"Tanimoto {kept['tanimoto']:.3f}, same {100 * kept['same']:.1f} %",
        "pattern": lambda: f"{100 * kept['match']:.1f} % match",
        "gap_ev": lambda: (
            f"correlation {kept['correlation']:.2f}, MAE {kept['mae']:.2f} eV, failed {100 * kept['failed']:.1f} %"
        ),
    }[row["kind"]]()
    names = ("molecule_stability", "validity", "connectivity", "valid_and_unique")
    return [row["kind"], f"{row['guidance']:g}", told, *(f"{100 * row['rates'][name]:.1f}" for name in names)]
