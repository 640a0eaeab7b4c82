"""Laws of sums of bumps and of attention: their fast ways are the plain ones, with the same gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coset.networks.attention import attend
from coset.networks.bumps import FARTHEST, summed_bumps

BUMPS, HEADS = 6, 2


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distances, some far beyond the last bump; means, rates; the second molecule's last atom is padding."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    weights = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=torch.float64)
    return 4 * draw(2, 3, 5), 3 * draw(BUMPS), 0.3 + 2 * draw(BUMPS), weights


def plainly(distance, means, rates, weights):
    exponents = ((distance[..., None] - means) * rates).square().clamp_max(FARTHEST)
    return (weights[:, None, :, None] * torch.exp(-exponents)).sum(2)


def test_summed_bumps_are_the_sum_of_the_bumps():
    assert torch.allclose(summed_bumps(*inputs()), plainly(*inputs()), rtol=1e-12, atol=0)


def test_gradients_of_summed_bumps_are_those_of_finite_differences():
    distance, means, rates, weights = inputs()
    given = [values.requires_grad_() for values in (distance, means, rates)]
    assert torch.autograd.gradcheck(lambda d, m, r: summed_bumps(d, m, r, weights), given)


def test_bumps_too_far_away_give_hardly_a_value_and_no_gradient():
    distance = torch.full((1, 1, 1), 50.0, dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    value = summed_bumps(distance, one, one, torch.ones(1, 1, dtype=torch.float64))
    (slope,) = torch.autograd.grad(value.sum(), distance)
    assert value.item() == pytest.approx(math.exp(-FARTHEST))
    assert abs(slope.item()) < 1e-16


def test_forward_derivatives_of_summed_bumps_agree_with_their_gradients():
    distance, means, rates, weights = inputs()
    direction = torch.linspace(-1, 1, distance.numel(), dtype=torch.float64).view_as(distance)
    slope = torch.func.jvp(lambda d: summed_bumps(d, means, rates, weights), (distance,), (direction,))[1]
    known = distance.requires_grad_()
    (gradient,) = torch.autograd.grad(summed_bumps(known, means, rates, weights).sum(), known)
    assert slope.sum().item() == pytest.approx((gradient * direction).sum().item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["keys", "logits"])
def test_attention_in_bf16_is_that_in_float32_to_rounding_and_so_is_its_gradient(kind):
    generator = torch.Generator().manual_seed(1)
    q, k, v, out = torch.randn(4, 3, HEADS, 7, 8, generator=generator).bfloat16().unbind(0)
    keys = (torch.arange(7) < torch.tensor([[7], [4], [1]]))[:, None, None]
    if kind == "logits":
        keys = torch.where(keys, torch.randn(3, HEADS, 7, 7, generator=generator), -1e9).bfloat16()
    short = [part.requires_grad_() for part in (q, k, v)]
    long = [part.detach().float().requires_grad_() for part in (q, k, v)]
    found = attend(short[0], short[1], short[2], keys)
    added = keys if keys.dtype == torch.bool else keys.float()
    expected = F.scaled_dot_product_attention(long[0], long[1], long[2], attn_mask=added)
    assert found.dtype == torch.bfloat16
    pairs = zip(
        (found, *torch.autograd.grad(found, short, out)),
        (expected, *torch.autograd.grad(expected, long, out.float())),
        strict=True,
    )
    for mine, other in pairs:
        assert (mine.float() - other).norm() < 0.01 * other.norm()
