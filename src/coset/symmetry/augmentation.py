"""Augmentation: training clouds in random poses, for networks that respect no symmetry of their own."""

from __future__ import annotations

from coset.cloud import Cloud
from coset.noise import Noise
from coset.symmetry.rotations import haar


def random_rotation(x0: Cloud, noise: Noise) -> Cloud:
    """Each molecule turned by its own Haar draw from SO(3)."""
    return x0.rotate(haar(noise, reflections=False, dimension=x0.x.shape[-1]).to(x0.x.dtype))
