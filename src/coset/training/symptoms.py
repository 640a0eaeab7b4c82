"""Symptoms: signs that a model fails in ways which its loss does not show, for the log of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.diffusion import Diffusion
from coset.metrics.evaluate import Report
from coset.molecule import Molecule
from coset.noise import Noise
from coset.symmetry.rotations import haar

FEW = 20  # valid molecules below which nothing is said of how many differ


@dataclass(frozen=True)
class Extent:
    """What drawn molecules are compared with. radius: largest distance of an atom from its molecule's centre, Angstrom.
    types: share of each element among the atoms."""

    radius: float
    types: Mapping[int, float]

    @classmethod
    def of(cls, molecules: Sequence[Molecule]) -> Extent:
        return cls(max(map(_radius, molecules)), _types(molecules))


def sample_symptoms(
    molecules: Sequence[Molecule], redrawn: Sequence[int], report: Report, data: Extent
) -> dict[str, float]:
    """exploded: share of molecules that came out non-finite at first, or twice as large as the largest of the data.
    alike: share of the valid ones that equal another of them (mode collapse), where there are enough to tell.
    types_apart: total variation of their elements from the data's (collapse of types)."""
    exploded = len(set(redrawn)) + sum(_radius(molecule) > 2 * data.radius for molecule in molecules)
    own = _types(molecules)
    apart = 0.5 * sum(abs(own.get(number, 0.0) - data.types.get(number, 0.0)) for number in {*own, *data.types})
    found = {"exploded": min(exploded / len(molecules), 1.0), "types_apart": apart}
    unique = report.rates["uniqueness"].value
    return found | ({"alike": 1 - unique} if report.counts["valid"] >= FEW else {})


@torch.no_grad()
def turning_symptoms(diffusion: Diffusion, clean: Cloud, noise: Noise) -> dict[str, float]:
    """noising_turned, denoiser_turned: r.m.s. of f(Q .) - Q f(.) over that of f(.) - ., for a random rotation Q of each
    molecule and its noise; f is what leads to the noisy positions, and from those to the estimate.

    The first is 0, to rounding, for every process that prefers no direction. The second is so for equivariant networks
    alone; for others it tells how far they are from being so, and for random ones how far one draw is from the next.
    """
    x0 = diffusion.codec.encode(clean, noise.fork(0))
    t = noise.fork(1).uniform(dtype=torch.float64)
    turn = haar(noise.fork(2), reflections=False).to(x0.x.dtype)
    process = diffusion.process
    marginal = process.noised(x0, t)
    z = marginal.sample(noise.fork(3))
    eps = marginal.whiten(z)
    turned = process.noised(x0.rotate(turn), t).at(eps.rotate(turn))
    estimate = diffusion.denoiser(z, t, noise.fork(4))
    other = diffusion.denoiser(z.rotate(turn), t, noise.fork(4))
    return {
        "noising_turned": _relative(turned, z.rotate(turn), z - x0),
        "denoiser_turned": _relative(other, estimate.rotate(turn), estimate - z),
    }


def diagnose(found: Mapping[str, float]) -> list[str]:
    """A sentence for every symptom that a healthy model of some training does not have."""
    told = []
    if found.get("exploded", 0.0) > 0.02:
        told.append(f"coordinates explode in {found['exploded']:.0%} of the molecules drawn")
    if found.get("alike", 0.0) > 0.2:
        told.append(f"modes collapse: {found['alike']:.0%} of the valid molecules equal another")
    if found.get("types_apart", 0.0) > 0.2:
        told.append(f"types collapse: {found['types_apart']:.0%} of the atoms would have to be of another element")
    if not found.get("noising_turned", 0.0) <= 1e-2:
        told.append(f"symmetry is broken: noise differs by {found['noising_turned']:.1%} in turned molecules")
    return told


def _relative(first: Cloud, second: Cloud, scale: Cloud) -> float:
    return float((_positions(first - second).sum() / _positions(scale).sum()).sqrt())


def _positions(cloud: Cloud) -> Float[Tensor, "b"]:
    return squared_norm(replace(cloud, h=torch.zeros_like(cloud.h)))


def _radius(molecule: Molecule) -> float:
    away = molecule.positions - molecule.positions.mean(0)
    return float(np.linalg.norm(away, axis=1).max())


def _types(molecules: Sequence[Molecule]) -> dict[int, float]:
    numbers, counts = np.unique(np.concatenate([molecule.numbers for molecule in molecules]), return_counts=True)
    return dict(zip(numbers.tolist(), (counts / counts.sum()).tolist(), strict=True))
