"""Laws of harmonic noise: the molecule of springs at t = 1, marginals that the reverse chain keeps, velocity."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.gaussian import standard_normal
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.couplings import aligned, independent
from coset.processes.harmonic import Harmonic, Springs
from coset.processes.schedules import Bridge, Linear
from coset.scales import CENTRED
from example_clouds import padded, random_cloud

SIZES = [5, 7]


def laplacian(size: int) -> Tensor:
    """Of a chain with a branch at its second atom."""
    bonds = [(i, i + 1) for i in range(size - 2)] + [(1, size - 1)]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for i, j in bonds:
        matrix[i, i] += 1
        matrix[j, j] += 1
        matrix[i, j] -= 1
        matrix[j, i] -= 1
    return matrix


def with_modes(cloud: Cloud) -> Cloud:
    atoms = cloud.mask.shape[1]
    modes = torch.zeros(len(cloud), atoms, atoms, dtype=cloud.x.dtype)
    for row, size in enumerate(cloud.count.long().tolist()):
        values, vectors = torch.linalg.eigh(laplacian(size))
        modes[row, :size, 1:size] = vectors[:, 1:] / values[1:].sqrt()
    return replace(cloud, condition=Condition(modes=modes))


def example(**options) -> Cloud:
    return with_modes(random_cloud(SIZES, features=0, **options))


def at(value: float, cloud: Cloud) -> Tensor:
    return torch.full((len(cloud),), value, dtype=torch.float64)


def test_the_prior_is_the_pseudo_inverse_of_the_laplacian():
    x0 = example()
    prior = Harmonic(Bridge(noise=0.0, sigma_min=0.0)).prior(x0)
    for row, size in enumerate(SIZES):
        found = prior.x_scale.apply(prior.x_scale.apply(torch.eye(7, dtype=torch.float64).expand(2, 7, 7)))
        torch.testing.assert_close(found[row, :size, :size], torch.linalg.pinv(laplacian(size)))
        assert (found[row, size:] == 0).all() and (found[row, :, size:] == 0).all()


def test_one_sigma_for_all_modes_is_the_affine_process():
    """Modes of unit length are isotropic noise on the centred subspace."""
    x0 = example()
    springs = Springs.of(x0)
    unit = replace(x0, condition=Condition(modes=springs.vectors))
    z, t, s = random_cloud(SIZES, features=0, seed=1), at(0.7, x0), at(0.4, x0)
    for noise in (0.0, 0.5):
        harmonic, affine = Harmonic(Bridge(noise), eta=0.6), Affine(Bridge(noise), eta=0.6)
        z = replace(z, condition=unit.condition)
        ours, theirs = harmonic.reverse(z, t, s, unit), affine.reverse(z, t, s, unit)
        torch.testing.assert_close(ours.mean.x, theirs.mean.x)
        eps = standard_normal(x0, Noise(torch.arange(2)), CENTRED)
        torch.testing.assert_close(ours.at(eps).x, theirs.at(eps).x)
        torch.testing.assert_close(harmonic.velocity(z, t, unit).x, affine.velocity(z, t, unit).x)
        torch.testing.assert_close(harmonic.noised(unit, t).log_prob(z), affine.noised(unit, t).log_prob(z))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_a_reverse_step_keeps_the_marginal(eta, noise):
    """The mean is affine in z and z is normal, so mean and covariance of z_s follow exactly: mode by mode."""
    x0, process = example(), Harmonic(Bridge(noise), eta)
    t, s = at(0.8, x0), at(0.3, x0)
    there, here = process.noised(x0, t), process.noised(x0, s)
    torch.testing.assert_close(process.reverse(there.mean, t, s, x0).mean.x, here.mean.x)
    springs = Springs.of(x0)
    wave = springs.vectors[..., 1:4]  # three modes as the three coordinates
    moved = process.reverse(there.mean + replace(x0, x=wave), t, s, x0)
    factor = springs.into(moved.mean.x - here.mean.x)[:, [1, 2, 3], [0, 1, 2]]
    before, after, own = (scale.std[:, 1:4] for scale in (there.x_scale, here.x_scale, moved.x_scale))
    torch.testing.assert_close((factor * before).square() + own.square(), after.square())


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_the_velocity_is_the_limit_of_a_deterministic_step(noise):
    x0, process = example(), Harmonic(Bridge(noise), eta=0.0)
    z, t = replace(random_cloud(SIZES, features=0, seed=3), condition=x0.condition), at(0.5, x0)
    step = 1e-6
    moved = process.reverse(z, t, t - step, x0).mean
    torch.testing.assert_close((z.x - moved.x) / step, process.velocity(z, t, x0).x, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_and_turns_commute():
    x0, process = example(), Harmonic(Bridge())
    wide = with_modes(padded(replace(x0, condition=None), 3))
    t, s = at(0.6, x0), at(0.2, x0)
    torch.testing.assert_close(
        process.reverse(wide, t, s, wide.scale(0.5)).mean.x[:, :7], process.reverse(x0, t, s, x0.scale(0.5)).mean.x
    )
    torch.testing.assert_close(process.noised(wide, t).log_prob(wide), process.noised(x0, t).log_prob(x0))
    turn = torch.linalg.qr(torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    torch.testing.assert_close(
        process.velocity(x0.rotate(turn), t, x0.scale(0.3).rotate(turn)).x,
        process.velocity(x0, t, x0.scale(0.3)).rotate(turn).x,
    )


def test_a_cloud_without_modes_is_refused():
    x0 = random_cloud(SIZES, features=0)
    with pytest.raises(ValueError, match=r"needs a molecule's bonds"):
        Harmonic(Bridge()).prior(x0)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.9])
def test_the_bridge_s_noise_level_can_be_inverted(noise):
    schedule, t = Bridge(noise), torch.linspace(0, 1, 51, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.log_snr(t)), t, rtol=0, atol=1e-9)
    (alpha, sigma), (a, b) = schedule(t), schedule.velocity(t)
    torch.testing.assert_close(alpha * b - sigma * a, torch.ones_like(t))
    if not noise:
        for ours, theirs in zip(schedule(t), Linear()(t), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_aligned_ends_are_nearest_and_centred():
    x0, end = example(), random_cloud(SIZES, features=0, seed=5)
    found, far = aligned(x0, end), independent(x0, end)
    assert far is end
    turns = torch.linalg.qr(torch.randn(40, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[
        0
    ]
    turns = turns * torch.linalg.det(turns)[..., None, None]
    nearest = (found.x - x0.x).square().sum((1, 2))
    for turn in turns:
        assert (nearest <= (end.rotate(turn).x - x0.x).square().sum((1, 2)) + 1e-9).all()
    torch.testing.assert_close(found.x @ found.x.mT, end.x @ end.x.mT)
