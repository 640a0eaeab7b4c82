"""Laws of the likelihood: exact denoisers reach the entropy, published terms, mixtures tighten."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from coset.cloud import Cloud, squared_norm
from coset.codecs.features import Features
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromNoise, FromVelocity
from coset.noise import Noise
from coset.objectives.bound import Bound, ContinuousSteps, EqualSteps
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Linear, Polynomial
from coset.scales import CENTRED
from example_clouds import alone, awake, padded, random_cloud, repeated, small_molecules

SPREAD, TYPES = 1.3, 3
SCHEDULES = [Polynomial(), Cosine(), Linear(sigma_min=0.003)]


class Exact(Denoiser):
    """E[x0 | z] of molecules with normal positions and types drawn evenly, as `Features` encodes them."""

    def __init__(self, schedule, scale_x: float, spread: float = SPREAD) -> None:
        super().__init__()
        self.schedule, self.spread = schedule, spread / scale_x

    def forward(self, z, t, noise=None):
        alpha, sigma = (level.to(z.x.dtype)[:, None, None] for level in self.schedule(t))
        keep = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
        types = (alpha * z.h / (4 * sigma**2)).softmax(-1) / 4
        return replace(z, x=keep * z.x, h=types * z.mask)


def toy_data(molecules: int) -> Cloud:
    cloud = random_cloud([3, 5] * (molecules // 2), TYPES)
    kinds = torch.nn.functional.one_hot(cloud.h.argmax(-1), TYPES) * cloud.mask
    return replace(cloud, x=SPREAD * cloud.x, h=kinds)


def codec(schedule, scale_x: float = 1.0, types: int = TYPES, charge: bool = False) -> Features:
    alpha, sigma = schedule(torch.zeros(1, dtype=torch.float64))
    return Features(types, float(sigma / alpha), charge, scale_x)


def gap(schedule, steps, scale_x=1.0, spread=SPREAD, molecules=100_000) -> tuple[float, float]:
    """Mean of bound minus the true -log p over molecules, and its standard error."""
    clean = toy_data(molecules)
    place = (torch.arange(molecules, dtype=torch.float64) + 0.5) / molecules
    place = place[torch.randperm(molecules, generator=torch.Generator().manual_seed(0))]
    noise = Noise.from_seed(0, torch.arange(molecules))
    denoiser = Exact(schedule, scale_x, spread)
    terms = Bound(steps)(codec(schedule, scale_x), Affine(schedule), denoiser, clean, noise, place)
    free = 3 * (clean.count - 1)
    true = clean.x.square().sum((1, 2)) / (2 * SPREAD**2) + free * math.log(SPREAD * math.sqrt(2 * math.pi))
    away = terms.total - true - clean.count * math.log(TYPES)
    return float(away.mean()), float(away.std()) / math.sqrt(molecules)


@pytest.mark.parametrize("scale_x", [1.0, 2.5])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_in_continuous_time_an_exact_denoiser_s_bound_is_the_likelihood(schedule, scale_x):
    """Whatever the schedule and the scale of the encoded positions: the change of volume is counted."""
    found, error = gap(schedule, ContinuousSteps(schedule), scale_x)
    assert error < 0.3 and abs(found) < 4 * error


def test_a_wrong_denoiser_s_bound_is_above():
    found, error = gap(SCHEDULES[0], ContinuousSteps(SCHEDULES[0]), spread=0.5 * SPREAD)
    assert found > 8 * error


def test_more_steps_tighten_the_bound():
    schedule = SCHEDULES[0]
    gaps = [gap(schedule, EqualSteps(count), molecules=10_000) for count in (1, 10, 100, 1000)]
    for (loose, error), (tight, _) in pairwise(gaps):
        assert loose > tight + 2 * error


@pytest.fixture(scope="module")
def network() -> EGNN:
    torch.manual_seed(0)
    return awake(EGNN(6, 16, 2)).double()  # type: ignore[return-value]


def test_every_term_is_the_published_one(network):
    """Hoogeboom et al. 2022: T/2 (SNR(s)/SNR(t) - 1) |eps - eps_hat|^2, and L_0 with its constants."""
    schedule, count = Polynomial(), 1000
    process, denoiser, clean = Affine(schedule), FromNoise(network, schedule), small_molecules().to(torch.float64)
    features, noise = codec(schedule, types=5, charge=True), Noise(torch.arange(4))
    step = torch.tensor([1, 300, 700, 1000], dtype=torch.float64)
    terms = Bound(EqualSteps(count))(features, process, denoiser, clean, noise, (step - 0.5) / count)
    x0, t, s = features.encode(clean), step / count, (step - 1) / count

    def errors(at, stream):
        eps = standard_normal(x0, noise.fork(stream), CENTRED)
        return eps - network(process.noised(x0, at).at(eps), at)

    ratio = (schedule.log_snr(s) - schedule.log_snr(t)).expm1()
    assert torch.allclose(terms.steps, count * 0.5 * ratio * squared_norm(errors(t, 2)), rtol=1e-7)

    zero, free = torch.zeros_like(t), 3 * (clean.count - 1)
    alpha, sigma = schedule(torch.ones(1, dtype=torch.float64))
    parts = [(x0.x.square().sum((1, 2)), free), (x0.h.square().sum((1, 2)), 6 * clean.count)]
    prior = sum(0.5 * (alpha**2 * size + width * (sigma**2 - 1 - 2 * sigma.log())) for size, width in parts)
    assert torch.allclose(terms.prior, prior, rtol=1e-6)

    gamma = -schedule.log_snr(zero)
    l0 = free * (0.5 * gamma + 0.5 * math.log(2 * math.pi)) + 0.5 * errors(zero, 4).x.square().sum((1, 2))
    # Types and charges are certain at this noise: what is left is the floor of 1e-10 in their probabilities.
    assert torch.allclose(terms.output, l0, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_company_padding_and_precision_change_no_likelihood(network, schedule):
    denoiser, clean = FromVelocity(network, schedule), small_molecules().to(torch.float64)
    noise = Noise(torch.arange(4))

    def bound(cloud, noise, denoiser=denoiser):
        features = codec(schedule, types=5, charge=True)
        return Bound(EqualSteps(50))(features, Affine(schedule), denoiser, cloud, noise).total

    whole = bound(clean, noise)
    assert torch.allclose(bound(padded(clean, 3), noise), whole, rtol=1e-10)
    assert torch.allclose(bound(alone(clean, 2), Noise(noise.seeds[2:3])), whole[2:3], rtol=1e-10)
    narrow = FromVelocity(EGNN(6, 16, 2), schedule)
    narrow.load_state_dict(denoiser.state_dict())
    assert torch.allclose(bound(clean.to(torch.float32), noise, narrow), whole, rtol=1e-4)


class TwoMinds(Denoiser):
    """Errs by half an Angstrom to one side or the other: by chance, in turn, or not at all."""

    def __init__(self, answer: Cloud, mood: str) -> None:
        super().__init__()
        self.answer, self.mood, self.calls = answer, mood, 0

    def forward(self, z, t, noise=None):
        self.calls += 1
        error = torch.zeros_like(self.answer.x)
        error[:, 0, 0], error[:, 1, 0] = 1.0, -1.0
        if self.mood == "random":
            assert noise is not None
            return replace(z, x=self.answer.x + error * noise.uniform(1, 1).round(), h=self.answer.h) - replace(
                z, x=0.5 * error, h=0 * z.h
            )
        sign = {"in turn": self.calls % 2 - 0.5, "calm": 0.0}[self.mood]
        return replace(z, x=self.answer.x + sign * error, h=self.answer.h)


def steps_of(mood: str, draws: int, steps, place: float) -> tuple[float, float]:
    schedule, molecules = Polynomial(), 4000
    clean = repeated(random_cloud([4], TYPES), molecules)
    features = codec(schedule)
    denoiser, noise = TwoMinds(features.encode(clean), mood), Noise.from_seed(3, torch.arange(molecules))
    places = torch.full((molecules,), place, dtype=torch.float64)
    found = Bound(steps, draws)(features, Affine(schedule), denoiser, clean, noise, places).steps
    return float(found.mean()), float(found.std()) / math.sqrt(molecules)


def test_draws_tighten_the_bound_of_a_random_denoiser_to_that_of_its_mixture():
    """One draw gives the bound of the loss, many that of the mixture of all draws, which is enumerated here."""
    place = 0.3
    means, errors = zip(*(steps_of("random", draws, EqualSteps(10), place) for draws in (1, 4, 64)), strict=True)
    assert errors[0] == pytest.approx(0, abs=1e-9 * means[0])  # both errors cost the same, and one draw has no noise
    exact, error = steps_of("in turn", 2, EqualSteps(10), place)
    assert means[0] > means[1] + 4 * errors[1] > means[2] + 4 * errors[2]
    assert abs(means[2] - exact) < 4 * (errors[2] + error) + (means[0] - exact) / 64
    assert means[0] > 1.2 * exact


def test_in_continuous_time_the_mixture_is_the_mean_denoiser():
    steps = ContinuousSteps(Polynomial())
    calm, _ = steps_of("calm", 1, steps, 0.5)
    single, _ = steps_of("in turn", 1, steps, 0.5)
    both, error = steps_of("in turn", 2, steps, 0.5)
    assert calm == pytest.approx(0, abs=1e-6) and single > 1
    assert abs(both) < 4 * error + 1e-3 * single


def test_chains_cover_the_whole_of_time():
    place = torch.tensor([0.0, 1 - 1e-9], dtype=torch.float64)
    for schedule in SCHEDULES:
        for steps in (EqualSteps(7), ContinuousSteps(schedule), ContinuousSteps(schedule, count=5)):
            t, s = steps(place)
            assert abs(float(s[0])) < 1e-6 and float(t[1]) == 1 and bool((s < t).all())
        inner = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.9
        chain = ContinuousSteps(schedule, count=20)
        t, s = chain(inner)[0], chain(inner + 1 / 20)[1]
        assert torch.allclose(t, s, atol=1e-12)  # where one step ends the next begins


def test_schedules_without_noise_at_the_end_have_no_likelihood():
    with pytest.raises(ValueError, match="noise at t = 0"):
        ContinuousSteps(Linear(sigma_min=0.0))(torch.zeros(1))
