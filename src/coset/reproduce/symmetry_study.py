"""The symmetry study: every way of respecting symmetry, on one data set, network size and budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coset.cloud import Cloud
from coset.data.catalog import Dataset, open_dataset
from coset.diffusion import Diffusion
from coset.files import atomic_write
from coset.likelihood import Settings, likelihood
from coset.metrics.evaluate import evaluate
from coset.model import Model
from coset.noise import Noise
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import Table, mean_of, parts_told, seeds_of, seeds_told, trained
from coset.symmetry.rotations import haar
from coset.symmetry.targets import plain
from coset.training.log import Listener, read_log

NAME = "symmetry-study"
# Row: recipe, settings beside the study's own, and what it is.
ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "none": ("dit", {}, "transformer, no symmetry"),
    "augmentation": ("dit_aug", {}, "random rotations of the data"),
    "pca-pose": ("dit_pca", {}, "principal axes, signs by chance"),
    "frame-averaging": ("dit_frames", {}, "principal axes, all four poses averaged"),
    "canonical-pose": ("dit_canonical", {}, "pose from a small equivariant network"),
    "symdiff-h": ("symdiff_h", {}, "uniformly random pose at every call"),
    "symdiff": ("symdiff", {}, "learned random pose at every call"),
    "augmentation+haar-target": ("dit_aug", {"target": "haar"}, "random rotations, target of 64 Haar draws (TS)"),
    "augmentation+released-target": (
        "dit_aug",
        {"target": "released"},
        "the same with the true pose among them, softened (TS, released code)",
    ),
    "augmentation+exact-target": ("dit_aug", {"target": "exact"}, "random rotations, exact target"),
    "symdiff+exact-target": ("symdiff", {"target": "exact"}, "learned random pose, exact target"),
    "egnn": ("edm", {}, "equivariant network"),
    "egnn+exact-target": ("edm", {"target": "exact"}, "equivariant network, exact target"),
    "exact-target-alone": ("dit", {"target": "exact"}, "exact target without rotated data: expected to fail"),
}
TRAINING = {
    "batch": 128, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "decay": 0.4,
    "clip": 1.0, "ema": (0.999, 0.9995), "sample_molecules": 0,
}  # fmt: skip
SIZES = {
    "edm": {"width": 64, "depth": 4},
    "transformer": {"width": 96, "depth": 4, "heads": 4, "kernels": 48},
    "symdiff": {"pose_width": 32, "pose_depth": 2, "pose_heads": 4, "pose_kernels": 32},
    "dit_canonical": {"pose_width": 32, "pose_depth": 2},
}


@dataclass(frozen=True)
class Study:
    """Budget of the study. molecules: seen in training, a row. draws: molecules sampled to measure a row.

    grid, churn: of the sampler, the same for every row. Small networks need the churn: without it few of their
    molecules are stable, whatever the symmetry.
    """

    data: str = "qm9-small"
    molecules: int = 1_000_000
    seeds: tuple[int, ...] = (0,)
    draws: int = 1000
    steps: int = 100
    grid: str = "karras"
    churn: float = 1.4


def _row(study: Study, row: str, seed: int, folder: Path, device: str, listener: Listener | None) -> dict[str, Any]:
    recipe, extra, _ = ROWS[row]
    sizes = SIZES["edm" if recipe == "edm" else "transformer"] | SIZES.get(recipe, {})
    budget = {"data": study.data, "molecules": study.molecules, "validate_every": max(study.molecules // 20, 1)}
    folder = folder / f"{row}-{seed}"
    model = trained(recipe, TRAINING | sizes | budget | extra | {"seed": seed}, folder, device, listener)
    return measure(model, open_dataset(study.data), study) | {
        "curve": [
            [record["molecules"], round(record["seconds"], 1), record["valid_loss"]]
            for record in read_log(folder / "log.jsonl")
            if record["kind"] == "valid"
        ],
    }


def measure(model: Model, dataset: Dataset, study: Study) -> dict[str, Any]:
    """What the table says of a trained model; everything with the plain target and fixed noise."""
    molecules = model.sample(study.draws, seed=0, steps=study.steps, grid=study.grid, churn=study.churn)
    counts = evaluate(molecules, reference=None)
    rows = dataset.valid[:1000]
    clean = model.vocabulary.cloud(*dataset.store.collate(rows)).to(next(model.diffusion.parameters()).device)
    held_out = dataset.test if len(dataset.test) else dataset.valid
    found = likelihood(model, dataset, held_out[:2000], Settings(steps=None, repeats=2))
    return {
        "parameters": model.parameters,
        "seconds": round(60 * model.card["minutes"], 1),
        "flops": model.card["flops"],
        "loss_data_poses": _loss(model.diffusion, clean, rotate=False),
        "loss_random_poses": _loss(model.diffusion, clean, rotate=True),
        "nll": found.nll,
        "nll_error": found.noise_error,
        "rates": {name: [rate.value, rate.low, rate.high] for name, rate in counts.rates.items()},
        "equivariance_error": equivariance_error(model.diffusion, clean),
        "pose_bias": pose_bias([molecule.positions for molecule in molecules]),
    }


@torch.no_grad()
def _loss(diffusion: Diffusion, clean: Cloud, rotate: bool, repeats: int = 4) -> float:
    """The loss with the plain target, the molecules as they lie in the data or each in a random pose."""
    common, total = diffusion.with_target(plain).objective, 0.0
    for repeat in range(repeats):
        noise = Noise.from_seed(1000 + repeat, torch.arange(len(clean), device=clean.x.device))
        x0 = diffusion.codec.encode(clean)
        if rotate:
            x0 = x0.rotate(haar(noise.fork(5), reflections=False).to(x0.x.dtype))
        total += float(common(diffusion.process, diffusion.denoiser, x0, noise).mean())
    return total / repeats


@torch.no_grad()
def equivariance_error(diffusion: Diffusion, clean: Cloud) -> float:
    """|E D(R z) - R E D(z)| / |D(z)| of positions, averaged over noise levels and the first 200 molecules.

    E is the mean over 64 draws of a random denoiser.
    """
    few = Cloud(clean.x[:200], clean.h[:200], clean.mask[:200])
    x0, denoiser = diffusion.codec.encode(few), diffusion.denoiser
    index, total, levels = torch.arange(len(x0), device=x0.x.device), 0.0, (0.1, 0.3, 0.5, 0.7)
    for number, level in enumerate(levels):
        noise, t = Noise.from_seed(number, index), torch.full((len(x0),), level, device=x0.x.device)
        z = diffusion.process.noised(x0, t).sample(noise.fork(0))
        pose = haar(noise.fork(1), reflections=False).to(z.x.dtype)
        first, second = (denoiser(z, t, noise.fork(stream)).x for stream in (2, 3))
        draws = 1 if torch.equal(first, second) else 64
        still, moved = torch.zeros_like(z.x), torch.zeros_like(z.x)
        for draw in range(draws):
            still += denoiser(z, t, noise.number(draw).fork(2)).x / draws
            moved += denoiser(z.rotate(pose), t, noise.number(draw).fork(3)).x / draws
        away = (moved @ pose - still).square().sum((1, 2)).sqrt() / still.square().sum((1, 2)).sqrt().clamp_min(1e-9)
        total += float(away.mean()) / len(levels)
    return total


def pose_bias(positions: list[np.ndarray]) -> float:
    """Norm of the mean of x x^T / |x|^2 - 1/3 over molecules: 0 in law for a sampler without a preferred direction.

    Of n molecules without one, about 0.6 / sqrt(n) is left by chance.
    """
    centred = [x - x.mean(0) for x in positions if len(x) > 1]
    shapes = np.stack([x.T @ x / max(float((x**2).sum()), 1e-12) for x in centred])
    return float(np.linalg.norm(shapes.mean(0) - np.eye(3) / 3))


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen a row; {study.draws} molecules drawn in {study.steps} steps to measure it "
        f"({study.grid} grid, churn {study.churn:g})",
        seeds_told(record),
        parts_told(dataset),
    )
    shortest = min((values["seconds"] for values in record.rows.values()), default=0.0)
    least = min((values["flops"] for values in record.rows.values()), default=0.0)
    headings = [
        "row", "what it is", "parameters", "TFLOP", "seconds", "loss, data's poses", "loss, random poses",
        f"loss after {least / 1e12:.0f} TFLOP", f"after {shortest:.0f} s", "NLL (nats)",
        "atoms stable %", "molecules stable %", "valid %", "connected %",
        "equivariance error", "pose bias",
    ]  # fmt: skip
    rows = [_line(name, seeds_of(record.rows, name), least, shortest) for name in ROWS if seeds_of(record.rows, name)]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, rows) + NOTES)


NOTES = """
Losses are those of the plain target for every row (validation molecules, fixed noise); "loss after" is that of the
training log at the cost of the cheapest row, in floating-point operations and in seconds (of a machine that may have
had other work): the cheapest rows are at their end there, the others in the middle, before their learning rate falls.
NLL: an upper bound in continuous time, nats a test molecule in the pose of the data, positions in Angstrom.
Equivariance error: of the denoiser's mean over 64 draws, so that a random denoiser keeps 1/8 of its scatter. Pose bias:
0 for samplers without a preferred direction; about 0.02 of it comes by chance with 1,000 molecules.
"""


def _line(name: str, found: list[dict[str, Any]], least: float, shortest: float) -> list[str]:
    mean = partial(mean_of, found)
    rates = ("atom_stability", "molecule_stability", "validity", "connectivity")
    return [
        name,
        ROWS[name][2],
        f"{found[0]['parameters']:,}",
        mean(lambda row: row["flops"] / 1e12, 0),
        mean(lambda row: row["seconds"], 0),
        mean(lambda row: row["loss_data_poses"], 4),
        mean(lambda row: row["loss_random_poses"], 4),
        mean(lambda row: _at(row["curve"], 0, row["curve"][-1][0] * least / row["flops"]), 4),
        mean(lambda row: _at(row["curve"], 1, shortest), 4),
        mean(lambda row: row["nll"], 1),
        *(mean(lambda row, rate=rate: 100 * row["rates"][rate][0], 1) for rate in rates),
        mean(lambda row: row["equivariance_error"], 3),
        mean(lambda row: row["pose_bias"], 3),
    ]


def _at(curve: list[list[float]], axis: int, place: float) -> float:
    """The loss at a number of molecules (axis 0) or seconds (1), between the validations before and after it."""
    return float(np.interp(place, [point[axis] for point in curve], [point[2] for point in curve]))


TABLE = Table(NAME, ROWS, _row, report)
run = TABLE.run
