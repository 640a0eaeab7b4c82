"""Laws of the affine process: its schedule as published, its reverse chain consistent with its marginals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.gaussian import standard_normal
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, LinearNoise, Polynomial
from coset.scales import Centred, Free, Subspace
from example_clouds import random_cloud

SIZES = [4, 6]
ETAS = [0.0, 0.4, 1.0]


SCHEDULES = [Polynomial(), Cosine(), Linear(), Linear(sigma_min=0.0), Exploding(sigma_max=20.0)]
SCHEDULES += [LinearNoise(last=1 - 1e-6)]  # as published it ends early, at 0.999


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noisy(x0: Cloud, process: Affine, t: Tensor) -> tuple[Cloud, Cloud]:
    eps = standard_normal(x0, Noise(torch.arange(len(x0))), process.subspace)
    return process.noised(x0, t).at(eps), eps


@pytest.mark.parametrize(
    ("step", "alpha2", "gamma"),
    [
        (0, 0.99999, -11.51291546),
        (1, 0.999988, -11.33059532),
        (250, 0.8788986719, -1.98204200),
        (500, 0.56249875, -0.25130935),
        (750, 0.1914124219, 1.44085862),
        (999, 1.399592108e-5, 11.17673063),
        (1000, 1.000399592e-5, 11.51251595),
    ],
)
def test_the_polynomial_schedule_is_the_published_table(step, alpha2, gamma):
    """Hoogeboom et al. 2022, "polynomial_2", precision 1e-5, T = 1000; gamma = -log SNR."""
    schedule, t = Polynomial(), times(step / 1000)
    alpha, sigma = schedule(t)
    assert float(alpha**2) == pytest.approx(alpha2, rel=6e-10 if step not in (1,) else 1e-8)
    assert float(-schedule.log_snr(t)) == pytest.approx(gamma, abs=6e-9)
    assert float(alpha**2 + sigma**2) == pytest.approx(1, abs=1e-15)


def test_the_last_step_is_clipped_whatever_the_grid():
    """With T = 500 only alpha(1) differs."""
    alpha, _ = Polynomial(steps=500)(times(1.0))
    assert float(alpha**2) == pytest.approx(1.00159677e-5, rel=1e-8)
    assert torch.equal(Polynomial(steps=500)(times(0.3))[0], Polynomial()(times(0.3))[0])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_log_snr_and_time(schedule):
    t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    alpha, sigma = schedule(t)
    assert torch.allclose(schedule.log_snr(t), 2 * (alpha / sigma).log(), atol=1e-9)
    assert (schedule.log_snr(t).diff() < 0).all()
    assert torch.allclose(schedule.time(schedule.log_snr(t)), t, atol=1e-7)


def test_the_ends_of_the_published_schedule():
    """exp(log_snr) spans 1e5 to 1e-5; at the very end the inverse gives the start of the plateau."""
    schedule = Polynomial()
    assert float(schedule.time(schedule.log_snr(times(0.0)))) == pytest.approx(0, abs=1e-5)
    end = schedule.log_snr(times(1.0))
    assert torch.allclose(schedule.log_snr(schedule.time(end)), end, atol=1e-8)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.999), (0.7, 0.699), (0.5, 0.1), (0.001, 0.0)])
def test_the_reverse_chain_is_ancestral_sampling_as_published(t, s):
    """Mean and deviation written in gamma and the predicted noise (Hoogeboom et al. 2022, released code)."""
    process, x0 = Affine(Polynomial()), random_cloud(SIZES)
    at_t, at_s = times(t, t), times(s, s)
    gamma_t, gamma_s = (-process.schedule.log_snr(time) for time in (at_t, at_s))
    softplus = torch.nn.functional.softplus
    variance_ts = -torch.expm1(softplus(gamma_s) - softplus(gamma_t))
    alpha_ts = (torch.sigmoid(-gamma_t) / torch.sigmoid(-gamma_s)).sqrt()
    sigma_t, sigma_s = torch.sigmoid(gamma_t).sqrt(), torch.sigmoid(gamma_s).sqrt()
    z, eps = noisy(x0, process, at_t)
    mean = z.scale(1 / alpha_ts) - eps.scale(variance_ts / (alpha_ts * sigma_t))
    found = process.reverse(z, at_t, at_s, x0)
    assert torch.allclose(found.mean.x, mean.x, atol=1e-7) and torch.allclose(found.mean.h, mean.h, atol=1e-7)
    assert torch.allclose(found.x_scale.std, (variance_ts.sqrt() * sigma_s / sigma_t), atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("subspace", [Centred(), Free()], ids=str)
def test_the_kl_of_two_reverse_steps_is_the_snr_lost(subspace: Subspace, schedule):
    """KL(q(z_s | z, x0) || q(z_s | z, D)) = (SNR(s) - SNR(t)) / 2 |x0 - D|^2 (Kingma et al. 2021, eq. 13)."""
    process = Affine(schedule, subspace=subspace)
    x0, guess, t, s = random_cloud(SIZES), random_cloud(SIZES, seed=1), times(0.8, 0.02), times(0.5, 0.01)
    z, _ = noisy(x0, process, t)
    found = process.reverse(z, t, s, x0).kl(process.reverse(z, t, s, guess))
    snr_s, snr_t = (process.schedule.log_snr(time).exp() for time in (s, t))
    assert torch.allclose(found, 0.5 * (snr_s - snr_t) * squared_norm(x0 - guess), rtol=1e-8)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_reverse_steps_keep_the_marginals(schedule, eta):
    """If z_t ~ q(z_t | x0) then z_s ~ q(z_s | x0), for every eta: mean and variance, exactly."""
    process, x0 = Affine(schedule, eta), random_cloud(SIZES)
    t, s = times(0.9, 0.3), times(0.6, 0.05)
    z, eps = noisy(x0, process, t)
    step, at_mean = process.reverse(z, t, s, x0), process.reverse(process.noised(x0, t).mean, t, s, x0)
    expected = process.noised(x0, s)
    assert torch.allclose(at_mean.mean.x, expected.mean.x)
    assert torch.allclose(at_mean.mean.h, expected.mean.h)
    keep = (step.mean - at_mean.mean).x.norm(dim=(1, 2)) / eps.x.norm(dim=(1, 2))
    assert torch.allclose(keep**2 + step.x_scale.std**2, expected.x_scale.std**2)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_deterministic_steps_compose(schedule):
    """eta = 0 with x0 held: t to s to r lands where t to r does."""
    process, x0 = Affine(schedule).with_eta(0.0), random_cloud(SIZES)
    t, s, r = times(0.9, 0.5), times(0.7, 0.2), times(0.1, 0.0)
    z, eps = noisy(x0, process, t)
    halfway = process.reverse(z, t, s, x0)
    assert (halfway.x_scale.std == 0).all()
    composed, direct = process.reverse(halfway.mean, s, r, x0).mean, process.reverse(z, t, r, x0).mean
    assert torch.allclose(composed.x, direct.x) and torch.allclose(composed.h, direct.h)
    assert torch.allclose(direct.x, process.noised(x0, r).at(eps).x)  # the same noise, less of it


def test_a_deterministic_step_of_the_linear_schedule_is_euler_s():
    """Flow matching: z_s = z + (s - t) (eps - x0)."""
    process, x0 = Affine(Linear(sigma_min=0.0), 0.0), random_cloud(SIZES)
    t, s = times(0.9, 0.5), times(0.7, 0.2)
    z, eps = noisy(x0, process, t)
    found, expected = process.reverse(z, t, s, x0).mean, z + (eps - x0).scale(s - t)
    assert torch.allclose(found.x, expected.x) and torch.allclose(found.h, expected.h)
    drift = process.velocity(z, t, x0)
    assert torch.allclose(drift.x, (eps - x0).x) and torch.allclose(drift.h, (eps - x0).h)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_velocity_is_the_limit_of_small_deterministic_steps(schedule):
    process, x0, t = Affine(schedule, 0.0), random_cloud(SIZES), times(0.8, 0.3)
    z, _ = noisy(x0, process, t)
    velocity, errors = process.velocity(z, t, x0), []
    for step in (1e-3, 1e-4):
        slope = (z - process.reverse(z, t, t - step, x0).mean).scale(1 / step)
        errors.append(squared_norm(slope - velocity).sqrt() / squared_norm(velocity).sqrt())
    assert (errors[1] < 1e-3).all() and (errors[1] < 0.2 * errors[0] + 1e-9).all()  # first order in the step


def test_every_step_stays_on_the_centred_subspace():
    """Even from clouds that rounding has moved."""
    process, x0 = Affine(Polynomial()), random_cloud(SIZES)
    moved = replace(x0, x=(x0.x + 1e-3) * x0.mask)
    for gaussian in (process.prior(x0), process.reverse(moved, times(0.9, 0.5), times(0.3, 0.2), moved)):
        z = gaussian.sample(Noise(torch.arange(2)))
        assert z.x.sum(1).abs().max() < 1e-12
        assert ((1 - z.mask) * z.x).abs().max() == 0 and ((1 - z.mask) * z.h).abs().max() == 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_prior_is_the_marginal_at_the_end(schedule):
    """Its KL from q(z_1 | x0) is EDM's prior term, nearly 0; for exploding variance |x0|^2 / (2 sigma(1)^2)."""
    process, x0 = Affine(schedule), random_cloud(SIZES)
    kl = process.noised(x0, times(1.0, 1.0)).kl(process.prior(x0))
    limit = squared_norm(x0) / (2 * 20.0**2) if isinstance(schedule, Exploding) else 0.0
    assert (kl - limit).abs().max() < 1e-3
    assert (process.prior(x0).mean.x == 0).all()


