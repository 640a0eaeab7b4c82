"""Laws of preconditioning: unit scale at every noise level, limits, and types by Bayes' rule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Network, Schedule
from coset.networks.preconditioning import Karras, OneHot, Preconditioned, sigma_of
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Exploding, Linear, Polynomial
from coset.scales import CENTRED
from example_clouds import ExactNormal, random_cloud

SPREAD, SCALE = 1.4, 0.25
LEVELS = torch.tensor([0.003, 0.05, 0.5, 1.4, 6.0, 30.0], dtype=torch.float64)
SIZES = [5, 4, 6, 3, 5, 4]


class Says(Network):
    """Gives an answer whatever it sees, and remembers what it saw."""

    def __init__(self, x: float = 0.0, h: float = 0.0) -> None:
        super().__init__()
        self.x, self.h = x, h

    def forward(self, z, t):
        self.seen = z, t
        noise = standard_normal(z, Noise(torch.arange(len(z))), CENTRED)
        return replace(z, x=self.x * noise.x, h=self.h * noise.h)


def clean_cloud(seed: int = 0) -> Cloud:
    cloud = random_cloud(SIZES, features=3, seed=seed)
    kinds = torch.nn.functional.one_hot(cloud.h.argmax(-1), 3).double()
    return replace(cloud, x=SPREAD * cloud.x, h=SCALE * kinds * cloud.mask)


def noisy(schedule: Schedule, sigma: torch.Tensor, clean: Cloud) -> tuple[Cloud, torch.Tensor]:
    t = schedule.time(-2 * sigma.log())
    return Affine(schedule).noised(clean, t).sample(Noise(torch.arange(len(clean)))), t


def denoiser(network: Network, schedule: Schedule) -> Preconditioned:
    return Preconditioned(network, schedule, Karras(SPREAD), OneHot(SCALE))


def test_input_and_exact_output_have_unit_variance_and_a_silent_network_is_best_on_normal_data():
    """For x0 of deviation s: var(c_in x) = 1, var((x0 - c_skip x) / c_out) = 1; c_skip is the regression of x0 on x."""
    karras = Karras(SPREAD)
    into, skip, out = karras.into(LEVELS), karras.skip(LEVELS), karras.out(LEVELS)
    torch.testing.assert_close(into**2 * (SPREAD**2 + LEVELS**2), torch.ones(6).double())
    torch.testing.assert_close(((1 - skip) * SPREAD) ** 2 + (skip * LEVELS) ** 2, out**2)
    schedule = Exploding(0.003, 30.0)
    z, t = noisy(schedule, LEVELS, clean_cloud())
    found = denoiser(Says(), schedule)(z, t).x
    torch.testing.assert_close(found, ExactNormal(schedule, SPREAD)(z, t).x)


def test_without_noise_the_input_is_the_estimate_whatever_the_network_says():
    schedule, clean = Exploding(1e-6, 30.0), clean_cloud()
    z, t = noisy(schedule, torch.full((6,), 1e-6).double(), clean)
    found = denoiser(Says(x=3.0, h=3.0), schedule)(z, t)
    assert (found.x - z.x).abs().max() < 2e-5
    assert (found.h - clean.h).abs().max() < 1e-4


def test_where_noise_hides_all_a_silent_network_gives_the_mean():
    schedule = Exploding(0.003, 1e4)
    z, t = noisy(schedule, torch.full((6,), 1e4).double(), clean_cloud())
    found = denoiser(Says(), schedule)(z, t)
    assert found.x.abs().max() < 1e-3
    assert (found.h - z.mask * SCALE / 3).abs().max() < 1e-3


@pytest.mark.parametrize("schedule", [Polynomial(), Linear(), Exploding(1e-4, 100.0)], ids=lambda s: type(s).__name__)
def test_only_sigma_over_alpha_matters(schedule):
    """The same cloud on another scale of signal gives the same estimate, and the network sees the same."""
    levels = LEVELS.clamp(0.01, 20)
    clean, reference = clean_cloud(), Exploding(1e-3, 50.0)
    here, there = Says(0.5, 0.5), Says(0.5, 0.5)
    first, second = denoiser(here, reference), denoiser(there, schedule)
    (z, t), (other, u) = noisy(reference, levels, clean), noisy(schedule, levels, clean)
    found, again = first(z, t), second(other, u)
    torch.testing.assert_close(found.x, again.x)
    torch.testing.assert_close(found.h, again.h)
    torch.testing.assert_close(sigma_of(there.seen[1]), levels)
    torch.testing.assert_close(here.seen[0].x, there.seen[0].x)


def test_no_signal_at_all_is_no_division_by_zero():
    z = clean_cloud()
    found = denoiser(Says(0.1, 0.1), Linear())(z, torch.ones(6))
    assert found.x.isfinite().all() and found.h.isfinite().all()


class OtherAtom(Network):
    """For molecules of two like atoms: the context of an atom is what the other one says."""

    def forward(self, z, t):
        return replace(z, h=z.h.clamp_min(1e-30).log().flip(1))


def test_types_follow_bayes_on_two_atoms():
    """By hand: h = (h1, h2, ...) of an atom with type k has density exp(-|h - s e_k|^2 / 2 sigma^2)."""
    sigma, s = 0.2, SCALE
    h = torch.tensor([[[0.30, 0.05], [0.10, 0.20]]], dtype=torch.float64)
    z = Cloud(torch.zeros(1, 2, 3).double(), h, torch.ones(1, 2, 1).double())
    schedule = Exploding(1e-3, 30.0)
    t = schedule.time(torch.tensor([-2 * math.log(sigma)], dtype=torch.float64))

    def density(atom: int, kind: int) -> float:
        centre = torch.nn.functional.one_hot(torch.tensor(kind), 2) * s
        return math.exp(-float((h[0, atom] - centre).square().sum()) / (2 * sigma**2))

    # Independent atoms, both types equally likely.
    found = denoiser(Says(), schedule)(z, t).h[0] / s
    for atom in (0, 1):
        right = density(atom, 0) / (density(atom, 0) + density(atom, 1))
        assert float(found[atom, 0]) == pytest.approx(right, abs=1e-12)
    # Atoms that are always of one type: each knows what both say.
    together = [density(0, kind) * density(1, kind) for kind in (0, 1)]
    found = denoiser(OtherAtom(), schedule)(z, t).h[0] / s
    assert found[:, 0].tolist() == pytest.approx([together[0] / sum(together)] * 2, abs=1e-12)


def test_estimated_types_are_probabilities_and_padding_has_none():
    schedule = Exploding(0.003, 30.0)
    z, t = noisy(schedule, LEVELS, clean_cloud())
    found = denoiser(Says(1.0, 5.0), schedule)(z, t)
    torch.testing.assert_close(found.h.sum(-1, keepdim=True), SCALE * z.mask)
    assert (found.h >= 0).all() and found.h.isfinite().all()
