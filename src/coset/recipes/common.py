"""Parts that several recipes share: EDM's process, features and loss."""

from __future__ import annotations

import torch

from coset.codecs.features import Features
from coset.diffusion import Augmentation, Diffusion
from coset.interfaces import Denoiser
from coset.objectives.denoising import Denoising, GridTimes, NoiseWeight, PowerTimes
from coset.processes.affine import Affine
from coset.processes.schedules import Polynomial
from coset.recipes.settings import Training
from coset.symmetry.targets import plain


def polynomial_process() -> Affine:
    """EDM's "polynomial_2", precision 1e-5, T = 1000, ancestral."""
    return Affine(Polynomial())


def qm9_features(process: Affine, types: int) -> Features:
    """Positions in Angstrom, one-hot / 4, nuclear charge / 10."""
    alpha, sigma = process.schedule(torch.zeros(1, dtype=torch.float64, device="cpu"))
    return Features(types, std=float(sigma / alpha))


def affine_diffusion(
    codec: Features, process: Affine, denoiser: Denoiser, s: Training, augment: Augmentation | None = None
) -> Diffusion:
    """The parts under EDM's noise-weighted loss with the plain target."""
    times = GridTimes() if s.times == "grid" else PowerTimes(s.time_power)
    loss = Denoising(NoiseWeight(process.schedule), plain, times, padded=s.padded_loss)
    return Diffusion(codec, process, denoiser, loss, augment)
