"""TS's toys (Tong et al. 2025, section 5.1 and appendix): its models on the line and in the plane.

NSD is a plain network on plain diffusion, SD the same on data moved by random elements of the group, NSD+Enet an
equivariant network; each with the plain target, or the one symmetrised over the group (TS), exact or by Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from coset.cloud import Cloud
from coset.codecs.identity import Identity
from coset.diffusion import Augmentation, Diffusion
from coset.interfaces import Denoiser, Target
from coset.networks.egnn import EGNN
from coset.networks.mlp import MLP, Odd
from coset.networks.outputs import FromClean, FromVelocity
from coset.noise import Noise
from coset.objectives.denoising import Denoising, GridTimes, NoiseWeight, PowerTimes, Times
from coset.processes.affine import Affine
from coset.processes.schedules import LinearNoise
from coset.scales import CENTRED, FREE, Subspace
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.groups import Group, LikeAtoms, Rotations
from coset.symmetry.targets import OrbitMean, plain

SCHEDULE = LinearNoise()
Made = TypeVar("Made")


@dataclass(frozen=True)
class Toy:
    """One model of a toy: its name as in the paper, and its parts.

    build: from the seeds of the initial weights, one for each of the networks that are to be trained side by side
    (`MLP.side_by_side`); equivariant networks in the plane take one seed.
    """

    name: str
    build: Callable[[Sequence[int]], Diffusion]


def seeded(make: Callable[[], Made], seed: int) -> Made:
    """What is made with the random numbers of a seed; the caller's are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def perceptrons(atoms: int, dimension: int, widths: Sequence[int], seeds: Sequence[int]) -> MLP:
    """One a seed, side by side."""
    return MLP.side_by_side([seeded(lambda: MLP(atoms, dimension, widths), seed) for seed in seeds])


def points(positions: Tensor, copies: int) -> Cloud:
    """The same points (n, d) over and over, as a batch of clouds without features."""
    x = positions.expand(copies, *positions.shape)
    return Cloud(x, x[..., :0], torch.ones_like(x[..., :1]))


def moved_by(group: Group) -> Augmentation:
    """Clean clouds moved by Haar draws of a group."""

    def augment(x0: Cloud, noise: Noise) -> Cloud:
        return group.sample(x0, noise).act(x0)

    return augment


def composed(
    denoiser: Denoiser, target: Target, times: Times, subspace: Subspace, augment: Augmentation | None = None
) -> Diffusion:
    """The error of the noise, deterministic sampling (DDIM)."""
    process = Affine(SCHEDULE, eta=0.0, subspace=subspace)
    loss = Denoising(NoiseWeight(SCHEDULE), target, times, subspace)
    alpha, sigma = SCHEDULE(torch.zeros(1, dtype=torch.float64))
    return Diffusion(Identity(float(sigma / alpha), subspace=subspace), process, denoiser, loss, augment)


# The line: the point +1 (or, by the sign flip, -1); 100 levels of noise.
LINE_POINT = torch.ones(1, 1)
LINE_GROUP = Rotations(reflections=True)
LINE_DRAWS = 8


def on_the_line(target: Target, seeds: Sequence[int], equivariant: bool = True, augmented: bool = False) -> Diffusion:
    """The network has the released code's layers (10, 5), and predicts the clean point as there."""
    network = perceptrons(1, 1, (10, 5), seeds)
    denoiser = FromClean(Odd(network) if equivariant else network)
    return composed(denoiser, target, GridTimes(99), FREE, moved_by(LINE_GROUP) if augmented else None)


LINE: Mapping[str, Toy] = {
    "nsd_enet": Toy("NSD+Enet", lambda seeds: on_the_line(plain, seeds)),
    "nsd_enet_aug": Toy("NSD+Enet, augmented", lambda seeds: on_the_line(plain, seeds, augmented=True)),
    "nsd_enet_ts": Toy("NSD+Enet+TS, exact", lambda seeds: on_the_line(OrbitMean(LINE_GROUP), seeds)),
    "nsd_enet_ts_haar": Toy(
        f"NSD+Enet+TS, Algorithm 1 (K = {LINE_DRAWS})",
        lambda seeds: on_the_line(OrbitMean(LINE_GROUP, HaarDraws(LINE_DRAWS)), seeds),
    ),
}

# The plane: four points on a line, in any pose and any order.
PLANE_POINTS = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [0.5, 0.0], [1.0, 0.0]])
PLANE_GROUP = Rotations() * LikeAtoms()
PLANE_DRAWS = 64


def in_the_plane(target: Target, seeds: Sequence[int]) -> Diffusion:
    """An equivariant network (EGNN) of little width, that predicts the velocity."""
    (seed,) = seeds
    denoiser = FromVelocity(seeded(lambda: EGNN(features=0, width=32, depth=2), seed), SCHEDULE)
    return composed(denoiser, target, PowerTimes(), CENTRED)


def in_the_plane_plain(target: Target, seeds: Sequence[int], rotated: bool = False) -> Diffusion:
    """A plain network for four points in a fixed order: its group is that of the rotations alone."""
    denoiser = FromVelocity(perceptrons(4, 2, (64, 64), seeds), SCHEDULE)
    return composed(denoiser, target, PowerTimes(), CENTRED, moved_by(Rotations()) if rotated else None)


PLANE: Mapping[str, Toy] = {
    "nsd_enet": Toy("NSD+Enet", lambda seeds: in_the_plane(plain, seeds)),
    "nsd_enet_ts_haar": Toy(
        f"NSD+Enet+TS, Algorithm 1 (K = {PLANE_DRAWS})",
        lambda seeds: in_the_plane(OrbitMean(PLANE_GROUP, HaarDraws(PLANE_DRAWS)), seeds),
    ),
    "nsd_enet_ts": Toy("NSD+Enet+TS, exact", lambda seeds: in_the_plane(OrbitMean(PLANE_GROUP), seeds)),
    "nsd": Toy("NSD", lambda seeds: in_the_plane_plain(plain, seeds)),
    "nsd_ts": Toy("NSD+TS, data not rotated", lambda seeds: in_the_plane_plain(OrbitMean(Rotations()), seeds)),
    "sd": Toy("SD (data rotated)", lambda seeds: in_the_plane_plain(plain, seeds, rotated=True)),
    "sd_ts": Toy("SD+TS (data rotated)", lambda seeds: in_the_plane_plain(OrbitMean(Rotations()), seeds, rotated=True)),
}
