"""Recipes of the learned noising: they sample, count what the paper's code counts, and survive singular scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.molecule import QM9
from coset.noise import Noise
from coset.processes.neural import Neural
from coset.processes.steps import EulerMaruyama, Renewal
from coset.processes.transforms import Transform
from coset.recipes.registry import RECIPES, build, count_parameters, find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.sizes import SizeDistribution
from coset.symmetry.checks import assert_equivariant
from example_clouds import small_molecules
from example_fields import Spoilt

NAMES = [name for name in RECIPES if name.startswith("end")]
TINY = {"width": 16, "depth": 1, "vector_width": 8, "edge_width": 8, "heads": 2, "kernels": 8}
TINY |= {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 8}


def tiny(name: str, **settings: Any):
    recipe = find_recipe(name)
    known = {key: value for key, value in TINY.items() if key in recipe.settings.model_fields}
    return build(name, recipe.resolve(known | settings), types=5)


@pytest.mark.parametrize("name", NAMES)
def test_they_sample_molecules_of_the_sizes_asked_for(name):
    diffusion = tiny(name)
    like = empty_cloud(torch.tensor([4, 3]), diffusion.codec.width)
    cloud = sample(diffusion, like, Noise(torch.arange(2)), power_grid(4))
    assert cloud.x.isfinite().all() and cloud.x.sum(1).abs().max() < 1e-4 and cloud.h.sum() == 7


@pytest.mark.parametrize("name", NAMES)
def test_the_noising_turns_with_molecule_and_noise(name):
    """F(Q eps, t, Q x0) = Q F(eps, t, x0), the molecule itself in the place of eps; plain networks know no mirrors."""
    diffusion = tiny(name).double()
    x0, t = diffusion.codec.encode(small_molecules(4).to(torch.float64)), torch.full((4,), 0.5, dtype=torch.float64)
    still = diffusion.process.noised(x0, t).at(x0) - x0
    assert still.x.abs().max() > 1e-2  # it does something

    def moved(z, t):
        return diffusion.process.noised(z, t).at(z)

    assert_equivariant(moved, x0, t, reflections=name != "end_symdiff")


def test_the_published_size_counts_as_published():
    assert count_parameters("end", "published") == 9_506_576


def test_settings_choose_step_and_penalty():
    learned = tiny("end").process
    assert isinstance(learned, Neural) and isinstance(learned.step, Renewal)
    published = tiny("end", step="euler", by_atoms=True, curvature=0.1)
    assert isinstance(published.process, Neural) and isinstance(published.process.step, EulerMaruyama)
    assert published.objective.by_atoms and published.objective.curvature == 0.1  # type: ignore[union-attr]


def sometimes_singular(transform: Transform, level: float) -> Transform:
    """The scale of two atoms vanishes where an estimate of the first lies beyond `level`, Angstrom along x."""

    def factor(x0: Cloud) -> torch.Tensor:
        factors = torch.ones_like(x0.mask)
        factors[:, :2] = (x0.x[:, :1, :1] < level).to(factors.dtype)
        return factors

    return Spoilt(transform, factor)


@pytest.mark.parametrize(("step", "level"), [("euler", 8.0), ("renewal", 1.0)])
def test_a_molecule_with_a_singular_matrix_is_named_and_drawn_again_and_the_others_unharmed(step, level):
    diffusion = tiny("end", step=step)

    def drawn(process):
        parts = Diffusion(diffusion.codec, process, diffusion.denoiser, diffusion.objective)
        source = Generator(parts, QM9, SizeDistribution({3: 1, 4: 2}), Sampling(steps=3, tokens=40))
        return {number: m.positions for number, m in source.draw(0, torch.arange(30))}, set(source.redrawn)

    healthy = diffusion.process
    assert isinstance(healthy, Neural)
    spoilt = Neural(sometimes_singular(healthy.transform, level), healthy.volatility, healthy.step)
    (expected, none), (found, again) = drawn(healthy), drawn(spoilt)
    assert not none and 0 < len(again) < 20 and sorted(found) == list(range(30))
    assert all(np.isfinite(positions).all() for positions in found.values())
    for number in set(found) - again:
        np.testing.assert_allclose(found[number], expected[number], atol=1e-4)
