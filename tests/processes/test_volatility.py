"""Laws of volatilities and of the schedules that learned processes begin from."""

from __future__ import annotations

import pytest
import torch

from coset.processes.schedules import Cosine, Geometric, LinearLogSNR
from coset.processes.volatility import Monotone, OfSchedule

INSIDE = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)


def test_the_released_volatility_is_that_of_a_linear_log_snr():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(OfSchedule(LinearLogSNR())(t).square(), 20 * torch.sigmoid(-10 + 20 * t), rtol=1e-13)


@pytest.mark.parametrize("schedule", [Cosine(), Geometric(), LinearLogSNR()], ids=str)
def test_the_volatility_of_a_schedule_is_that_of_its_forward_process(schedule):
    """g^2 = d sigma^2/dt - 2 sigma^2 d log alpha/dt."""
    step = 1e-6
    (alpha, sigma), (more, wider), (less, narrower) = (schedule(INSIDE + shift) for shift in (0, step, -step))
    slope = (wider.square() - narrower.square()) / (2 * step)
    expected = slope - 2 * sigma.square() * (more.log() - less.log()) / (2 * step)
    assert torch.allclose(OfSchedule(schedule)(INSIDE).square(), expected, rtol=1e-5)
    assert alpha.isfinite().all()


@pytest.mark.parametrize("schedule", [Geometric(), Geometric(0.3), LinearLogSNR(), LinearLogSNR(7, -3)], ids=str)
def test_time_is_the_inverse_of_log_snr(schedule):
    assert torch.allclose(schedule.time(schedule.log_snr(INSIDE)), INSIDE, atol=1e-12)
    alpha, sigma = schedule(INSIDE)
    assert torch.allclose(schedule.log_snr(INSIDE), 2 * (alpha.log() - sigma.log()))
    assert float(schedule.time(torch.tensor([1e4]))) == 0 and float(schedule.time(torch.tensor([-1e4]))) == 1


def test_a_learned_volatility_is_positive_and_rises_whatever_its_weights():
    fresh = Monotone()(torch.tensor([0.0, 1.0], dtype=torch.float64)).square().detach()
    assert 5e-4 < float(fresh[0]) < 2e-3 and 10 < float(fresh[1]) < 40
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        volatility = Monotone()
        with torch.no_grad():
            for parameter in volatility.parameters():
                parameter.add_(2 * torch.randn(parameter.shape, generator=generator))
        g = volatility(INSIDE)
        assert (g > 0).all() and (g.diff() > 0).all()
        g.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in volatility.parameters())