def test_eta_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="eta must lie"):
        Affine(Polynomial(), 1.5)
    assert Affine(Polynomial()).with_eta(0.25).eta == 0.25


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_standard_velocity_points_along_the_path(schedule):
    """v = a x0 + b eps is dz/dt over the Wronskian of (alpha, sigma), and with z it gives x0 back."""
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    (alpha, sigma), (d_alpha, d_sigma) = torch.func.jvp(schedule.__call__, (t,), (torch.ones_like(t),))[:2]
    a, b = schedule.velocity(t)
    wronskian = alpha * d_sigma - d_alpha * sigma
    assert torch.allclose(alpha * b - sigma * a, torch.ones_like(t))
    assert torch.allclose(a, d_alpha / wronskian) and torch.allclose(b, d_sigma / wronskian)


def test_schedules_end_where_they_say():
    """Noise left in the data, and signal left in the noise."""
    ends = times(0.0, 1.0)
    for schedule, first, last in [
        (Cosine(1e-5), 1e-5**0.5, 1e-5**0.5),
        (Linear(0.01), 0.01, 0.0),
        (Exploding(0.002, 80.0), 0.002, 1.0),
        (LinearNoise(), 0.01, (1 - 0.999**2) ** 0.5),
    ]:
        alpha, sigma = schedule(ends)
        assert float(sigma[0]) == pytest.approx(first) and float(alpha[1]) == pytest.approx(last, abs=1e-12)
    assert float(Exploding(0.002, 80.0)(ends)[1][1]) == pytest.approx(80.0)
