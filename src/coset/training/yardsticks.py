"""Yardsticks: how well a denoiser does on held-out molecules, cheaper than drawing many (a few calls a molecule)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coset.bonds import bond_orders
from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.interfaces import Draw, Schedule
from coset.metrics.stability import stable_molecules
from coset.molecule import Vocabulary
from coset.noise import Noise
from coset.samplers.grids import karras_grid
from coset.samplers.sample import informed
from coset.samplers.solvers import Ancestral
from coset.symmetry.groups import Rotations
from coset.symmetry.targets import OrbitMean

START, STEPS = 0.3, 10  # Angstrom of noise that is removed, in so many steps
# Noise in Angstrom, from and to: flow matching's goes on to 0 and to infinity.
BANDS = {
    "below_0.03": (1e-3, 0.03),
    "0.03_to_0.3": (0.03, 0.3),
    "0.3_to_3": (0.3, 3.0),
    "above_3": (3.0, 80.0),
}


@torch.no_grad()
def measure_denoising(
    diffusion: Diffusion, vocabulary: Vocabulary, batches: Iterable[tuple[Cloud, Noise]]
) -> dict[str, float]:
    """The yardsticks of a model on clean batches in natural units, each with its noise (fixed: runs can be compared).

    stable: share of molecules that are stable (EDM's distance rule) after 0.3 Angstrom of noise, on types too, were
    removed in `STEPS` deterministic steps. bond_rms, bond_median: error of the bonded distances then, r.m.s. and median
    of its size in Angstrom (the former tells of molecules that ended as others, the latter of the precision of the
    rest); bond_rms_once: r.m.s. after a single call. x_BAND: mean of |D - T|^2 / (3 N sigma^2), positions alone, over
    noise levels log-uniform in the band; sigma is the noise of the positions in Angstrom, T their mean over the poses
    that may lie behind the noisy cloud. This is the squared error less its floor, what no denoiser can know, without
    the scatter of a difference: 0 for one that knows the molecule but not its pose. (Where noise hides the molecule,
    from about 0.3 Angstrom on, none does.) h_BAND: mean squared error of the encoded features. Bands that the schedule
    lacks are left out. Raises ValueError for processes without a schedule.
    """
    parts = [_measure(diffusion, vocabulary, clean, noise) for clean, noise in batches]
    found = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    bonds, once = found.pop("bonds"), found.pop("bonds_once")
    if len(bonds):
        found |= {"bond_rms_once": once.square(), "bond_rms": bonds.square()}
    means = {name: float(values.mean()) for name, values in found.items()}
    roots = {name: math.sqrt(mean) for name, mean in means.items() if name.startswith("bond_rms")}
    return means | roots | ({"bond_median": float(bonds.abs().median())} if len(bonds) else {})


def _measure(diffusion: Diffusion, vocabulary: Vocabulary, clean: Cloud, noise: Noise) -> dict[str, Tensor]:
    """A number a molecule each, and a number a bond."""
    x0 = diffusion.codec.encode(clean, noise.fork(0))
    if diffusion.augment is not None:
        x0 = diffusion.augment(x0, noise.fork(1))
    known, deterministic = Levels.of(diffusion), diffusion.with_eta(0)
    times = known.grid(START, STEPS).to(x0.x.device)
    z = diffusion.process.noised(x0, times[0].expand(len(x0))).sample(noise.fork(2))
    once, settled = (descend(deterministic, z, grid, noise.fork(3)) for grid in (times[:1], times))
    bonds = Bonds.of(clean, vocabulary)
    found = {"stable": torch.as_tensor(_stable(settled, vocabulary))}
    found |= {"bonds_once": bonds.errors(once), "bonds": bonds.errors(settled)}
    for number, (name, band) in enumerate(known.bands().items()):
        found[f"x_{name}"], found[f"h_{name}"] = band_errors(diffusion, x0, band, noise.number(number))
    return found


@dataclass(frozen=True)
class Levels:
    """A schedule's noise in Angstrom, sigma / alpha times the Angstrom of an encoded unit of length."""

    schedule: Schedule
    unit: float

    @classmethod
    def of(cls, diffusion: Diffusion) -> Levels:
        """Raises ValueError for processes without a schedule."""
        schedule: Any = getattr(diffusion.process, "schedule", None)
        if schedule is None:
            name = type(diffusion.process).__name__
            raise ValueError(f"{name} has no noise level in Angstrom; train it with yardstick_molecules=0")
        return cls(schedule, diffusion.codec.unit)

    def time(self, noise: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """When the positions have this noise."""
        return self.schedule.time(-2 * (noise / self.unit).log())

    def grid(self, start: float, steps: int) -> Float[Tensor, "k"]:
        """steps + 1 times from `start` down to t = 0, the noise's seventh root equally far apart (Karras et al.)."""
        times = karras_grid(self.schedule, steps, most=start / self.unit)
        times[0] = self.time(torch.tensor([start], dtype=torch.float64))[0]
        return times

    def bands(self) -> dict[str, tuple[float, float]]:
        """`BANDS` as far as the schedule has them."""
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        first, last = (self.unit * (-0.5 * self.schedule.log_snr(ends)).exp()).tolist()
        found = {name: (max(low, first), min(high, last)) for name, (low, high) in BANDS.items()}
        return {name: (low, high) for name, (low, high) in found.items() if high > 1.1 * low}


def descend(diffusion: Diffusion, z: Cloud, times: Float[Tensor, "k"], noise: Noise) -> Cloud:
    """From a noisy cloud at times[0] down to times[-1] by the process's own steps; natural units, from a last call.

    What `samplers.sample` does from the prior. One time alone is the estimate of a single call.
    """
    process, condition, memory = diffusion.process, z.condition, None
    levels = times[:, None].expand(-1, len(z)).contiguous()
    for step, (t, s) in enumerate(pairwise(levels), start=1):
        z, memory = Ancestral().step(process, diffusion.denoiser, z, t, s, memory, noise.at(step))
        z = replace(z, condition=informed(condition, memory))
    estimate = diffusion.denoiser(z, levels[-1], noise.at(len(times)).fork(1))
    return diffusion.codec.output(z, estimate).mode()


def band_errors(
    diffusion: Diffusion, x0: Cloud, band: tuple[float, float], noise: Noise
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """|D - T|^2 / (3 N sigma^2) of the positions and the mean squared error of the features, one draw a molecule.

    x0: encoded. band: of the noise in Angstrom. See `measure_denoising`.
    """
    levels, process = Levels.of(diffusion), diffusion.process
    low, high = band
    level = low * (high / low) ** noise.fork(0).uniform(dtype=torch.float64)
    t = levels.time(level)
    noised = process.noised(x0, t)
    z = noised.sample(noise.fork(1))
    draw = Draw(x0, noised.whiten(z), z, t)
    target = OrbitMean(Rotations())(process, draw)
    away = diffusion.denoiser(draw.z, t, noise.fork(2)) - target
    x = away.x.double().square().sum((1, 2)) / (3 * x0.count * (level / levels.unit).square())
    return x, away.h.double().square().sum((1, 2)) / (x0.count * x0.h.shape[-1])


@dataclass(frozen=True)
class Bonds:
    """The bonded pairs (molecule, atom, atom) of clean molecules, and their distances in Angstrom."""

    pairs: tuple[Int[Tensor, "p"], Int[Tensor, "p"], Int[Tensor, "p"]]
    lengths: Float[Tensor, "p"]

    @classmethod
    def of(cls, clean: Cloud, vocabulary: Vocabulary) -> Bonds:
        orders = bond_orders(_numbers(clean, vocabulary), _positions(clean))
        batch, first, second = (torch.as_tensor(index, device=clean.x.device) for index in np.nonzero(np.triu(orders)))
        pairs = batch, first, second
        return cls(pairs, _distances(clean, pairs))

    def errors(self, cloud: Cloud) -> Float[Tensor, "p"]:
        """By how much these distances are longer in another cloud of the same molecules."""
        return _distances(cloud, self.pairs) - self.lengths


def _distances(cloud: Cloud, pairs: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, "p"]:
    x, (batch, first, second) = cloud.x.double(), pairs
    return (x[batch, first] - x[batch, second]).square().sum(-1).sqrt()


def _stable(cloud: Cloud, vocabulary: Vocabulary) -> Bool[NDArray[np.bool_], "b"]:
    """Which molecules are stable; those with an undefined position are not."""
    numbers, positions = _numbers(cloud, vocabulary), _positions(cloud)
    defined = np.asarray(np.isfinite(positions).all((1, 2)))
    orders = bond_orders(numbers, np.where(defined[:, None, None], positions, 0.0))
    return stable_molecules(numbers, orders) & defined


def _numbers(cloud: Cloud, vocabulary: Vocabulary) -> Int[NDArray, "b n"]:
    """Atomic numbers, 0 where padded."""
    types = cloud.h[..., : len(vocabulary)].argmax(-1).cpu().numpy()
    return np.where(cloud.mask[..., 0].cpu().numpy() > 0, np.asarray(vocabulary.numbers)[types], 0)


def _positions(cloud: Cloud) -> Float[NDArray, "b n 3"]:
    return cloud.x.double().cpu().numpy()
