"""Laws of the time derivative: torch's own, to rounding, and differentiable."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coset.processes.forward_mode import value_and_rate, value_and_rates

GENERATOR = torch.Generator().manual_seed(0)
T = torch.rand(3, generator=GENERATOR, dtype=torch.float64)
LINEAR = nn.Linear(4, 4).double()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


STILL, WEIGHT = normal(3, 5, 4), normal(4, 4)


def moving(t: Tensor) -> Tensor:
    return (t[:, None, None] * STILL).sin()


OPERATIONS = {
    "linear": lambda t: LINEAR(moving(t)),
    "linear of what stands still": lambda t: LINEAR(STILL) * t[:, None, None],
    "linear with a moving weight": lambda t: F.linear(STILL, WEIGHT * t[0], t[1] * WEIGHT[0]),
    "linear, all moving": lambda t: F.linear(moving(t), WEIGHT * t[0], t[1] * WEIGHT[0]),
    "matmul": lambda t: moving(t) @ moving(2 * t).mT,
    "matmul, right": lambda t: STILL.mT.matmul(moving(t)),
    "product with broadcasting": lambda t: t[:, None] * moving(t)[:, 0] * 3,
    "product with another type": lambda t: moving(t) * STILL.float() * torch.ones(3, 1, 1, dtype=torch.int64),
    "sum with broadcasting": lambda t: t[:, None, None] + STILL + 1,
    "difference": lambda t: STILL - t[:, None, None] - moving(t),
    "difference from a number": lambda t: 1 - t,
    "silu": lambda t: F.silu(moving(t)) + nn.SiLU()(STILL),
    "softmax": lambda t: (
        moving(t).softmax(1) + moving(t).softmax(dim=2) + F.softmax(moving(t), 0) + torch.softmax(STILL, -1)
    ),
    "others": lambda t: torch.cat([moving(t).exp(), STILL], 1).sum(1) / (1 + t[:, None].square()),
    "nothing": lambda t: STILL,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_it_is_torchs_own_derivative(operation):
    (value,), (rate,) = value_and_rate(lambda t: (operation(t),), T)
    expected, slope = torch.func.jvp(operation, (T,), (torch.ones_like(T),))
    assert torch.allclose(value, expected) and torch.allclose(rate, slope, atol=1e-14)
    (value,), (rate,), (second,) = value_and_rates(lambda t: (operation(t),), T)
    assert torch.allclose(value, expected) and torch.allclose(rate, slope, atol=1e-14)
    bend = value_and_rate(lambda t: (operation(t),), T + 1e-6)[1][0] - rate
    assert torch.allclose(second, bend / 1e-6, atol=1e-3)


def test_value_and_rate_have_gradients():
    """Of a small network with attention, against torch's own forward mode."""

    def network(t: Tensor) -> tuple[Tensor, ...]:
        h = F.silu(LINEAR(STILL + t[:, None, None]))
        return (h, (h @ h.mT).softmax(-1) @ LINEAR(h))

    found = value_and_rate(network, T)
    expected = torch.func.jvp(network, (T,), (torch.ones_like(T),))
    losses = [sum(part.square().sum() for part in (*value, *rate)) for value, rate in (found, expected)]
    first, second = (torch.autograd.grad(loss, LINEAR.parameters()) for loss in losses)
    assert all(torch.allclose(a, b) for a, b in zip(first, second, strict=True))


def test_an_expanded_time_is_welcome():
    _, (rate,) = value_and_rate(lambda t: (t.square(),), T[:1].expand(3))
    assert torch.allclose(rate, 2 * T[:1].expand(3))
