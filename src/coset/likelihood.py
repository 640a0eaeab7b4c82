"""Likelihood: how probable held-out molecules are under a model, with error bars."""

from __future__ import annotations

import hashlib
import json
import math
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.data.batches import PAIRS, Batches
from coset.data.catalog import Dataset
from coset.files import atomic_write
from coset.model import Model
from coset.noise import Noise
from coset.objectives.bound import Bound, ContinuousSteps, EqualSteps
from coset.scales import CENTRED

PARTS = ("prior", "steps", "output", "size")
_GOLDEN = (5**0.5 - 1) / 2
_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    """How a likelihood is measured.

    steps: of the chain, 1000 as published; None is continuous time. draws: of a random denoiser's pose a step (see
    `Bound`). repeats: passes over the molecules, each with fresh noise and one step of the chain a molecule; published
    figures have 5.
    """

    steps: int | None = 1000
    draws: int = 1
    repeats: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "draws", "repeats"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")


@dataclass(frozen=True)
class Likelihood:
    """Nats a molecule, positions in Angstrom; lower is better.

    parts: (repeats, molecules, 4), the terms of -log p in the order of `PARTS`; size is -log p(N). ids (molecules,).
    unseen: molecules left out because the model gives their number of atoms no probability.
    """

    parts: Float[NDArray[np.float64], "r m 4"]
    ids: Int[NDArray[np.int64], "m"]
    settings: Settings
    unseen: int = 0

    @property
    def nll(self) -> float:
        """Mean of -log p over molecules and passes."""
        return float(self.parts.sum(-1).mean())

    @property
    def noise_error(self) -> float:
        """Standard error of `nll` from the noise of the estimate, by the scatter of passes; NaN for a single one."""
        return _standard_error(self.parts.sum(-1).mean(1))

    @property
    def molecule_error(self) -> float:
        """Standard error of `nll` as an estimate for all molecules of the kind, by their scatter."""
        return _standard_error(self.parts.sum(-1).mean(0))

    def means(self) -> dict[str, float]:
        """Mean of each term."""
        return dict(zip(PARTS, self.parts.mean((0, 1)).tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        numbers = {"nll": self.nll, "noise_error": self.noise_error, "molecule_error": self.molecule_error}
        known = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        counts = {"molecules": len(self.ids), "unseen_sizes": self.unseen}
        return {**known, "terms": self.means(), **counts, **asdict(self.settings)}


def likelihood(
    model: Model,
    dataset: Dataset,
    rows: Int[NDArray, "m"],
    settings: Settings | None = None,
    out: Path | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Likelihood:
    """-log p of the molecules in these rows of a data set: an upper bound (see `Bound`), estimated without bias.

    out: an .npz that keeps the terms of every molecule; a measurement that was broken off goes on from it. progress:
    told the share done. Models that need not be equivariant are measured in the poses of the data. Raises ValueError
    for elements or sizes that the model does not know, and where `out` belongs to another measurement.
    """
    settings = settings or Settings()
    if getattr(model.diffusion.process, "subspace", CENTRED) != CENTRED:
        raise ValueError(f"{model.name} was trained with free noise; a likelihood is that of centred molecules")
    if not len(rows):
        raise ValueError("a likelihood needs at least 1 molecule; got none")
    sizes = dataset.store.sizes[rows]
    log_size = model.sizes.log_prob(torch.from_numpy(sizes.astype(np.int64))).numpy()
    seen = np.isfinite(log_size)
    if not seen.any():
        raise ValueError(f"{model.name} has seen none of these molecules' sizes ({sizes.min()} to {sizes.max()} atoms)")
    rows, log_size = rows[seen], log_size[seen]
    parts = np.full((settings.repeats, len(rows), len(PARTS)), np.nan)
    parts[..., 3] = -log_size
    record = _Record(out, _fingerprint(model, dataset, rows, settings), parts)
    bound = Bound(_steps(model, settings.steps), settings.draws)
    device = next(model.diffusion.parameters()).device
    tokens = 16_384 if device.type == "cuda" else 1024
    largest = int(sizes.max())
    limits = {"tokens": max(tokens, largest), "pairs": max(PAIRS, largest**2)}
    batches = Batches(dataset.store.sizes[rows], **limits).epoch(0)

    def clean(batch: Int[NDArray, "b"]) -> Cloud:
        return model.vocabulary.cloud(*dataset.store.collate(rows[batch])).to(device)

    if settings.draws > 1 and not _is_random(model, clean(batches[0])):
        raise ValueError(f"{model.name} is deterministic: more draws change nothing, measure it with 1")
    try:
        for repeat in range(settings.repeats):
            for batch in batches:
                if np.isnan(parts[repeat, batch]).any():
                    noise = _noise(dataset.store.ids[rows[batch]], repeat, settings.seed, device)
                    place = _places(batch, repeat, settings.seed, device)
                    parts[repeat, batch, :3] = _terms(model, bound, clean(batch), noise, place)
                    record.save(every=_SAVE_SECONDS)
                progress(float(np.isfinite(parts[..., 0]).mean()))
    finally:  # Ctrl-C loses the batch under way alone
        record.save()
    return Likelihood(parts, dataset.store.ids[rows], settings, int((~seen).sum()))


def _terms(model: Model, bound: Bound, clean: Cloud, noise: Noise, place: Tensor) -> Float[NDArray, "b 3"]:
    diffusion = model.diffusion
    terms = bound(diffusion.codec, diffusion.process, diffusion.denoiser, clean, noise, place)
    return torch.stack([terms.prior, terms.steps, terms.output], -1).cpu().numpy()


def _noise(ids: NDArray, repeat: int, seed: int, device: torch.device) -> Noise:
    molecules = Noise.from_seed(seed, torch.as_tensor(ids, device=device))
    return Noise.from_seed(repeat, molecules.seeds)


def _places(order: Int[NDArray, "b"], repeat: int, seed: int, device: torch.device) -> Float[Tensor, "b"]:
    """Where on the chain the molecules number `order` of a pass have their step.

    A golden-section lattice from a random start spreads a pass evenly along the chain: most of the scatter of an
    estimate with independent places comes from where they happen to lie.
    """
    start = float(Noise.from_seed(seed, torch.tensor([repeat])).uniform(dtype=torch.float64))
    return torch.as_tensor((start + _GOLDEN * order) % 1.0, device=device)


@torch.no_grad()
def _is_random(model: Model, clean: Cloud) -> bool:
    z, half = model.diffusion.codec.encode(clean), torch.full((len(clean),), 0.5, device=clean.x.device)
    index = torch.arange(len(clean), device=clean.x.device)
    first, second = (model.diffusion.denoiser(z, half, Noise.from_seed(seed, index)) for seed in (0, 1))
    return not torch.equal(first.x, second.x)


def _steps(model: Model, steps: int | None) -> EqualSteps | ContinuousSteps:
    if steps is not None:
        return EqualSteps(steps)
    schedule = getattr(model.diffusion.process, "schedule", None)
    if schedule is None:
        raise ValueError(f"{model.name}'s process has no log SNR; give it a number of steps instead of continuous time")
    return ContinuousSteps(schedule)


@dataclass
class _Record:
    """Keeps `parts` in a file and takes up what is there."""

    path: Path | None
    fingerprint: str
    parts: NDArray[np.float64]
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                same = str(arrays["fingerprint"]) == self.fingerprint
                parts = arrays["parts"]
        except (ValueError, OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile):
            raise ValueError(f"{self.path} is not a whole likelihood file; give another name or remove it") from None
        if not same or parts.shape != self.parts.shape:
            raise ValueError(
                f"{self.path} holds the likelihood of another model, data or settings; give another name or remove it"
            )
        self.parts[:] = parts

    def save(self, every: float = 0.0) -> None:
        if self.path is None or time.monotonic() - self.saved < every:
            return
        with atomic_write(self.path, "wb") as file:
            np.savez_compressed(file, parts=self.parts, fingerprint=np.array(self.fingerprint))
        self.saved = time.monotonic()


def _fingerprint(model: Model, dataset: Dataset, rows: Int[NDArray, "m"], settings: Settings) -> str:
    """Of everything the numbers depend on: two data sets may number their molecules alike."""
    digest = hashlib.sha256(json.dumps([asdict(settings), model.card["recipe"], model.card["settings"]]).encode())
    digest.update(np.ascontiguousarray(dataset.store.ids[rows]).tobytes())
    for start in range(0, len(rows), 1024):
        for values in dataset.store.collate(rows[start : start + 1024]):
            digest.update(np.ascontiguousarray(values).tobytes())
    for parameter in model.diffusion.parameters():
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _standard_error(values: NDArray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
