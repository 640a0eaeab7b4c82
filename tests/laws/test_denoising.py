"""Laws of the denoising loss: EDM's own, written independently, and its options."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.codecs.features import Features
from coset.diffusion import Diffusion
from coset.interfaces import Draw, Network, Process
from coset.networks.outputs import FromClean, FromNoise, FromVelocity
from coset.noise import Noise
from coset.objectives.denoising import Denoising, GridTimes, NoiseWeight, PowerTimes, VelocityWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Linear, Polynomial
from coset.recipes.registry import build, find_recipe
from coset.symmetry.targets import plain
from example_clouds import padded, random_cloud, small_molecules

SIZES = [4, 7, 5]
PROCESS = Affine(Polynomial())
WEIGHT = NoiseWeight(PROCESS.schedule)


class Guess(Network):
    """Any guess at the noise that depends on z and t."""

    def forward(self, z: Cloud, t: Tensor) -> Cloud:
        return z.scale(t.to(z.x.dtype)).center()


class Oracle(Network):
    """Always the same answer."""

    def __init__(self, answer: Cloud) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, z: Cloud, t: Tensor) -> Cloud:
        return self.answer


class Recorder:
    """The plain target, remembering what the loss drew."""

    draw: Draw

    def __call__(self, process: Process, draw: Draw) -> Cloud:
        self.draw = draw
        return draw.x0


def noise(step: int = 0) -> Noise:
    return Noise.from_seed(4, torch.arange(len(SIZES))).at(step)


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("times", [PowerTimes(), GridTimes(1000)], ids=["uniform", "grid"])
def test_the_loss_is_the_published_one(padding, times):
    """1/2 |eps - eps_hat|^2 / ((3 + F) N), N the padded length in the released code (Hoogeboom et al. 2022)."""
    x0, record = padded(random_cloud(SIZES), 2), Recorder()
    network, weight = Guess(), NoiseWeight(PROCESS.schedule)
    loss = Denoising(weight, record, times, padded=padding)
    found = loss(PROCESS, FromNoise(network, PROCESS.schedule), x0, noise())
    draw = record.draw
    alpha, sigma = PROCESS.schedule(draw.t)
    z = x0.scale(alpha) + draw.eps.scale(sigma)
    error = squared_norm(draw.eps - network(z, draw.t))
    size = (3 + 6) * (torch.full((3,), 9.0) if padding else torch.tensor(SIZES)).double()
    assert torch.allclose(found, 0.5 * error / size, rtol=1e-8)
    assert draw.eps.x.sum(1).abs().max() < 1e-12 and (draw.eps.h * (1 - x0.mask)).abs().max() == 0


def test_a_molecule_s_loss_ignores_its_company():
    """But for the published variant, in which the padded length enters."""
    x0 = random_cloud(SIZES)
    denoiser = FromNoise(Guess(), PROCESS.schedule)
    for padding, same in ((False, True), (True, False)):
        loss = Denoising(WEIGHT, plain, padded=padding)
        found, wide = loss(PROCESS, denoiser, x0, noise()), loss(PROCESS, denoiser, padded(x0, 3), noise())
        assert torch.allclose(found, wide) == same


def test_a_perfect_denoiser_has_no_loss():
    class Knows(Network):
        def forward(self, z, t):
            return random_cloud(SIZES)

    assert (Denoising(WEIGHT, plain)(PROCESS, FromClean(Knows()), random_cloud(SIZES), noise()) == 0).all()


def test_the_weight_is_the_signal_to_noise_ratio():
    t = torch.tensor([0.1, 0.5, 0.9])
    alpha, sigma = PROCESS.schedule(t)
    assert torch.allclose(WEIGHT(t), (alpha / sigma).square())


def test_the_velocity_s_weight_counts_its_error():
    """Where the velocity is off by e the loss is |e|^2 / (2 size), whatever the noise level."""
    schedule, t = Linear(), torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    z, wrong = random_cloud([3, 5, 4]), random_cloud([3, 5, 4], seed=1)
    away = FromVelocity(Oracle(wrong), schedule)(z, t) - FromVelocity(Oracle(wrong.scale(0.0)), schedule)(z, t)
    assert torch.allclose(VelocityWeight(schedule)(t) * squared_norm(away), squared_norm(wrong))


def test_times_are_uniform_on_their_grid():
    """EDM draws t from the integers 0 to T, both included."""
    many = Noise.from_seed(0, torch.arange(44_000))
    counts = torch.bincount((GridTimes(10)(many) * 10).round().long(), minlength=11)
    assert len(counts) == 11 and ((counts - 4000).double() / 4000**0.5).abs().max() < 4
    cubes = PowerTimes(3.0)(many)
    assert (cubes < 0.125).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert (cubes >= 0).all() and (cubes < 1).all()


def test_time_noise_and_denoiser_draw_from_different_streams():
    record, x0 = Recorder(), random_cloud([6] * 2000, features=1)
    many = Noise.from_seed(0, torch.arange(2000))
    Denoising(WEIGHT, record)(PROCESS, FromNoise(Guess(), PROCESS.schedule), x0, many)
    t = (record.draw.t - 0.5) * 12**0.5
    for values in (record.draw.eps.x[:, 0, 0], record.draw.eps.h[:, 0, 0]):
        assert (t * values).mean().abs() * 2000**0.5 < 4
    assert (record.draw.eps.x[:, 0, 0] * record.draw.eps.h[:, 0, 0]).mean().abs() * 2000**0.5 < 4


def test_augmented_training_sees_other_poses_and_the_same_shape():
    settings = {"width": 32, "depth": 1, "heads": 4, "kernels": 8}
    diffusion = build("dit_aug", find_recipe("dit_aug").resolve(settings), 5)
    record, clean = Recorder(), small_molecules()
    diffusion.objective = Denoising(WEIGHT, record)
    loss = diffusion(clean, Noise.from_seed(0, torch.arange(4)))
    assert loss.shape == (4,)
    seen, scaled = record.draw.x0, diffusion.codec.encode(clean)
    assert torch.allclose(seen.x @ seen.x.mT, scaled.x @ scaled.x.mT, atol=1e-5)
    assert not torch.allclose(seen.x, scaled.x, atol=0.1)


class Fixed(Process):
    """A process with nothing to set."""

    def prior(self, like):
        return PROCESS.prior(like)

    def noised(self, x0, t):
        return PROCESS.noised(x0, t)

    def reverse(self, z, t, s, x0):
        return PROCESS.reverse(z, t, s, x0)

    def velocity(self, z, t, x0):
        return PROCESS.velocity(z, t, x0)


def test_processes_without_eta_say_so():
    denoiser = FromNoise(Guess(), PROCESS.schedule)
    diffusion = Diffusion(Features(5, 0.003), Fixed(), denoiser, Denoising(WEIGHT, plain))
    with pytest.raises(ValueError, match="Fixed has no eta"):
        diffusion.with_eta(0.5)
