"""Every recipe can be told of molecules: what it is not told changes nothing, what it is told does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Condition
from coset.networks.conditioned import Conditioned
from coset.networks.mlp import MLP
from coset.noise import Noise
from coset.recipes.registry import RECIPES, build, find_recipe
from coset.symmetry.checks import assert_equivariant
from coset.training.warm_start import warm_start
from example_clouds import small_molecules

TINY = {"width": 16, "depth": 1, "vector_width": 8, "edge_width": 8, "heads": 2, "kernels": 8, "pair": 8, "move": 8}
TINY |= {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 8, "stages": 1, "condition_width": 6}
NOISE = Noise.from_seed(0, torch.arange(4))


def tiny(name, **others):
    recipe = find_recipe(name)
    known = {key: value for key, value in TINY.items() if key in recipe.settings.model_fields}
    told = {"condition": ("composition", "gap"), "condition_dropout": 0.0}
    return build(name, recipe.resolve(known | told | others), 5)


def clean(scalars=None):
    return replace(small_molecules(4), condition=None if scalars is None else Condition(scalars=scalars))


def losses(diffusion, scalars=None):
    with torch.no_grad():
        return diffusion(clean(scalars), NOISE)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "autoencoder" and not RECIPES[name].given_graph])
def test_losses_hear_conditions_and_zeros_are_none(name):
    diffusion, scalars = tiny(name), 5 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    for values in diffusion.denoiser.parameters():  # last layers that begin with zeros would hear nothing
        values.data += 0.05 * torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    free = losses(diffusion)
    torch.testing.assert_close(losses(diffusion, torch.zeros(4, 8)), free)
    changed = (losses(diffusion, scalars) - free).abs() / free
    assert (changed > 1e-6).all()
    forgetful = tiny(name, condition_dropout=1.0)
    forgetful.load_state_dict(diffusion.state_dict())
    torch.testing.assert_close(losses(forgetful, scalars), losses(forgetful))


@pytest.mark.parametrize("name", ["edm", "edm_eqgat", "coset", "end"])
def test_told_or_not_an_equivariant_denoiser_stays_so(name):
    diffusion = tiny(name).double()
    z = diffusion.codec.encode(small_molecules(4).to(torch.float64))
    scalars = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).double()
    previous = replace(z.scale(0.9), condition=None)
    z = replace(z, condition=Condition(scalars=scalars, previous=previous))
    assert_equivariant(diffusion.denoiser, z, torch.full((4,), 0.4).double(), NOISE, atol=1e-5)
    told = diffusion.denoiser(z, torch.full((4,), 0.4).double(), NOISE)
    assert told.condition is not None and told.condition.previous is previous
    assert told.h.shape == z.h.shape


@pytest.mark.parametrize("name", ["edm", "gdm", "dit", "edm_eqgat", "coset", "coset_plain"])
def test_what_a_model_is_told_changes_a_trained_one_by_nothing_at_first(name):
    """The embedding ends with zeros: a told model that begins with a plain one's weights is the same function."""
    untold, told = tiny(name, condition=()), tiny(name)
    for values in untold.parameters():
        values.data += 0.05 * torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    copied = warm_start(told, untold, "the other")
    assert copied == sum(values.numel() for values in untold.parameters())
    z, t = untold.codec.encode(small_molecules(4)), torch.full((4,), 0.4)
    known = Condition(scalars=torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    same, plain = told.denoiser(replace(z, condition=known), t, NOISE), untold.denoiser(z, t, NOISE)
    torch.testing.assert_close((same.x, same.h), (plain.x, plain.h))
    assert same.condition is known


def test_a_network_without_tokens_cannot_be_told():
    with pytest.raises(ValueError, match="a network of tokens can be told something; MLP has none"):
        Conditioned(MLP(1, 3), [4], 8)


def test_without_conditions_nothing_is_added():
    settings = find_recipe("edm").resolve({"size": "small"})
    told = find_recipe("edm").resolve({"size": "small", "condition": ["composition"], "condition_width": 16})
    plain, more = build("edm", settings, 5), build("edm", told, 5)
    assert plain.augment is None and more.augment is not None
    names = {name for name, _ in more.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert names and all(any(part in name for part in (".embed.", ".last.", ".network.network.")) for name in names)
