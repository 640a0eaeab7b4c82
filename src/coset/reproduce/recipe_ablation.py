"""The recipe's ablation: what each part of the `coset` recipe is worth, one change a row, on one budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coset.data.batches import Batches
from coset.data.catalog import Dataset, open_dataset
from coset.files import atomic_write
from coset.metrics.evaluate import evaluate
from coset.metrics.reference import load_reference
from coset.model import Model
from coset.noise import Noise
from coset.reproduce.quality_steps import reference_name
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import Table, seeds_of, seeds_told, trained
from coset.training.log import Listener
from coset.training.yardsticks import measure_denoising

NAME = "recipe-ablation"
# What the recipe is measured against: Karras's preconditioning and noise levels, squared error to the clean cloud.
BASE: dict[str, Any] = {
    "target": "plain", "distance_weight": 0.0, "noise_median": 0.3, "noise_share": 0.0, "self_conditioning": False,
}  # fmt: skip
MIXTURE_ALONE: dict[str, Any] = {"noise_median": 0.45, "noise_share": 0.4}
MIXTURE = BASE | MIXTURE_ALONE
DISTANCES = MIXTURE | {"distance_weight": 1.0}
TARGET = DISTANCES | {"target": "exact"}
ALL_PARTS = TARGET | {"self_conditioning": True}
RECIPE = BASE | {"self_conditioning": True}


@dataclass(frozen=True)
class Row:
    """settings: beside the study's own. beside: the row that it differs from in one thing. trained: the row whose
    weights it has, where only the sampler differs. sampling: options of the sampler beside the recipe's."""

    what: str
    settings: Mapping[str, Any]
    beside: str = ""
    recipe: str = "coset"
    trained: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)


