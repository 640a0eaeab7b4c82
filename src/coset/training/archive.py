"""Archives: the molecules behind a table of quality, kept beside it, and the table itself as JSON."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coset.data.catalog import Dataset
from coset.files import atomic_write, read
from coset.metrics.dataset_reference import reference_of as measured_reference
from coset.metrics.evaluate import Report, evaluate
from coset.metrics.protocol import protocol_of
from coset.metrics.reference import KEPT, REFERENCES, Reference, load_reference
from coset.model import Model
from coset.molecule import Molecule
from coset.samplers.generate import Generator
from coset.training.checkpoint import tensor_crc, write_json
from coset.training.folder import METRICS, SAMPLES

CHUNK = 1000  # molecules that a kill may cost
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Plan:
    """How many molecules are drawn for a table, in how many steps, from which seed. Papers draw 10,000 in 1,000."""

    molecules: int
    steps: int = 100
    seed: int = 0


def measure_model(
    model: Model, plan: Plan, folder: Path, reference: str | Reference | None, progress: Progress = lambda done: None
) -> tuple[Report, dict[str, Any]]:
    """Draws the molecules into the folder's samples.npz, scores those, and writes metrics.json.

    metrics.json: the report (`Report.to_dict`) with the model's budget, data and sampling. progress: told how many
    molecules' worth of work is done. Returns the report and what a card keeps of it. A killed call goes on from the
    last thousand molecules that it finished.
    """
    archive = folder / SAMPLES
    redrawn = draw_archive(model, plan, archive, progress)
    protocol = None if reference is not None else protocol_of(model.vocabulary.numbers)
    report = evaluate(read(archive), reference, protocol=protocol)
    sampling = {**asdict(plan), "redrawn": redrawn}
    about = {key: model.card.get(key) for key in ("name", "recipe", "version", "settings", "data")}
    budget = {key: model.card.get(key) for key in ("molecules_seen", "minutes", "flops", "hardware")}
    write_json(folder / METRICS, {**about, "budget": budget, "sampling": sampling, "report": report.to_dict()})
    return report, {**sampling, **_rates(report)}


def _rates(report: Report) -> dict[str, Any]:
    return {
        "counts": dict(report.counts),
        "rates": {name: round(rate.value, 4) for name, rate in report.rates.items()},
        "intervals": {name: [round(rate.low, 4), round(rate.high, 4)] for name, rate in report.rates.items()},
        "data": {name: round(value, 4) for name, value in (report.data or {}).items()},
    }


def draw_archive(model: Model, plan: Plan, path: Path, progress: Progress = lambda done: None) -> int:
    """Molecules 0, 1, ... of the plan's seed as a compressed .npz for `coset.files.read`.

    Chunks lie beside it until all are there. They are named after the weights, so another model draws anew. Returns
    how many molecules came out non-finite and were drawn again.
    """
    parts = path.with_name(f"{path.stem}.{_fingerprint(model, plan)}.parts")
    for stale in path.parent.glob(f"{path.stem}.*.parts"):
        if stale != parts:
            shutil.rmtree(stale)
    parts.mkdir(parents=True, exist_ok=True)
    files = []
    for first in range(0, plan.molecules, CHUNK):
        numbers = torch.arange(first, min(first + CHUNK, plan.molecules))
        files.append(parts / f"{first:09d}-{len(numbers)}.npz")
        if not files[-1].exists():
            generator = _generator(model, plan, first, progress)
            drawn = dict(generator.draw(plan.seed, numbers))
            _write(
                files[-1],
                {**_columns([drawn[i] for i in numbers.tolist()]), "redrawn": np.array(len(generator.redrawn))},
            )
        progress(first + len(numbers))
    chunks = [_read(file) for file in files]
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0] if name != "redrawn"}
    _write(path, joined)
    shutil.rmtree(parts)
    return int(sum(chunk["redrawn"] for chunk in chunks))


def reference_of(dataset: Dataset) -> str | Reference | None:
    """What to compare with: a packaged reference, one kept in the store, else the data's own splits, if there are two.

    QM9's sets that have none of their own take QM9's.
    """
    if dataset.name in REFERENCES or dataset.name.startswith("qm9"):
        return dataset.name if dataset.name in REFERENCES else "qm9"
    kept = dataset.store.path / KEPT
    if kept.is_file():
        return load_reference(kept)
    return measured_reference(dataset) if len(dataset.test) or len(dataset.valid) else None


def _generator(model: Model, plan: Plan, first: int, progress: Progress) -> Generator:
    done = float(first)

    def advance(molecules: float) -> None:
        nonlocal done
        done += molecules
        progress(done)

    return Generator(model.diffusion, model.vocabulary, model.sizes, model.sampling(steps=plan.steps), advance)


def _fingerprint(model: Model, plan: Plan) -> str:
    """Of the weights and of all that the drawn molecules depend on but their number."""
    found = zlib.crc32(f"{model.sampling(steps=plan.steps)} {plan.seed} {sorted(model.sizes.counts.items())}".encode())
    for parameter in model.diffusion.parameters():
        found = tensor_crc(parameter, found)
    return f"{found:08x}"


def _columns(molecules: list[Molecule]) -> dict[str, NDArray]:
    """Positions in float32, which is what networks give; atomic numbers and counts in int16."""
    return {
        "n_atoms": np.array([len(m) for m in molecules], dtype=np.int16),
        "atomic_numbers": np.concatenate([m.numbers for m in molecules]).astype(np.int16),
        "positions": np.concatenate([m.positions for m in molecules]).astype(np.float32),
        "number": np.array([m.properties["number"] for m in molecules], dtype=np.int64),
        "seed": np.array([m.properties["seed"] for m in molecules], dtype=np.int64),
    }


def _read(path: Path) -> dict[str, NDArray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _write(path: Path, columns: dict[str, NDArray]) -> None:
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]
