"""How straight molecules move: learned noising processes against fixed ones, forward and in sampling."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.data.catalog import Dataset, open_dataset
from coset.files import write_xyz
from coset.model import Model, load
from coset.model_files import SUFFIX
from coset.molecule import FARTHEST, Molecule
from coset.noise import Noise
from coset.reproduce.quality_steps import fingerprint
from coset.reproduce.record import Record
from coset.reproduce.straightness_report import MEASURES, write_report
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud
from coset.samplers.trajectories import PathShape, noising_path, path_shape, sampling_path

NAME = "end-trajectories"
BATCH = 16
FILMED, FRAMES = 2, 31  # molecules whose sampling is kept as a film, and its frames
DECIMALS = 3


@dataclass(frozen=True)
class Study:
    """molecules: held-out ones of the data, whose paths are followed; as many of their sizes are sampled. steps: of the
    grid, equally far apart in time."""

    data: str = "qm9-small"
    molecules: int = 100
    steps: int = 200
    seed: int = 0

    def times(self) -> Float[Tensor, "k"]:
        """Falling from 1 to 0."""
        return power_grid(self.steps)

    def rows(self, dataset: Dataset) -> NDArray[np.int64]:
        """Test molecules (validation molecules where there are none), chosen by the seed, the smallest first."""
        held_out = dataset.test if len(dataset.test) else dataset.valid
        few = min(self.molecules, len(held_out))
        chosen = np.random.default_rng(self.seed).choice(held_out, few, replace=False)
        return chosen[np.argsort(dataset.store.sizes[chosen], kind="stable")]


def run(
    study: Study,
    models: Mapping[str, str],
    folder: Path,
    device: str = "cpu",
    begin: Callable[[str], Callable[[float], None]] = lambda row: lambda done: None,
) -> Record:
    """Measures the models that are not there yet, by name and path, and writes the report anew after each.

    Further models join those that are there. Raises ValueError where the folder holds the rows of another study, or a
    row of this name and other weights.
    """
    dataset, record = open_dataset(study.data), Record.open(NAME, folder, asdict(study))
    for name, path in models.items():
        model = load(path, device)
        weights = fingerprint(model)
        if name not in record.rows:
            film = folder / "trajectories" / f"{name}.xyz"
            record.add(name, {**_row(study, dataset, model, film, begin(name)), "weights": weights})
            write_report(record)
        elif record.rows[name]["weights"] != weights:
            raise ValueError(f"{folder} holds {name} with other weights; give this model another name, or --out")
    write_report(record)
    return record


def _row(study: Study, dataset: Dataset, model: Model, film: Path, update: Callable[[float], None]) -> dict[str, Any]:
    """Shapes of the paths, one number a molecule: of the noising, and of sampling where it can be deterministic."""
    rows, times, diffusion = study.rows(dataset), study.times(), model.diffusion
    shapes: dict[str, list[PathShape]] = {"noising": [], "sampling": []}
    filmed = np.linspace(0, len(rows) - 1, FILMED + 2).round().astype(int)[1:-1].tolist()
    frames: list[Molecule] = []
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        clean = model.vocabulary.cloud(*dataset.store.collate(batch)).to(next(diffusion.parameters()).device)
        x0 = diffusion.codec.encode(clean)
        places = torch.arange(first, first + len(batch), device=x0.x.device)
        noise = Noise.from_seed(study.seed, places)
        shapes["noising"].append(path_shape(noising_path(diffusion.process, x0, noise.fork(0), times), times))
        if hasattr(diffusion.process, "with_eta"):
            like = empty_cloud(x0.count.long(), diffusion.codec.width)
            points, drawn = sampling_path(diffusion, like, noise.fork(1), times)
            shapes["sampling"].append(path_shape(points, times))
            for place in sorted(set(filmed) & set(places.tolist())):
                frames += _frames(model, points, drawn, times, place, place - first)
        update((first + len(batch)) / len(rows))
    if frames:
        film.parent.mkdir(parents=True, exist_ok=True)
        write_xyz(film, frames, DECIMALS)
    return {
        "recipe": model.card["recipe"],
        "learned": any(True for _ in diffusion.process.parameters()),
        "atoms": dataset.store.sizes[rows].tolist(),
        "film": f"{film.parent.name}/{film.name}" if frames else None,
    } | {kind: _numbers(found) for kind, found in shapes.items() if found}


def _frames(
    model: Model, points: Float[Tensor, "k b n 3"], drawn: Cloud, times: Float[Tensor, "k"], number: int, row: int
) -> list[Molecule]:
    """Some frames of the way of one molecule of the batch, in Angstrom; none where it leaves the finite."""
    way = points[:, row] * model.diffusion.codec.unit
    if not bool((way.abs() <= FARTHEST).all()):
        return []
    kind = drawn.take(torch.tensor([row], device=way.device))
    shown = np.unique(np.linspace(0, len(way) - 1, FRAMES).round().astype(int)).tolist()
    return [
        model.vocabulary.molecules(
            replace(kind, x=way[frame : frame + 1]), [{"molecule": number, "time": round(float(times[frame]), 4)}]
        )[0]
        for frame in shown
    ]


def _numbers(shapes: Iterable[PathShape]) -> dict[str, list[float | None]]:
    """By measure, a number a molecule; None where it is undefined."""
    return {
        name: [
            round(value, 5) if math.isfinite(value) else None
            for shape in shapes
            for value in getattr(shape, name).tolist()
        ]
        for name in MEASURES
    }


def parse_models(text: str) -> dict[str, str]:
    """NAME=PATH or PATH alone, whose last part is then the name, parted by commas. Raises ValueError."""
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        name, equals, path = part.partition("=")
        if not equals:
            name, path = Path(part).name.removesuffix(SUFFIX), part
        if not path or not re.fullmatch(r"[\w+-][\w.+-]*", name) or name in found:
            raise ValueError(f"--models expects different NAME=PATH parted by commas; got {part!r} in {text!r}")
        found[name] = path
    return found


def find_models(folders: Iterable[Path]) -> dict[str, str]:
    """The trained runs in the first of the folders that has some, by name. Raises FileNotFoundError."""
    tried = list(folders)
    for folder in tried:
        found = {path.parent.name: str(path.parent) for path in sorted(folder.glob(f"*/model{SUFFIX}"))}
        if found:
            return found
    raise FileNotFoundError(
        f"no trained models in {' or '.join(map(str, tried))}; run `coset reproduce end-steps` first, or name models "
        "with --models NAME=PATH,..."
    )