# In the order in which the recipe is put together; ROWS[name].beside is where a row's change is seen.
ROWS: dict[str, Row] = {
    "base": Row("preconditioned pair transformer, log-normal noise, squared error", BASE),
    "last-noise": Row("EDM's noise at the end", BASE, "base", trained="base", sampling={"final_noise": True}),
    "low-noise": Row("40 % of training at log-uniform low noise", MIXTURE, "base"),
    "distances": Row("and distances in the loss", DISTANCES, "low-noise"),
    "distances-x3": Row("their weight x 3", DISTANCES | {"distance_weight": 3.0}, "distances"),
    "distances-mostly": Row("positions x 0.1", DISTANCES | {"position_weight": 0.1}, "distances"),
    "exact-target": Row("and the exact rotation-averaged target", TARGET, "distances"),
    "exact-no-distances": Row("exact target without distances", MIXTURE | {"target": "exact"}, "low-noise"),
    "all-parts": Row("and self-conditioning: all parts at once", ALL_PARTS, "exact-target"),
    "all-no-churn": Row("sampled without churn", ALL_PARTS, "all-parts", trained="all-parts", sampling={"churn": 1.0}),
    "recipe": Row("base and self-conditioning: the recipe", RECIPE, "base"),
    "no-churn": Row("sampled without churn", RECIPE, "recipe", trained="recipe", sampling={"churn": 1.0}),
    "recipe-exact-target": Row("with the exact rotation-averaged target", RECIPE | {"target": "exact"}, "recipe"),
    "recipe-low-noise": Row("with low noise", RECIPE | MIXTURE_ALONE, "recipe"),
    "recipe-distances": Row("with distances", RECIPE | {"distance_weight": 1.0}, "recipe"),
    "recipe-wide-noise": Row("noise levels spread wider", RECIPE | {"noise_deviation": 1.6}, "recipe"),
    "recipe-more-noise": Row("median of the noise x 2", RECIPE | {"noise_median": 0.6}, "recipe"),
    "positions-x3": Row("weight of positions against types x 3", RECIPE | {"position_weight": 3.0}, "recipe"),
    "positions-x8": Row("weight of positions x 8", RECIPE | {"position_weight": 8.0}, "recipe"),
    "positions-x20": Row("weight of positions x 20", RECIPE | {"position_weight": 20.0}, "recipe"),
    "type-weight-x3": Row("weight of types x 3", RECIPE | {"type_weight": 0.6}, "recipe"),
    "constant-rate": Row("learning rate never falls", RECIPE | {"decay": 0.0}, "recipe"),
    "types-0.5": Row("one-hot types x 0.5, decided earlier", RECIPE | {"type_scale": 0.5}, "recipe"),
    "types-1": Row("one-hot types x 1", RECIPE | {"type_scale": 1.0}, "recipe"),
    "bonds": Row("bonds of the distance rule learned beside", RECIPE | {"bond_weight": 0.5}, "recipe"),
    "muon": Row("Muon for the hidden layers", RECIPE | {"optimiser": "muon"}, "recipe"),
    "plain-base": Row("plain transformer, rotated data, base", BASE, "base", "coset_plain"),
    "plain-distances": Row("plain transformer, low noise and distances", DISTANCES, "distances", "coset_plain"),
    "plain-all-parts": Row("plain transformer, all parts at once", ALL_PARTS, "all-parts", "coset_plain"),
    "plain-recipe": Row("plain transformer, the rest of the recipe", RECIPE, "recipe", "coset_plain"),
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Budget: molecules seen in training and molecules drawn, a row. size: of both networks."""

    data: str = "qm9-small"
    molecules: int = 300_000
    seeds: tuple[int, ...] = (0,)
    draws: int = 2000
    steps: int = 100
    size: str = "xs"
    precision: str = "bf16"


def _row(study: Study, row: str, seed: int, folder: Path, device: str, listener: Listener | None) -> dict[str, Any]:
    spec = ROWS[row]
    folder = folder / f"{spec.trained or row}-{seed}"
    budget = {
        "size": study.size, "data": study.data, "molecules": study.molecules, "precision": study.precision,
        "validate_every": max(study.molecules // 10, 1), "sample_molecules": 0, "seed": seed,
    }  # fmt: skip
    model = trained(spec.recipe, budget | dict(spec.settings), folder, device, listener)
    return measure(model, open_dataset(study.data), study, seed, spec.sampling)


def measure(model: Model, dataset: Dataset, study: Study, seed: int, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """What the table says of a trained model."""
    own = model.sampling()
    options = {"grid": own.grid, "churn": own.churn} | dict(sampling)
    molecules = model.sample(study.draws, seed=seed, steps=study.steps, **options)
    known = reference_name(model)
    found = evaluate(molecules, None if known == "none" else load_reference(known))
    return {
        "parameters": model.parameters,
        "seconds": round(60 * model.card["minutes"], 1),
        "flops": model.card["flops"],
        "rates": {name: [rate.value, rate.low, rate.high] for name, rate in found.rates.items()},
        "distances": {name: float(value) for name, value in (found.distances or {}).items() if np.isfinite(value)},
        "yardsticks": yardsticks(model, dataset),
    }


def yardsticks(model: Model, dataset: Dataset, molecules: int = 1000) -> dict[str, float]:
    """`measure_denoising` on held-out molecules, with noise that is the same for every row."""
    rows, device = dataset.valid[:molecules], next(model.diffusion.parameters()).device
    batches = (
        (model.vocabulary.cloud(*dataset.store.collate(few)).to(device), Noise.from_seed(0, torch.as_tensor(few)))
        for few in Batches(dataset.store.sizes[rows], molecules=256, rows=rows).epoch(0)
    )
    return measure_denoising(model.diffusion, model.vocabulary, batches)


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen a row, size {study.size}, {study.precision}; {study.draws:,} molecules "
        f"drawn in {study.steps} steps to measure it",
        seeds_told(record),
        f"{dataset.name}: {len(dataset.train):,} train, {len(dataset.valid):,} valid",
    )
    headings = [
        "row", "what it is", "beside", "parameters", "TFLOP", "molecules stable %", "change", "atoms stable %",
        "valid %", "valid and unique %", "connected %", "denoised: stable %", "bond error (pm)", "median (pm)",
        "bond lengths (pm)", "shift (pm)", "torsions (degrees)", "Fréchet",
    ]  # fmt: skip
    lines = [_line(name, record.rows, study) for name in ROWS if seeds_of(record.rows, name)]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, lines) + NOTES)


NOTES = """
Each row is trained from the start and its rate falls to zero at its own end. Molecules stable: mean ± standard error,
over seeds where there are several and of the draws otherwise; change: against the row it stands beside, in points, with
the standard error of the difference, marked * beyond two. Denoised: share of held-out molecules that are stable after
0.3 Angstrom of noise were removed in 10 deterministic steps; error of their bonded distances, r.m.s. and median; their
noise is the same in every row. The last four are distances from the training data, as `coset evaluate` has them:
Wasserstein's of bond lengths and of torsions, the mean shift of bonds, Fréchet's of descriptors of the valid graphs.
"""


def stable(found: Sequence[Mapping[str, Any]], draws: int) -> tuple[float, float]:
    """Molecules stable in per cent and its standard error: over seeds, or of one seed's draws."""
    values = [100 * row["rates"]["molecule_stability"][0] for row in found]
    if len(values) > 1:
        return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)
    share = values[0] / 100
    return values[0], 100 * (share * (1 - share) / draws) ** 0.5


def _line(name: str, rows: Mapping[str, dict[str, Any]], study: Study) -> list[str]:
    found, spec = seeds_of(rows, name), ROWS[name]
    value, error = stable(found, study.draws)
    change, other = "", seeds_of(rows, spec.beside)
    if other:
        before, its_error = stable(other, study.draws)
        both = float(np.hypot(error, its_error))
        change = f"{value - before:+.1f} ± {both:.1f}{'*' if abs(value - before) > 2 * both else ''}"

    def mean(get: Callable[[dict[str, Any]], float], digits: int = 1) -> str:
        return f"{np.mean([get(row) for row in found]):.{digits}f}"

    rates = ("atom_stability", "validity", "valid_and_unique", "connectivity")
    return [
        name,
        spec.what,
        spec.beside,
        f"{found[0]['parameters']:,}",
        mean(lambda row: row["flops"] / 1e12, 0),
        f"{value:.1f} ± {error:.1f}",
        change,
        *(mean(lambda row, rate=rate: 100 * row["rates"][rate][0]) for rate in rates),
        mean(lambda row: 100 * row["yardsticks"]["stable"]),
        mean(lambda row: 100 * row["yardsticks"]["bond_rms"]),
        mean(lambda row: 100 * row["yardsticks"]["bond_median"], 2),
        *(
            mean(lambda row, name=name: row["distances"].get(name, float("nan")), 2)
            for name in ("bond_length_pm", "bond_shift_pm", "torsion_degrees", "frechet")
        ),
    ]


TABLE = Table(NAME, ROWS, _row, report)
run = TABLE.run
