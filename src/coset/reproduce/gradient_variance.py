"""Gradient variance: what an exact orbit mean saves over one draw and over the published estimator.

Theorem 1 of TS (Tong et al. 2025) in numbers: the noisy cloud z is held and what may lie behind it drawn anew, from
the posterior; the target's and the gradient's squared bias and variance are then told apart. On the paper's toy in the
plane (rotations and permutations) and on molecules of QM9 (rotations), with an EGNN and a transformer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.data import open_dataset
from coset.interfaces import Denoiser, Network, Target
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromNoise
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine
from coset.reproduce.gradient_cost import DRAWS, cost
from coset.reproduce.gradient_moments import Moments, gradients, moments, redrawn, repeated, targets
from coset.reproduce.gradient_report import write_report
from coset.reproduce.record import Record
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.groups import Group, LikeAtoms, Rotations
from coset.symmetry.targets import OrbitMean, plain

NAME = "gradient-variance"
SYSTEMS = ("plane", "qm9")
PROCESS = Affine(Cosine())
WEIGHT = NoiseWeight(PROCESS.schedule)
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.9999)
"""alpha; sigma = sqrt(1 - alpha^2)."""
PLANE = ((-1.0, 0.0), (-0.5, 0.0), (0.5, 0.0), (1.0, 0.0))


@dataclass(frozen=True)
class Settings:
    """clouds: noisy ones of a molecule at a level. repeats: posterior draws at each. steps: of training, in batches of
    `batch`, that the networks have behind them. sizes: atoms of the molecules of QM9. rounds: of the timing."""

    clouds: int = 4
    repeats: int = 64
    steps: int = 400
    batch: int = 32
    sizes: tuple[int, ...] = (19, 19, 9, 13, 16, 18, 21, 25)
    levels: tuple[float, ...] = LEVELS
    seed: int = 0
    rounds: int = 7

    @property
    def rows(self) -> int:
        """Of the record."""
        return len(SYSTEMS) * len(self.levels) + 1


@dataclass(frozen=True)
class System:
    """Clean clouds without padding, one batch a size; the group; denoisers that have seen some training."""

    clouds: Sequence[Cloud]
    group: Group
    denoisers: dict[str, Denoiser]

    def estimators(self) -> dict[str, Target]:
        """Plain, Algorithm 1 at four K, its public variants (the drawn pose among 200; softened besides), exact."""
        haar = {f"Algorithm 1, K = {k}": HaarDraws(k) for k in DRAWS}
        haar["K = 200, drawn pose in"] = HaarDraws(200, with_drawn=True)
        haar["public variant, K = 200"] = HaarDraws(200, with_drawn=True, soften=True)
        averaged: dict[str, Target] = {name: OrbitMean(self.group, estimator) for name, estimator in haar.items()}
        return {"plain": plain} | averaged | {"exact": OrbitMean(self.group)}


def run(out: Path, settings: Settings | None = None, progress: Callable[[float, str], None] | None = None) -> None:
    """Writes rows.json, report.md and figure.svg; rows that are there already are kept.

    progress: called with the number of rows done, of `Settings.rows`, and what comes next. Raises ValueError where the
    folder holds rows of other settings, or the sample no molecule of a size.
    """
    settings, progress = settings or Settings(), progress or (lambda done, text: None)
    molecules, digest = _molecules(settings)
    record = Record.open(NAME, out, asdict(settings) | {"data": f"qm9-sample, sha256 {digest}"})
    systems: dict[str, System] = {}
    for name in SYSTEMS:
        for alpha in settings.levels:
            row = f"{name} {alpha:g}"
            if row in record.rows:
                continue
            progress(len(record.rows), row)
            if name not in systems:
                systems[name] = _plane(settings) if name == "plane" else _qm9(molecules, settings)
            record.add(row, _level(systems[name], alpha, settings))
    if "cost" not in record.rows:
        progress(len(record.rows), "cost")
        record.add("cost", cost(PROCESS, settings.rounds))
    write_report(record)


def _level(system: System, alpha: float, settings: Settings) -> dict[str, Any]:
    """One noise level: moments of the target (all clouds; the first alone) and of each network's gradient."""
    estimators, values, answers = system.estimators(), [], {name: [] for name in system.denoisers}
    for number, cloud in enumerate(system.clouds):
        noise = Noise.from_seed(settings.seed, torch.arange(settings.clouds) + 1000 * number).at(1)
        t = torch.full((settings.clouds,), _time(alpha), dtype=torch.float64)
        found = redrawn(
            system.group, PROCESS, estimators["exact"], repeated(cloud, settings.clouds), t, settings.repeats, noise
        )
        drawn = {name: targets(target, PROCESS, found) for name, target in estimators.items()}
        values.append((found.exact.x.flatten(1).double(), drawn))
        for name, denoiser in system.denoisers.items():
            answers[name].append(gradients(denoiser, WEIGHT, found))
    first = {name: moments(drawn, values[0][0]) for name, drawn in values[0][1].items()}
    every = {name: _mean([moments(drawn[name], exact) for exact, drawn in values]) for name in estimators}
    row: dict[str, Any] = {"alpha": alpha, "sigma": (1 - alpha**2) ** 0.5, "gradients": {}}
    row |= {"targets": _rows(every), "first": _rows(first)}
    for name, found in answers.items():
        of = {
            each: _mean(
                [moments(drawn[each], exact, g.metric) for (exact, drawn), g in zip(values, found, strict=True)]
            )
            for each in estimators
        }
        scatter = float(torch.cat([g.exact for g in found]).double().var(0).sum())
        row["gradients"][name] = {"scatter": scatter, "estimators": _rows(of)}
    return row


