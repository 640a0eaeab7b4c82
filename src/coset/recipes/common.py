"""Parts that several recipes share: an affine process, EDM's features, what the network predicts and the loss of it."""

from __future__ import annotations

import torch

from coset.codecs.features import Features
from coset.conditions.dropout import Dropout
from coset.conditions.layout import Layout
from coset.diffusion import Augmentation, Diffusion
from coset.interfaces import Codec, Denoiser, Network, Schedule, Target
from coset.networks.conditioned import Conditioned
from coset.networks.outputs import FromNoise, FromVelocity, ScaledInput
from coset.objectives.denoising import Denoising, GridTimes, NoiseWeight, PowerTimes, VelocityWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.recipes.latent_settings import Encoded
from coset.recipes.settings import Scheduled, Training
from coset.scales import CENTRED, FREE, Subspace
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.groups import Group, Rotations
from coset.symmetry.targets import OrbitMean, exact, plain

SCHEDULES: dict[str, Schedule] = {
    "polynomial": Polynomial(),
    "cosine": Cosine(),
    "linear": Linear(),
    "exploding": Exploding(sigma_min=1e-3, sigma_max=10.0, rho=3.0),
}
SPREAD = 1.5  # Angstrom, of the positions of QM9's molecules, as SymDiff's variance-exploding mode has it


def affine_process(s: Scheduled) -> Affine:
    """EDM's "polynomial_2" as published (precision 1e-5, T = 1000), or another schedule; ancestral."""
    return Affine(SCHEDULES[s.schedule], subspace=subspace_of(s))


def subspace_of(s: Scheduled) -> Subspace:
    """Where the noise of the positions lives: on centred clouds, or free (transformers; SymDiff, appendix D)."""
    return FREE if getattr(s, "free_noise", False) else CENTRED


def predicting(network: Network, process: Affine, s: Scheduled) -> Denoiser:
    """The network as a denoiser: it predicts the noise, as published, or the velocity."""
    if s.schedule == "exploding":
        network = ScaledInput(network, process.schedule, SPREAD)
    return {"noise": FromNoise, "velocity": FromVelocity}[s.predict](network, process.schedule)


def channels(s: Scheduled | Encoded, types: int) -> int:
    """Feature channels of an atom: the types, and the nuclear charge where it is one."""
    return types + s.charge


def scaled_features(process: Affine, s: Scheduled | Encoded, types: int) -> Features:
    """Positions in Angstrom, one-hot / 4, nuclear charge / 10 where it is a channel."""
    alpha, sigma = process.schedule(torch.zeros(1, dtype=torch.float64, device="cpu"))
    return Features(types, std=float(sigma / alpha), charge=s.charge)


def told(network: Network, s: Training, types: int) -> Network:
    """The network, told of what the settings name, if anything."""
    return Conditioned(network, layout_of(s, types).sizes, s.condition_width) if s.condition else network


def forgetful(s: Training, types: int, augment: Augmentation | None = None) -> Augmentation | None:
    """What is done to training clouds: `augment`, and the dropout of conditions where there are some."""
    if not s.condition:
        return augment
    dropout = Dropout(layout_of(s, types), s.condition_dropout)
    if augment is None:
        return dropout
    return lambda cloud, noise: dropout(augment(cloud, noise.fork(0)), noise.fork(1))


def layout_of(s: Training, types: int) -> Layout:
    return Layout(tuple(s.condition), types)


def target_of(s: Training, group: Group | None = None) -> Target:
    """The plain target, or its mean over a group, else rotations (TS, Tong et al. 2025): exact, or as published."""
    if s.target == "plain":
        return plain
    released = s.target == "released"
    draws = HaarDraws(s.target_draws, with_drawn=released, soften=released)
    group = group or Rotations(reflections=s.target_group == "o3")
    return OrbitMean(group, exact if s.target == "exact" else draws)


def affine_diffusion(
    types: int,
    process: Affine,
    denoiser: Denoiser,
    s: Scheduled,
    augment: Augmentation | None = None,
    codec: Codec | None = None,
    joint: bool = False,
) -> Diffusion:
    """The parts under the squared error of what the network predicts, under a weight that makes it so.

    codec: EDM's features by default.
    """
    times = GridTimes() if s.times == "grid" else PowerTimes(s.time_power)
    weight = {"noise": NoiseWeight, "velocity": VelocityWeight}[s.predict](process.schedule)
    loss = Denoising(weight, target_of(s), times, subspace_of(s), padded=s.padded_loss)
    return Diffusion(
        codec or scaled_features(process, s, types), process, denoiser, loss, forgetful(s, types, augment), joint
    )
