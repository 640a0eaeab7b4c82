"""Muon: orthogonal steps for hidden matrices, AdamW for everything else, one optimiser from outside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from coset.networks.dit import Attention
from coset.recipes.registry import RECIPES, build, find_recipe
from coset.training.muon import Muon, hidden_matrices, orthogonal
from coset.training.optimisation import adamw, make_optimiser

TINY = {
    "width": 16, "depth": 2, "heads": 2, "kernels": 4, "pose_width": 8, "pose_depth": 1, "pose_heads": 2,
    "pose_kernels": 4, "pair": 8, "move": 8, "stages": 2,
}  # fmt: skip


def tiny(recipe, **overrides):
    """A recipe's smallest model and its settings."""
    found = find_recipe(recipe)
    sizes = {key: value for key, value in TINY.items() if key in found.settings.model_fields}
    settings = found.resolve(sizes | overrides)
    return build(recipe, settings, 5), settings


def blocks(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.ModuleList(layers))


def random_matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 8, 32), (2, 32, 8)])
def test_the_iteration_finds_the_orthogonal_factor(shape):
    """Singular values near 1 and the singular vectors of the matrix, whatever its scale."""
    matrices = random_matrices(*shape)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonal(1e3 * matrices)
    inside = u.mT @ found @ v.mT  # diagonal in the matrix's own singular vectors
    diagonal = inside.diagonal(dim1=-2, dim2=-1)
    assert (inside - torch.diag_embed(diagonal)).abs().max() < 1e-4
    large = values > 0.1 * values.square().sum(-1, keepdim=True).sqrt()
    assert diagonal[large].min() > 0.65 and diagonal.max() < 1.25
    assert orthogonal(torch.zeros(1, 3, 4)).abs().max() == 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has a Muon from version 2.9 on")
@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_steps_are_those_of_torch(shape):
    """To the digits of bf16, in which torch iterates."""
    ours, theirs = (nn.Parameter(random_matrices(*shape)) for _ in range(2))
    rest = adamw([nn.Parameter(torch.zeros(1))], 0.1, 0.99, 0.0, False)
    first = Muon({ours: 1}, rest, lr=0.1, weight_decay=0.3)
    second = torch.optim.Muon(
        [theirs], lr=0.1, weight_decay=0.3, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        before = ours.detach().clone()
        ours.grad = random_matrices(*shape, seed=step + 1)
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
        moved = (ours.detach() - before * (1 - 0.1 * 0.3)).square().mean().sqrt().item()
        assert moved == pytest.approx(0.1 * 0.2, rel=0.3)  # the rate times AdamW's own r.m.s. update
        torch.testing.assert_close(ours, theirs, atol=4e-3, rtol=0)


def test_a_layer_of_several_maps_is_stepped_map_by_map():
    """As if queries, keys and values had layers of their own; their gradients may differ by orders of magnitude."""
    attention = Attention(16, heads=2)
    apart = [nn.Linear(16, 16) for _ in range(3)]
    model, others = blocks(attention), blocks(*apart)
    hidden = hidden_matrices(model)
    assert hidden == {attention.qkv.weight: 3, attention.out.weight: 1}
    for layer, part in zip(apart, attention.qkv.weight.detach().chunk(3), strict=True):
        layer.weight.data.copy_(part)
    attention.qkv.weight.grad = random_matrices(48, 16) * torch.tensor([1.0, 1e-3, 10.0]).repeat_interleave(16)[:, None]
    for layer, part in zip(apart, attention.qkv.weight.grad.chunk(3), strict=True):
        layer.weight.grad = part.clone()
    rest = adamw([nn.Parameter(torch.zeros(1))], 0.1, 0.99, 0.0, False)
    for each in (model, others):
        Muon(hidden_matrices(each), rest, lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(attention.qkv.weight, torch.cat([layer.weight for layer in apart]))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_is_stepped_by_one_of_the_two(recipe):
    model, settings = tiny(recipe, optimiser="muon")
    optimiser = make_optimiser(model, settings)
    assert isinstance(optimiser, Muon)
    hidden, rest = ([id(p) for p in group["params"]] for group in optimiser.param_groups)
    assert sorted(hidden + rest) == sorted(map(id, model.parameters()))
    assert all(p.ndim == 2 and min(p.shape) >= 4 for p in optimiser.own["params"])
    assert len(hidden) >= 2 and optimiser.state is optimiser.others.state
    assert not isinstance(make_optimiser(*tiny(recipe)), Muon)


def test_which_matrices_are_hidden():
    """The blocks' own; neither what reads the input or the time, nor what writes the output, nor vectors."""
    names = {}
    for recipe in ("dit", "edm"):
        model, _ = tiny(recipe)
        hidden = hidden_matrices(model)
        names[recipe] = {name for name, p in model.named_parameters() if p in hidden and "s.0." in name}
    block = "denoiser.network.trunk.blocks.0."
    assert names["dit"] == {
        block + name + ".weight" for name in ("attention.qkv", "attention.out", "mlp.wide", "mlp.narrow")
    }
    message, move = "denoiser.network.messages.0.", "denoiser.network.coordinates.0."
    assert names["edm"] == {
        *(message + name + ".weight" for name in ("first", "second", "node.0", "node.2")),
        *(move + name + ".weight" for name in ("first", "second")),
    }


def test_rates_of_both_follow_the_groups_and_no_gradient_is_no_step():
    model, settings = tiny("dit", optimiser="muon", lr=1.0, weight_decay=0.5)
    optimiser, before = make_optimiser(model, settings), copy.deepcopy(model)
    optimiser.step()  # no parameter has a gradient yet
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    for parameter, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, old)
    optimiser.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert all((a != b).any() for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_it_fits_a_function_that_a_network_can_represent():
    torch.manual_seed(0)
    target, model = (nn.Sequential(nn.Linear(8, 32), nn.Tanh(), *_hidden(2), nn.Linear(32, 4)) for _ in range(2))
    inputs = random_matrices(256, 8)
    wanted = target(inputs).detach()
    hidden = hidden_matrices(model)
    assert len(hidden) == 2
    optimiser = Muon(hidden, adamw([p for p in model.parameters() if p not in hidden], 0.01, 0.99, 0.0, False), 0.01, 0)
    losses, steps = [], 300
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (1 - step / steps)
        loss = (model(inputs) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-2 * losses[0]


class _Stack(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return x


def _hidden(depth: int) -> list[nn.Module]:
    return [_Stack(depth)]


def test_what_it_cannot_do_is_said():
    with pytest.raises(ValueError, match="needs linear layers inside of a network's blocks, and found none"):
        Muon({}, adamw([nn.Parameter(torch.zeros(1))], 0.1, 0.99, 0.0, False), 0.1, 0.0)
    odd = nn.ModuleDict({"qkv": nn.Linear(4, 7)})
    with pytest.raises(ValueError, match=r"0\.qkv should hold 3 maps of equal size; got 7 rows"):
        hidden_matrices(blocks(odd))
    optimiser = make_optimiser(*tiny("dit", optimiser="muon"))
    with pytest.raises(ValueError, match="takes no closure"):
        optimiser.step(lambda: 0.0)