def _time(alpha: float) -> float:
    snr = torch.tensor(alpha**2 / (1 - alpha**2), dtype=torch.float64)
    return float(PROCESS.schedule.time(snr.log()))


def _mean(found: Sequence[Moments]) -> Moments:
    return Moments(*(float(np.mean([getattr(each, part) for each in found])) for part in ("bias2", "variance")))


def _rows(found: dict[str, Moments]) -> dict[str, dict[str, float]]:
    return {name: asdict(each) for name, each in found.items()}


def _plane(settings: Settings) -> System:
    """The paper's four points; exact over SO(2) x S_4."""
    x = torch.tensor([PLANE])
    cloud = Cloud(x, x[..., :0], torch.ones(1, 4, 1)).center()
    group = Rotations() * LikeAtoms()
    networks: dict[str, Callable[[], Network]] = {"EGNN": lambda: EGNN(0, width=32, depth=3)}
    return System([cloud], group, _trained(networks, lambda rows: repeated(cloud, len(rows)), group, settings))


def _qm9(molecules: Sequence[Cloud], settings: Settings) -> System:
    store = open_dataset("qm9-sample").store
    networks: dict[str, Callable[[], Network]] = {
        "EGNN": lambda: EGNN(len(QM9) + 1, width=32, depth=3),
        "DiT": lambda: DiT(len(QM9) + 1, width=48, depth=3, heads=4, kernels=24),
    }

    def batch(rows: Tensor) -> Cloud:
        return _encoded(QM9.cloud(*store.collate((rows % len(store)).numpy())))

    return System(molecules, Rotations(), _trained(networks, batch, Rotations(), settings))


def _molecules(settings: Settings) -> tuple[list[Cloud], str]:
    """One molecule of the packaged sample for each size, and a digest of what they are."""
    store, digest, found = open_dataset("qm9-sample").store, hashlib.sha256(), []
    for number, size in enumerate(settings.sizes):
        fitting = np.flatnonzero(store.sizes == size)
        if len(fitting) == 0:
            raise ValueError(
                f"the packaged sample has no molecule of {size} atoms; it has sizes {_listed(store.sizes)}"
            )
        same = settings.sizes[:number].count(size)
        numbers, positions = store.collate(fitting[[(settings.seed + same) % len(fitting)]])
        digest.update(numbers.tobytes() + positions.tobytes())
        found.append(_encoded(QM9.cloud(numbers, positions)))
    return found, digest.hexdigest()[:12]


def _listed(sizes: NDArray) -> str:
    return ", ".join(map(str, np.unique(sizes).tolist()))


def _encoded(cloud: Cloud) -> Cloud:
    """Angstrom, types / 4, charges / 10, as the recipes encode molecules."""
    scales = torch.tensor([4.0] * len(QM9) + [10.0])
    return Cloud(cloud.x, cloud.h / scales, cloud.mask).center()


def _trained(
    networks: dict[str, Callable[[], Network]], batch: Callable[[Tensor], Cloud], group: Group, settings: Settings
) -> dict[str, Denoiser]:
    """Some steps of training with the exact target: gradients of fresh networks say little of those met later."""
    found = {}
    for name, build in networks.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            denoiser = FromNoise(build(), PROCESS.schedule)
        objective = Denoising(WEIGHT, OrbitMean(group))
        optimiser = torch.optim.Adam(denoiser.parameters(), lr=1e-3)
        for step in range(settings.steps):
            noise = Noise.from_seed(settings.seed, step * settings.batch + torch.arange(settings.batch))
            rows = (noise.fork(5).uniform(dtype=torch.float64) * 1e6).long()
            x0 = batch(rows)
            x0 = group.sample(x0, noise.fork(4)).act(x0)  # the transformer knows no symmetry of its own
            optimiser.zero_grad()
            objective(PROCESS, denoiser, x0, noise).mean().backward()
            torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
            optimiser.step()
        found[name] = denoiser
    return found
