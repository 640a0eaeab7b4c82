"""RADM's ablation: poses before an autoencoder, none, rotated data; with two backbones, beside what is new here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coset.data.batches import Batches
from coset.data.catalog import Dataset, open_dataset
from coset.files import atomic_write
from coset.metrics.evaluate import evaluate
from coset.metrics.reference import load_reference
from coset.model import Model
from coset.recipes.latent_settings import Encoded
from coset.recipes.registry import find_recipe
from coset.reproduce.quality_steps import reference_name
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.rows import Table, mean_of, parts_told, seeds_of, seeds_told, trained
from coset.training.latents import latent_codec
from coset.training.log import Listener
from coset.training.stages import needs_codec

NAME = "radm-ablation"
TRAINING = {
    "batch": 128, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "decay": 0.4,
    "clip": 1.0, "ema": (0.999, 0.9995), "sample_molecules": 0,
}  # fmt: skip
CODEC: dict[str, Any] = {"codec_width": 64, "decoder_depth": 4, "pose_width": 64}
GNN = {"network": "gnn", "width": 64, "depth": 4}
DIT = {"network": "dit", "width": 96, "depth": 4, "heads": 4}
EGNN = {"network": "egnn", "width": 64, "depth": 4}
DATA_SPACE = {"encoder": "none"}


@dataclass(frozen=True)
class Row:
    """published: molecules stable, per cent, of the paper's row with full-size networks on all of QM9 (Table 2)."""

    what: str
    recipe: str
    settings: Mapping[str, Any]
    published: float | None = None


ROWS: dict[str, Row] = {
    "none": Row("no pose", "graphldm", GNN, 70.5),
    "augmentation": Row("rotated data", "graphldm_aug", GNN, 78.7),
    "pca": Row("principal axes", "radm_pca", GNN, 81.9),
    "learned": Row("learned pose (RADM)", "radm_gnn", GNN, 85.8),
    "none-dit": Row("no pose, transformer", "graphldm", DIT),
    "augmentation-dit": Row("rotated data, transformer", "graphldm_aug", DIT),
    "pca-dit": Row("principal axes, transformer", "radm_pca", DIT),
    "learned-dit": Row("learned pose, transformer (RADM)", "radm_dit_s", DIT),
    "geoldm": Row("equivariant networks, both at once (GeoLDM)", "geoldm", EGNN),
    "geoldm-stages": Row("the same in two stages", "geoldm", EGNN | {"joint": False}),
    "learned-trained": Row("learned pose, encoder trained", "radm_gnn", GNN | {"trained_encoder": True}),
    "learned-scaled": Row("learned pose, latents of unit variance", "radm_gnn", GNN | {"scaled": True}),
    "data-none": Row("no pose, no autoencoder", "graphldm", GNN | DATA_SPACE),
    "data-augmentation": Row("rotated data, no autoencoder", "graphldm_aug", GNN | DATA_SPACE),
    "data-pca": Row("principal axes, no autoencoder", "radm_pca", GNN | DATA_SPACE),
    "data-learned": Row("learned pose, no autoencoder", "radm_gnn", GNN | DATA_SPACE),
    "data-pca-order": Row(
        "principal axes, atoms from end to end, no autoencoder", "radm_pca", GNN | DATA_SPACE | {"order": "spectral"}
    ),
    "learned-flow": Row("learned pose, flow matching", "radm_gnn", GNN | {"schedule": "linear", "predict": "velocity"}),
    "learned-exact-target": Row(
        "learned pose, exact target over all rotations, none seen: expected to fail",
        "radm_gnn",
        GNN | {"target": "exact"},
    ),
    "learned-turned": Row("learned pose, latents turned by 15 degrees", "radm_gnn", GNN | {"residual": 15.0}),
    "learned-turned-exact": Row(
        "the same, exact target over such turns (TS)", "radm_gnn", GNN | {"residual": 15.0, "target": "exact"}
    ),
}


@dataclass(frozen=True)
class Study:
    """molecules: seen in training, a row; as many by each codec, which rows share. draws: sampled to measure a row."""

    data: str = "qm9-small"
    molecules: int = 1_000_000
    seeds: tuple[int, ...] = (0,)
    draws: int = 1000
    steps: int = 100
    grid: str = "karras"
    churn: float = 1.4


def _row(study: Study, row: str, seed: int, folder: Path, device: str, listener: Listener | None) -> dict[str, Any]:
    return measure(_trained(study, row, seed, folder, device, listener), open_dataset(study.data), study)


