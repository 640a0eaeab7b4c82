"""Laws of consistency: how far apart two times are, what is compared, and how few steps draw from such a model."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coset.codecs.categories import Categories
from coset.diffusion import Diffusion
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser
from coset.molecule import QM9
from coset.noise import Noise
from coset.objectives.composed import NoiseMixture
from coset.objectives.consistency import Consistency, Narrowing
from coset.objectives.terms import KarrasWeight, PositionError
from coset.processes.affine import Affine
from coset.processes.schedules import Exploding
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import karras_grid, log_snr_grid
from coset.samplers.sample import sample
from coset.samplers.sizes import SizeDistribution
from coset.samplers.solvers import Renewed
from coset.scales import CENTRED
from example_clouds import Known, random_cloud

SCHEDULE = Exploding(0.003, 30.0)
PROCESS = Affine(SCHEDULE)
TERMS = ((1.0, PositionError(KarrasWeight(SCHEDULE, 1.4))),)


def sigma(t: torch.Tensor) -> torch.Tensor:
    return torch.exp(-0.5 * SCHEDULE.log_snr(t))


def objective(first: float = 0.5, last: float = 0.05) -> Consistency:
    return Consistency(TERMS, NoiseMixture(SCHEDULE), Narrowing(SCHEDULE, first, last, 100))


class Shrunk(Denoiser):
    """A share of what it sees, which can be learned."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share, dtype=torch.float64))

    def forward(self, z, t, noise=None):
        return z.scale(self.share.expand(len(z)))


@pytest.mark.parametrize(("step", "share"), [(0, 0.5), (50, math.sqrt(0.5 * 0.05)), (100, 0.05), (10_000, 0.05)])
def test_the_two_times_come_nearer_as_training_goes_on(step, share):
    t = SCHEDULE.time(-2 * torch.tensor([0.1, 1.0, 20.0], dtype=torch.float64).log())
    r = Narrowing(SCHEDULE, 0.5, 0.05, 100)(t, torch.tensor(step))
    torch.testing.assert_close(sigma(r), (1 - share) * sigma(t), rtol=1e-9, atol=0)


def test_below_the_least_noise_the_estimate_is_set_beside_the_clean_cloud():
    t = SCHEDULE.time(-2 * torch.tensor([0.004], dtype=torch.float64).log())
    assert float(Narrowing(SCHEDULE, 0.5, 0.5)(t, 0)) == 0
    x0, wrong = random_cloud([5], 5), random_cloud([5], 5, seed=1)

    def low(noise):
        return t.expand(1)

    found = Consistency(TERMS, low, Narrowing(SCHEDULE, 0.5, 0.5))(
        PROCESS, Known(wrong), x0, Noise.from_seed(0, torch.arange(1))
    )
    by_hand = KarrasWeight(SCHEDULE, 1.4)(t) * (wrong.x - x0.x).square().sum() / 15
    torch.testing.assert_close(found, by_hand)


def test_an_estimate_that_is_the_same_everywhere_costs_nothing():
    x0 = random_cloud([5, 3, 4], 5)
    loss = objective()(PROCESS, Known(x0), x0, Noise.from_seed(0, torch.arange(3)))
    torch.testing.assert_close(loss, torch.zeros(3, dtype=torch.float64))
    assert (objective()(PROCESS, Shrunk(0.5), x0, Noise.from_seed(0, torch.arange(3))) > 0).all()


def test_only_the_estimate_at_more_noise_is_learned():
    """Of w |c z_t - c z_r|^2 / 3 n the derivative by the first c alone: 2 w c (z_t - z_r) . z_t / 3 n."""
    x0, noise = random_cloud([6], 5), Noise.from_seed(0, torch.arange(1))
    t = SCHEDULE.time(-2 * torch.tensor([1.0], dtype=torch.float64).log())
    nearer, model = Narrowing(SCHEDULE, 0.5, 0.5), Shrunk(0.7)
    Consistency(TERMS, lambda noise: t, nearer)(PROCESS, model, x0, noise).sum().backward()
    eps = standard_normal(x0, noise.fork(1), CENTRED)
    there, here = (PROCESS.noised(x0, time).at(eps).x for time in (t, nearer(t, 0)))
    by_hand = 2 * KarrasWeight(SCHEDULE, 1.4)(t) * 0.7 * ((there - here) * there).sum() / 18
    assert model.share.grad is not None
    torch.testing.assert_close(model.share.grad, by_hand[0])


def test_shares_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"0 < last <= first < 1; got first 0.1 and last 0.5 \(settings gap_first"):
        Narrowing(SCHEDULE, 0.1, 0.5)


def test_renewed_noise_keeps_the_estimate_and_forgets_the_rest():
    """Positions at s are the estimate plus noise of s alone, whatever z was."""
    answer = random_cloud([400], 5)
    z = random_cloud([400], 5, seed=3).scale(torch.tensor([1e3], dtype=torch.float64))
    t, s = (SCHEDULE.time(-2 * torch.tensor([level], dtype=torch.float64).log()) for level in (20.0, 0.7))
    moved, memory = Renewed().step(
        PROCESS, lambda z, t, noise: answer, z, t, s, None, Noise.from_seed(0, torch.arange(1))
    )
    assert memory is None
    assert abs(float((moved.x - answer.x).std()) - 0.7) < 0.05


def test_three_steps_of_a_known_model_draw_its_answer():
    answer = random_cloud([5, 4], 5, dtype=torch.float32)
    model = Diffusion(Categories(5, 0.003), PROCESS, Known(answer), objective())
    times = karras_grid(SCHEDULE, 3, until=0.1)
    drawn = sample(model, answer, Noise.from_seed(0, torch.arange(2)), times, solver=Renewed())
    torch.testing.assert_close(drawn.x, answer.x)


@pytest.mark.parametrize("grid", [karras_grid, log_snr_grid])
def test_a_grid_may_stop_at_a_noise_level(grid):
    times = grid(SCHEDULE, 3, until=0.1)
    assert len(times) == 4 and float(times[0]) == 1
    torch.testing.assert_close(sigma(times[-1:]), torch.tensor([0.1], dtype=torch.float64), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match=r"sampling may stop at noise from 0\.003 to below 30; got 31"):
        grid(SCHEDULE, 3, until=31)


def test_the_last_call_is_made_where_sampling_is_told_to_stop():
    levels: list[float] = []

    class Watched(Known):
        def forward(self, z, t, noise=None):
            levels.append(float(sigma(t)[0]))
            return super().forward(z, t, noise)

    model = Diffusion(Categories(5, 0.003), PROCESS, Watched(random_cloud([5], 5, dtype=torch.float32)), objective())
    model.register_parameter("any", nn.Parameter(torch.zeros(1)))
    options = Sampling(steps=3, solver="renewed", grid="karras", until=0.1)
    list(Generator(model, QM9, SizeDistribution({5: 1}), options).draw(0, torch.arange(1)))
    assert len(levels) == 4 and levels[0] == pytest.approx(30) and levels[-1] == pytest.approx(0.1)


def test_stopping_early_needs_a_grid_of_noise_levels():
    with pytest.raises(
        ValueError, match=r"until is a noise level in Angstrom, for the karras or log_snr grid; got 0\.1"
    ):
        Sampling(until=0.1)
