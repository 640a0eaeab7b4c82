"""Drawing what is asked for: sizes by formula, guidance 0 without conditions, each molecule by its own number."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from coset.conditions.asked import Asked
from coset.model import Model, Unlikely
from coset.molecule import QM9
from coset.recipes.registry import build, find_recipe
from coset.samplers.sizes import SizeDistribution

RANGE = {"mean": 5.0, "deviation": 2.0, "low": 1.0, "high": 9.0, "unit": "eV"}


@pytest.fixture(params=["edm", "symdiff", "end"])
def model(request):
    """Untrained, of random weights that hear what they are told."""
    recipe = find_recipe(request.param)
    tiny = {"width": 8, "depth": 1, "heads": 2, "kernels": 4, "vector_width": 4, "edge_width": 4, "condition_width": 8}
    tiny |= {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 4}
    tiny = {key: value for key, value in tiny.items() if key in recipe.settings.model_fields}
    settings = recipe.resolve(tiny | {"condition": ["composition", "gap"]})
    diffusion = build(request.param, settings, 5)
    for values in diffusion.parameters():
        values.data += 0.1 * torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    card = {"name": "tiny", "settings": {"condition": ["composition", "gap"]}, "properties": {"gap": RANGE}}
    return Model(diffusion, QM9, SizeDistribution({4: 1, 5: 2, 8: 1}), card)


def positions(model, n=3, **options):
    return [m.positions for m in model.sample(n, steps=2, **options)]


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in pairs)


def test_guidance_0_is_the_model_without_conditions_and_more_leads_away(model):
    free = positions(model, atoms=8)
    asked = {"composition": "C3H4O"}
    assert same(positions(model, conditions=asked, guidance=0.0), free)
    told = positions(model, conditions=asked)
    assert all(len(each) == 8 for each in told) and not same(told, free)
    assert not same(positions(model, conditions=asked, guidance=3.0), told)
    molecule = model.sample(1, steps=2, conditions=asked, guidance=3.0)[0]
    assert molecule.properties["guidance"] == 3.0


def test_molecules_are_by_their_own_row_whatever_is_drawn_beside(model):
    """Of three rows the fourth molecule has the first, at its size; alone or with others."""
    scalars = torch.cat([model.asked({"composition": each}).scalars for each in ("CH4", "C2H6", "H2O")])
    rows = Asked(scalars, torch.tensor([5, 8, 3]))
    found = positions(model, n=5, conditions=rows)
    assert [len(each) for each in found] == [5, 8, 3, 5, 8]
    assert same(positions(model, n=2, conditions=rows), found[:2])
    single = positions(model, n=2, conditions=model.asked({"composition": "CH4"}))
    assert same(single[:1], found[:1])


def test_a_property_beyond_the_data_is_a_warning_with_its_range(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.sample(1, steps=1, atoms=4, conditions={"gap": 3})
        assert not caught
        model.sample(1, steps=1, conditions={"gap": 12})
    assert [each.category for each in caught] == [Unlikely]
    assert "gap=12 lies outside of what the model has seen, 1 to 9 eV" in str(caught[0].message)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"conditions": {"morgan": "CO"}}, "not trained to be told of morgan; it knows of composition, gap"),
        ({"conditions": {"composition": "CH4"}, "atoms": 9}, "the composition has 5 atoms, and atoms=9 was asked for"),
        ({"conditions": {"gap": 3}, "guidance": 1e3}, "guidance must lie between -100 and 100; got 1000"),
    ],
)
def test_what_cannot_be_is_refused(model, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.sample(1, steps=1, **options)
