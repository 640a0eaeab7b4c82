"""Recipes of the learned noising: they learn, sample, and count what the paper's code counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from coset.diffusion import Diffusion
from coset.noise import Noise
from coset.processes.neural import Neural
from coset.processes.steps import EulerMaruyama, Renewal
from coset.recipes import end
from coset.recipes.settings import Drifting
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud, sample
from example_clouds import small_molecules

RECIPES = [end.end, end.end_scalar, end.end_mu_only, end.end_fixed, end.end_direct]


def tiny(recipe, **settings: Any) -> Diffusion:
    torch.manual_seed(0)
    return recipe(Drifting(width=16, vector_width=8, edge_width=8, depth=1, **settings), types=5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_they_learn_from_given_draws_and_every_parameter_does(recipe):
    diffusion, clean, noise = tiny(recipe), small_molecules(4), Noise.from_seed(0, torch.arange(4))
    optimiser, losses = torch.optim.Adam(diffusion.parameters(), lr=3e-3), []
    for _ in range(12):
        loss = diffusion(clean, noise).mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in diffusion.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("recipe", RECIPES)
def test_they_sample_molecules_of_the_sizes_asked_for(recipe):
    diffusion = tiny(recipe)
    like = empty_cloud(torch.tensor([4, 3]), diffusion.codec.width)
    cloud = sample(diffusion, like, Noise(torch.arange(2)), power_grid(4))
    assert cloud.x.isfinite().all() and cloud.x.sum(1).abs().max() < 1e-4 and cloud.h.sum() == 7


def test_the_published_size_counts_as_published():
    settings: Any = Drifting  # every field has a default, which the type checker cannot see
    with torch.device("meta"):
        count = sum(p.numel() for p in end.end(settings(), types=5).parameters())
    assert count == 9_506_576


def test_settings_choose_step_and_penalty():
    learned = tiny(end.end).process
    assert isinstance(learned, Neural) and isinstance(learned.step, Renewal)
    published = tiny(end.end, step="euler", by_atoms=True, curvature=0.1)
    assert isinstance(published.process, Neural) and isinstance(published.process.step, EulerMaruyama)
    assert published.objective.by_atoms and published.objective.curvature == 0.1  # type: ignore[union-attr]
