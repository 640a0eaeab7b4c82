"""Recipes for drug-like molecules: published counts, no nuclear charge, and every element can be drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from coset.autoencoding import Autoencoding
from coset.diffusion import Diffusion
from coset.molecule import DRUGS, QM9, pad
from coset.noise import Noise
from coset.recipes import drugs
from coset.recipes.registry import RECIPES, build, count_parameters, find_recipe
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud, sample
from example_clouds import small_molecules

NAMES = [name for name in RECIPES if "_drugs" in name]
TINY = {"width": 16, "depth": 1, "heads": 2, "kernels": 4, "vector_width": 8, "edge_width": 8, "pair": 8, "move": 8}
TINY |= {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 4, "codec_width": 8, "decoder_depth": 1}
NOISE = Noise.from_seed(0, torch.arange(4))


def tiny(name: str, **others: Any) -> Diffusion:
    recipe = find_recipe(name)
    known = {key: value for key, value in TINY.items() if key in recipe.settings.model_fields}
    return build(name, recipe.resolve(known | others), len(DRUGS))


def molecules():
    """Small molecules in the vocabulary of drugs; their last channel is the nuclear charge."""
    return DRUGS.cloud(*pad(QM9.molecules(small_molecules(4))))


def test_the_published_count_is_met():
    assert count_parameters("edm_drugs", "published") == 2_380_565


def numbers(*modules: nn.Module) -> int:
    return sum(values.numel() for module in modules for values in module.parameters())


@pytest.mark.parametrize(("size", "millions"), [("+", 5.23), ("++", 9.23), ("+++", 19.47)])
def test_transformers_count_as_published_without_their_tokens(size, millions):
    recipe = find_recipe("symdiff_drugs")
    with torch.device("meta"):
        model: Any = recipe.build(recipe.resolve({"size": size}), 16)
    network, pose = model.denoiser.denoiser.network, model.denoiser.frame.network
    assert numbers(network.trunk, network.head) / 1e6 == pytest.approx(millions, abs=0.006)
    assert numbers(pose.tokens, pose.trunk) == 1_163_136
    assert count_parameters("dit_aug_drugs", size) == numbers(network)


@pytest.mark.parametrize("name", NAMES)
def test_small_sizes_are_small_and_the_data_are_drugs(name):
    assert list(RECIPES[name].sizes)[-1] == "small" and 1e5 < count_parameters(name, "small") < 7e5
    for size in RECIPES[name].sizes:
        settings = RECIPES[name].resolve({"size": size})
        assert settings.data == "geom-drugs" and settings.pairs is not None
        assert settings.pairs >= 181**2, "the largest molecule of GEOM-Drugs must fit"


def test_budgets_are_epochs_of_the_training_conformers():
    assert pytest.approx(0.8 * 6_922_516, abs=1) == drugs.EPOCH
    assert find_recipe("symdiff_drugs").resolve({}).molecules == 40 * drugs.EPOCH


@pytest.mark.parametrize("name", NAMES)
def test_no_model_sees_the_nuclear_charge(name):
    model, clean = tiny(name), molecules()
    other = replace(clean, h=torch.cat([clean.h[..., :-1], clean.h[..., -1:] + 3], -1))
    with torch.no_grad():
        assert torch.equal(model(other, NOISE), model(clean, NOISE))
        known = replace(clean, h=clean.h[..., :-1])
        assert torch.equal(model(known, NOISE), model(clean, NOISE))  # nor needs it


def test_an_autoencoder_without_charge_loses_none():
    encoding: Any = tiny("autoencoder", charge=False)
    assert isinstance(encoding, Autoencoding)
    assert set(encoding.lost(molecules(), NOISE)) == {"position", "type"}
    assert encoding.codec.codec.decoder.head.out_features == 3 + len(DRUGS)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_element_can_be_drawn(name):
    """Bismuth: in the published code, which drops the last channel where there is no charge, it never is."""
    model: Any = tiny(name)
    like = empty_cloud(torch.tensor([3, 2]), model.codec.width)
    last = torch.zeros(model.codec.width).index_fill_(0, torch.tensor(model.codec.width - 1), 0.25)
    if name.startswith("radm"):
        model.codec.codec.decoder.head.bias.data[-1] = 100.0  # a decoder that knows but one element
    state = replace(like, h=last * like.mask)
    output = model.codec.output(state, state)
    for cloud in (output.mode(), output.sample(Noise(torch.arange(2)))):
        assert {number for found in DRUGS.molecules(cloud) for number in found.numbers.tolist()} == {83}


@pytest.mark.parametrize("name", NAMES)
def test_they_sample(name):
    model = tiny(name)
    cloud = sample(model, empty_cloud(torch.tensor([5, 3]), model.codec.width), Noise(torch.arange(2)), power_grid(3))
    assert cloud.x.isfinite().all() and cloud.h.shape[-1] == len(DRUGS) and cloud.h.sum() == 8
