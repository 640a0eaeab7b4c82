"""Laws of recomputing: the same gradients, weights of the same names, less kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from coset.diffusion import Diffusion
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.recomputing import is_lean, set_recompute
from example_clouds import awake, small_molecules
from example_ensembles import small_ensembles

TINY = {"width": 16, "depth": 3, "heads": 4, "kernels": 8, "vector_width": 8, "edge_width": 8, "radial": 16}
TINY |= {"pose_width": 8, "pose_depth": 2, "pose_heads": 2, "pose_kernels": 8, "codec_width": 16, "decoder_depth": 2}
NOISE = Noise.from_seed(0, torch.arange(4))
# Every network once, and what END differentiates in time: once, twice, in a pose.
NETWORKS = [
    ("edm", {}), ("gdm", {}), ("symdiff", {}), ("edm_eqgat", {}), ("coset", {}), ("autoencoder", {}), ("end", {}),
    ("end", {"curvature": 0.1, "depth": 1}), ("end_symdiff", {}), ("etflow", {}), ("dit_conf", {}),
]  # fmt: skip


def tiny(name: str, **others: Any) -> Diffusion:
    recipe = find_recipe(name)
    known = {key: value for key, value in TINY.items() if key in recipe.settings.model_fields}
    model = build(name, recipe.resolve(known | others), 5)
    awake(model)
    return model


def molecules(name: str):
    return small_ensembles() if find_recipe(name).given_graph else small_molecules(4)


def gradients(name: str, model: Diffusion, recompute: bool, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    """And how many bytes beside the weights the backward pass keeps."""
    set_recompute(model, recompute)
    weights, kept = [values for values in model.parameters() if values.requires_grad], 0

    def pack(values: Tensor) -> Tensor:
        nonlocal kept
        kept += values.numel() * values.element_size() * (not isinstance(values, torch.nn.Parameter))
        return values

    with saved_tensors_hooks(pack, lambda values: values):
        loss = model(molecules(name).to(dtype), NOISE).mean()
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros(()) if grad is None else grad for grad in found], kept


@pytest.mark.parametrize(("name", "others"), NETWORKS, ids=str)
def test_gradients_are_the_same_and_less_is_kept(name, others):
    model = tiny(name, **others).double()
    (plain, most), (found, least) = (gradients(name, model, each, torch.float64) for each in (False, True))
    assert sum(float(grad.abs().sum()) for grad in plain) > 0
    for expected, grad in zip(plain, found, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))
    assert least < most / 2


@pytest.mark.parametrize("name", ["edm", "symdiff", "coset"])
def test_so_they_are_under_bf16(name):
    model = tiny(name)
    set_trunk_precision(model, "bf16")
    (plain, _), (found, _) = (gradients(name, model, each, torch.float32) for each in (False, True))
    for expected, grad in zip(plain, found, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-6, atol=1e-5 * float(expected.abs().max()))


def test_the_setting_asks_for_it_and_leaves_weights_and_draws_alone():
    lean, plain = tiny("edm", recompute=True), tiny("edm")
    assert is_lean(lean) and not is_lean(plain)
    assert list(lean.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        assert not is_lean(lean)  # nothing is kept that could be made again
        clean = small_molecules(4)
        assert torch.equal(lean(clean, NOISE), plain(clean, NOISE))
