"""Laws of matching velocities: what the loss's minimiser is, with independent and with coupled ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud, Condition
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.objectives.flow import Flow, InsideTimes
from coset.processes.affine import Affine
from coset.processes.couplings import aligned, independent, paired
from coset.processes.harmonic import Harmonic
from coset.processes.schedules import Bridge
from coset.symmetry.groups import Rotations
from coset.symmetry.rotations import haar
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import Known, random_cloud

SPRINGS = torch.tensor([[[0.0, 0.7, 0.3], [0.0, -0.7, 0.3], [0.0, 0.0, -0.6]]], dtype=torch.float64)


def molecules(count: int, seed: int = 0) -> Cloud:
    """The same molecule of three atoms over and over."""
    one = random_cloud([3], features=0, seed=seed).take(torch.zeros(count, dtype=torch.int64))
    return replace(one, condition=Condition(modes=SPRINGS.expand(count, 3, 3)))


def processes(noise: float) -> list[Process]:
    return [Affine(Bridge(noise), eta=0.0), Harmonic(Bridge(noise))]


@pytest.mark.parametrize("process", processes(0.4), ids=["isotropic", "harmonic"])
def test_a_denoiser_that_knows_the_answer_has_no_loss_and_another_has_that_of_its_velocity(process):
    x0, noise = molecules(2), Noise(torch.arange(2))
    loss = Flow(plain, times=lambda noise: torch.full((2,), 0.4, dtype=torch.float64))
    assert loss(process, Known(x0), x0, noise).abs().max() < 1e-20
    draw, velocity = loss.draw(process, x0, noise)
    assert velocity is None
    away = process.velocity(draw.z, draw.t, x0) - process.velocity(draw.z, draw.t, x0.scale(1.1))
    torch.testing.assert_close(loss(process, Known(x0.scale(1.1)), x0, noise), away.x.square().sum((1, 2)) / 9)
    each = replace(loss, per_atom=True)(process, Known(x0.scale(1.1)), x0, noise)
    torch.testing.assert_close(each, away.x.norm(dim=-1).mean(1))


@pytest.mark.parametrize("process", processes(0.0), ids=["isotropic", "harmonic"])
def test_without_path_noise_the_path_s_derivative_is_the_drift_of_its_clean_cloud(process):
    x0 = molecules(4)
    for coupling in (independent, aligned):
        draw, velocity = Flow(plain, coupling).draw(process, x0, Noise(torch.arange(4)))
        assert velocity is not None
        torch.testing.assert_close(velocity.x, process.velocity(draw.z, draw.t, x0).x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("process", processes(0.8), ids=["isotropic", "harmonic"])
def test_with_path_noise_it_is_so_on_average_over_what_z_may_come_from(process):
    """E[u | z] = v(z, x0) for one x0: u - v has no mean, and no part that is linear in the normal z."""
    count = 40_000
    x0 = molecules(count)
    loss = Flow(plain, independent, times=lambda noise: torch.full((count,), 0.35, dtype=torch.float64))
    draw, velocity = loss.draw(process, x0, Noise(torch.arange(count)))
    assert velocity is not None
    rest = (velocity - process.velocity(draw.z, draw.t, x0)).x.flatten(1)
    noised = process.noised(x0, draw.t)
    eps = noised.whiten(draw.z).x.flatten(1)
    error = 5 * rest.std() * count**-0.5
    assert rest.std() > 0.1
    assert rest.mean(0).abs().max() < error and (rest.T @ eps / count).abs().max() < error
    # and the noisy clouds are those of the process
    torch.testing.assert_close((eps.T @ eps / count).trace(), torch.tensor(6.0, dtype=torch.float64), rtol=0.02, atol=0)


@pytest.mark.parametrize("process", processes(0.1), ids=["isotropic", "harmonic"])
def test_an_orbit_mean_is_the_mean_of_the_velocities_of_all_poses(process):
    """Against 200,000 Haar draws weighted by their likelihood; the drift is affine in x0."""
    count, t = 200_000, torch.full((1,), 0.6, dtype=torch.float64)
    x0 = molecules(1, seed=2).scale(0.7)
    z = process.noised(x0, t).sample(Noise(torch.arange(1)))
    found = process.velocity(z, t, OrbitMean(Rotations())(process, Draw(x0, x0, z, t)))
    many = x0.take(torch.zeros(count, dtype=torch.int64))
    turned = Rotations().sample(many, Noise(torch.arange(count))).act(many)
    there, later = z.take(torch.zeros(count, dtype=torch.int64)), t.repeat(count)
    weight = process.noised(turned, later).log_prob(there).softmax(0)
    wanted = torch.einsum("b,bnd->nd", weight, process.velocity(there, later, turned).x)
    assert 1 / weight.square().sum() > 2_000  # effective draws
    torch.testing.assert_close(found.x[0], wanted, rtol=0, atol=0.05)


def test_other_conformers_reach_the_target_and_not_the_network():
    x0 = molecules(2)
    others = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    x0 = replace(x0, condition=Condition(modes=SPRINGS.expand(2, 3, 3), siblings=others))
    draw, _ = Flow(plain).draw(Harmonic(Bridge()), x0, Noise(torch.arange(2)))
    assert draw.siblings is not None and draw.z.condition is not None
    torch.testing.assert_close(draw.siblings.x, others.flatten(0, 1))
    assert draw.z.condition.siblings is None


def test_times_keep_away_from_both_ends():
    t = InsideTimes(0.01)(Noise(torch.arange(20_000)))
    assert 0.01 <= t.min() < 0.011 and 0.989 < t.max() <= 0.99
    assert float(t.mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("lean", [1.2, -3.0])
def test_times_lean_as_an_exponential(lean):
    t = InsideTimes(0.0, lean)(Noise(torch.arange(20_000)))
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    share = torch.expm1(lean * grid) / torch.tensor(lean, dtype=torch.float64).expm1()
    assert (torch.searchsorted(t.sort().values, grid) / 20_000 - share).abs().max() < 0.02


@pytest.mark.parametrize("process", processes(0.0), ids=["isotropic", "harmonic"])
def test_paired_ends_are_joined_by_a_straight_line_which_turns_with_them_and_is_not_shown(process):
    x0, end = molecules(3), molecules(3, seed=1).x
    x0 = replace(x0, condition=Condition(modes=SPRINGS.expand(3, 3, 3), end=end))
    loss = Flow(plain, paired, times=lambda noise: torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64))
    draw, velocity = loss.draw(process, x0, Noise(torch.arange(3)))
    assert velocity is not None and draw.z.condition is not None and draw.z.condition.end is None
    small, t = process.schedule.sigma_min, draw.t[:, None, None]
    torch.testing.assert_close(draw.z.x, (1 - t) * x0.x + (small + (1 - small) * t) * end)
    torch.testing.assert_close(velocity.x, (1 - small) * end - x0.x)
    turn = haar(Noise(torch.arange(3)))
    turned, moved = loss.draw(process, x0.rotate(turn), Noise(torch.arange(3)))
    assert moved is not None
    torch.testing.assert_close(turned.z.x, draw.z.rotate(turn).x)
    torch.testing.assert_close(moved.x, velocity.rotate(turn).x)
    with pytest.raises(ValueError, match="paired ends need the noise that each clean cloud was made of"):
        loss.draw(process, molecules(3), Noise(torch.arange(3)))


def test_the_noise_of_a_pair_follows_the_order_of_its_atoms():
    x0 = replace(molecules(1), condition=Condition(end=molecules(1, seed=1).x))
    moved = x0.permute(torch.tensor([[2, 0, 1]]))
    assert moved.condition is not None and moved.condition.end is not None and x0.condition is not None
    assert torch.equal(moved.condition.end, x0.condition.end[:, [2, 0, 1]])  # type: ignore[index]
