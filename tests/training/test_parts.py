"""Averages, learning rate, clipping, precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from coset.networks import precision
from coset.recipes.registry import build, find_recipe
from coset.training.ema import EMA
from coset.training.optimisation import Clipper, rate_factor
from coset.training.runs import prepare
from coset.training.start import carry_out
from coset.training.warm_start import warm_start


def test_average_follows_its_recursion_and_applies_for_a_while():
    model = nn.Linear(1, 1, bias=False)
    ema, expected = EMA(model, [0.5]), model.weight.item()
    for step in range(30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.averages[0.5][0].item() == pytest.approx(expected, rel=1e-5)
    with ema.applied(0.5):
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 29


def test_an_average_taken_over_is_not_forgotten():
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, [0.99], fresh=False)
    start = model.weight.item()
    with torch.no_grad():
        model.weight.fill_(start + 1)
    ema.update(0)
    assert ema.averages[0.99][0].item() == pytest.approx(start + 0.01, rel=1e-5)


def test_rate_rises_holds_and_falls_to_zero():
    assert rate_factor(0, 0.0, warmup=10, decay=0.4) == pytest.approx(0.1)
    assert rate_factor(99, 0.5, warmup=10, decay=0.4) == 1
    assert rate_factor(99, 0.05, warmup=1000, decay=0.4) == pytest.approx(0.5)
    assert rate_factor(99, 0.1, warmup=1000, decay=0.4) == 1
    assert rate_factor(99, 0.8, warmup=10, decay=0.4) == pytest.approx(0.5)
    assert rate_factor(99, 1.0, warmup=10, decay=0.4) == 0
    assert rate_factor(99, 0.99, warmup=0, decay=0.0) == 1


def test_queue_clipping_is_the_published_rule():
    clipper, parameter = Clipper("queue"), nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([5000.0])
    assert clipper([parameter]) == 5000  # limit 1.5 * 3000 + 2 * 0
    assert parameter.grad.item() == pytest.approx(4500, rel=1e-5)
    assert clipper.history == [3000, 4500]
    parameter.grad = torch.tensor([1.0])
    clipper([parameter])
    assert parameter.grad.item() == 1
    for _ in range(60):
        clipper([parameter])
    assert len(clipper.history) == 50


def test_no_limit_and_a_number():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert Clipper(None)([parameter]) == 5 and parameter.grad.norm() == 5
    Clipper(1.0)([parameter])
    assert parameter.grad.norm().item() == pytest.approx(1, rel=1e-5)


def test_a_nan_gradient_is_seen():
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([math.nan])
    assert math.isnan(Clipper("queue")([parameter]))


def test_a_symmetrised_model_starts_from_a_plain_one():
    """The backbone is copied, the pose's network stays fresh, and nothing in common is an error."""
    sizes: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "kernels": 4}
    poses = {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 4, "freeze_backbone": True}
    plain = build("dit", find_recipe("dit").resolve(sizes | {"seed": 1}), 5)
    fresh, tuned = (build("symdiff", find_recipe("symdiff").resolve(sizes | poses), 5) for _ in range(2))
    assert warm_start(tuned, plain, "plain") == sum(p.numel() for p in plain.parameters())
    given, first, now = (dict(model.named_parameters()) for model in (plain, fresh, tuned))
    for name, parameter in now.items():
        backbone = name.startswith("denoiser.denoiser.")
        assert torch.equal(parameter, given[name.removeprefix("denoiser.")] if backbone else first[name])
        assert parameter.requires_grad != backbone
    with pytest.raises(ValueError, match="nothing of wide fits this model"):
        other = build("dit", find_recipe("dit").resolve({"width": 24, "depth": 1, "heads": 3, "kernels": 5}), 5)
        warm_start(tuned, _without_shared_shapes(other), "wide")


def _without_shared_shapes(diffusion):
    """Biases of few numbers may fit by chance; here every tensor has its own shape."""
    for parameter in diffusion.parameters():
        parameter.data = torch.zeros(parameter.numel() + 1)
    return diffusion


@pytest.mark.parametrize(("slowdown", "bf16"), [(0.5, True), (20.0, False)])
def test_training_takes_float32_where_bf16_is_emulated(slowdown, bf16, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "bf16_slowdown", lambda: slowdown)
    settings = {"data": "qm9-sample", "width": 8, "depth": 1, "molecules": 8, "batch": 8, "precision": "bf16"}
    settings |= {"validate_molecules": 8, "sample_molecules": 0}
    run = prepare("edm", find_recipe("edm").resolve(settings), tmp_path / "run", "cpu")
    diffusion = carry_out(run, tmp_path / "run", resume=False).diffusion
    assert {part.trunk_bf16 for part in diffusion.modules()} == {bf16}