def _trained(study: Study, row: str, seed: int, folder: Path, device: str, listener: Listener | None) -> Model:
    spec = ROWS[row]
    validate = max(study.molecules // 20, 1)
    shared = TRAINING | {"data": study.data, "molecules": study.molecules, "seed": seed, "validate_every": validate}
    settings = shared | CODEC | dict(spec.settings)
    resolved = find_recipe(spec.recipe).resolve(settings)
    if needs_codec(resolved):
        codec = {name: getattr(resolved, name) for name in Encoded.model_fields}
        own = folder / f"{codec_name(codec)}-{seed}"
        trained("autoencoder", shared | codec | {"decay": 1.0, "keep": "best"}, own, device, listener)
        settings |= {"codec": str(own)}
    return trained(spec.recipe, settings, folder / f"{row}-{seed}", device, listener)


def codec_name(settings: Mapping[str, Any]) -> str:
    """A folder's name that tells one codec of the study from another."""
    parts = ["codec", settings["frame"], settings["decoder"]]
    parts += [settings["order"]] if settings["order"] != "data" else []
    return "-".join(parts + [name for name in ("rotated", "trained_encoder", "scaled") if settings[name]])


def measure(model: Model, dataset: Dataset, study: Study) -> dict[str, Any]:
    """What the table says of a trained model."""
    drawn = model.draw(study.draws, seed=0, steps=study.steps, grid=study.grid, churn=study.churn)
    known = reference_name(model)
    found = evaluate(drawn.molecules, None if known == "none" else load_reference(known))
    return {
        "parameters": model.parameters,
        "flops": model.card["flops"],
        "minutes": model.card["minutes"],
        "redrawn": len(drawn.redrawn),
        "rates": {name: [rate.value, rate.low, rate.high] for name, rate in found.rates.items()},
        "codec": codec_errors(model, dataset),
    }


@torch.no_grad()
def codec_errors(model: Model, dataset: Dataset, molecules: int = 2000) -> dict[str, float] | None:
    """Of the way there and back without noise, on test molecules: r.m.s. displacement of an atom, share of right types.

    None for a model without an autoencoder.
    """
    parts = latent_codec(model.diffusion.codec)
    if parts is None:
        return None
    aligned, autoencoder = parts
    rows = (dataset.test if len(dataset.test) else dataset.valid)[:molecules]
    device = next(model.diffusion.parameters()).device
    away = right = atoms = 0.0
    for batch in Batches(dataset.store.sizes[rows], molecules=256, rows=rows).epoch(0):
        clean = aligned.posed(model.vocabulary.cloud(*dataset.store.collate(batch)).to(device))
        back = autoencoder.decode(autoencoder.mean(clean)).mode()
        real = clean.mask[..., 0] > 0
        kinds = clean.h[..., : autoencoder.types].argmax(-1)
        away += float((back.x - clean.x).square().sum())
        right += float((back.h.argmax(-1) == kinds)[real].sum())
        atoms += float(real.sum())
    return {"rmsd": (away / atoms) ** 0.5, "types": right / atoms}


def report(record: Record, study: Study) -> None:
    """report.md from the rows that are there."""
    dataset = open_dataset(study.data)
    text = heading(
        record,
        f"{study.molecules:,} molecules seen a row, and as many by its autoencoder; {study.draws} molecules drawn in "
        f"{study.steps} steps to measure it ({study.grid} grid, churn {study.churn:g})",
        seeds_told(record),
        parts_told(dataset),
    )
    headings = [
        "row", "what it is", "parameters", "TFLOP", "atoms stable %", "molecules stable %", "valid %", "unique %",
        "connected %", "reconstruction (Angstrom)", "types right %", "published stable %",
    ]  # fmt: skip
    rows = [_line(name, seeds_of(record.rows, name)) for name in ROWS if seeds_of(record.rows, name)]
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, rows) + NOTES)


NOTES = """
TFLOP: of the diffusion's training, without the autoencoder's. Reconstruction: r.m.s. displacement of an atom of the
test molecules on the way through the autoencoder and back, without noise. Published: RADM's Table 2, full-size networks
on all of QM9 after 550 times as many molecules; our rows are to be compared with one another.
"""


def _line(name: str, found: list[dict[str, Any]]) -> list[str]:
    spec = ROWS[name]

    mean = partial(mean_of, found)
    rates = ("atom_stability", "molecule_stability", "validity", "uniqueness", "connectivity")
    coded = found[0]["codec"] is not None
    return [
        name,
        spec.what,
        f"{found[0]['parameters']:,}",
        mean(lambda row: row["flops"] / 1e12, 0),
        *(mean(lambda row, rate=rate: 100 * row["rates"][rate][0]) for rate in rates),
        mean(lambda row: row["codec"]["rmsd"], 3) if coded else "",
        mean(lambda row: 100 * row["codec"]["types"], 2) if coded else "",
        "" if spec.published is None else f"{spec.published}",
    ]


TABLE = Table(NAME, ROWS, _row, report)
run = TABLE.run
