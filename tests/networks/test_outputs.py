"""Laws of what a network's output means: noise to clean data and back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Network, Schedule
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromClean, FromNoise, FromVelocity
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.scales import Centred
from example_clouds import random_cloud


class Oracle(Network):
    """Knows the answer."""

    def __init__(self, answer: Cloud) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, z, t):
        return self.answer


@dataclass(frozen=True)
class Vanishing(Schedule):
    """Reaches alpha(1) = end."""

    end: float = 0.0

    def __call__(self, t):
        alpha = 1 - (1 - self.end) * t.double()
        return alpha, (1 - alpha.square()).sqrt()

    def log_snr(self, t):
        raise NotImplementedError

    def time(self, log_snr):
        raise NotImplementedError


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_the_true_noise_gives_the_clean_cloud_and_back(dtype, atol):
    """x0 -> z -> (eps) -> x0 -> (whiten) -> eps, at every noise level."""
    x0, process = random_cloud([4, 6, 5], dtype=dtype), Affine(Polynomial())
    eps = standard_normal(x0, Noise(torch.arange(3)), Centred())
    for times in ([0.0, 0.001, 0.1], [0.5, 0.9, 1.0]):
        t = torch.tensor(times)
        z = process.noised(x0, t).at(eps)
        found = FromNoise(Oracle(eps), process.schedule)(z, t)
        assert (found.x - x0.x).abs().max() < atol and (found.h - x0.h).abs().max() < atol
        back = process.noised(found, t).whiten(z)
        assert (back.x - eps.x).abs().max() < atol and (back.h - eps.h).abs().max() < atol


@pytest.mark.parametrize("schedule", [Polynomial(), Cosine(), Linear(), Exploding(0.01, 10.0)], ids=str)
def test_the_true_velocity_gives_the_clean_cloud(schedule):
    """At every noise level, both ends included."""
    x0, eps = random_cloud([4, 6, 5]), random_cloud([4, 6, 5], seed=1)
    for times in ([0.0, 0.001, 0.1], [0.5, 0.9, 1.0]):
        t = torch.tensor(times, dtype=torch.float64)
        a, b = schedule.velocity(t)
        z = Affine(schedule).noised(x0, t).at(eps)
        found = FromVelocity(Oracle(x0.scale(a) + eps.scale(b)), schedule)(z, t)
        assert (found.x - x0.x).abs().max() < 1e-10 and (found.h - x0.h).abs().max() < 1e-10


def test_a_clean_prediction_is_handed_on():
    x0, z = random_cloud([3]), random_cloud([3], seed=1)
    assert FromClean(Oracle(x0))(z, torch.tensor([0.5])) is x0


def test_schedules_without_signal_at_the_end_are_refused():
    with pytest.raises(ValueError, match=r"alpha\(1\)"):
        FromNoise(Oracle(random_cloud([3])), Linear())
    FromNoise(Oracle(random_cloud([3])), Vanishing(1.1e-4))
    for end in (0.0, 0.9e-4):
        with pytest.raises(ValueError, match=r"alpha\(1\)"):
            FromNoise(Oracle(random_cloud([3])), Vanishing(end))


def test_models_can_be_counted_without_memory():
    with torch.device("meta"):
        denoiser = FromNoise(EGNN(6, 8, 1), Polynomial())
    assert {p.device.type for p in denoiser.parameters()} == {"meta"}
