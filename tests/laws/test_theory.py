"""The theorems of SymDiff (Zhang et al. 2025) and TS (Tong et al. 2025) that the library rests on, as tests."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from coset.cloud import Cloud, squared_norm
from coset.codecs.identity import Identity
from coset.diffusion import Augmentation, Diffusion
from coset.gaussian import Gaussian, standard_normal
from coset.interfaces import Denoiser, Draw, Network, Schedule, Target
from coset.networks.outputs import FromNoise, FromVelocity
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight, VelocityWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample
from coset.scales import CENTRED, FREE, Subspace
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.checks import equivariance_in_law
from coset.symmetry.fisher import log_normalizer
from coset.symmetry.frames import HaarFrame
from coset.symmetry.groups import Rotations
from coset.symmetry.rotations import haar
from coset.symmetry.symmetrised import DrawAveraged, Symmetrised
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import random_cloud, repeated

FORMS: list[tuple[Schedule, Subspace]] = [
    (Cosine(), CENTRED), (Polynomial(), CENTRED), (Linear(), CENTRED), (Exploding(sigma_max=20.0), FREE),
]  # fmt: skip


class Lopsided(Denoiser):
    """Equivariant under nothing, and no function of z alone."""

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Cloud:
        later = t.to(z.x.dtype)[:, None, None]
        stretched = z.x * torch.tensor([1.6, 0.3, -0.8]).to(z.x) + 0.5 * torch.tanh(3 * z.x).roll(1, -1) * later
        return replace(z, x=(stretched + 0.2 * torch.linalg.cross(z.x, z.x.roll(1, 1))) * z.mask, h=0.5 * z.h)


class Perceptron(Network):
    """Positions of a few atoms and the time in, positions out; brings z to unit size by its schedule.

    mixing: sees distances too and adds sums over atoms of positions, which equivariant networks are made of; its own
    output, which also knows directions, keeps it from being one.
    """

    def __init__(self, schedule: Schedule, atoms: int, dimension: int = 3, mixing: bool = False) -> None:
        super().__init__()
        self.schedule, self.mixing, size, width = schedule, mixing, atoms * dimension, 64
        sizes = [size + 3 + mixing * atoms**2, width, width, width, size + mixing * atoms**2]
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.Sequential(*[part for layer in layers[:-1] for part in (layer, nn.SiLU())], layers[-1])

    def forward(self, z: Cloud, t: Tensor) -> Cloud:
        alpha, sigma = (level.to(z.x.dtype)[:, None] for level in self.schedule(t))
        x = z.x / (alpha**2 + sigma**2).sqrt()[..., None]
        level = torch.atan2(sigma, alpha)
        inputs = [x.flatten(1), level, level.square(), sigma.log() / 4]
        distances = [torch.cdist(x, x).flatten(1)] if self.mixing else []
        out = self.layers(torch.cat(inputs + distances, 1))
        size = x[0].numel()
        found = out[:, :size].view_as(x)
        return replace(z, x=found + out[:, size:].unflatten(1, (x.shape[1], -1)) @ x if self.mixing else found)


def drawn(x0: Cloud, process: Affine, t: Tensor, seed: int = 0) -> Draw:
    noise = Noise.from_seed(seed, torch.arange(len(x0)))
    eps = standard_normal(x0, noise, process.subspace)
    return Draw(x0, eps, process.noised(x0, t).at(eps), t, noise.fork(5))


# Symmetrisation and augmentation


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize(("schedule", "subspace"), FORMS, ids=str)
def test_a_uniform_pose_is_augmentation_with_the_noise_turned_along(schedule, subspace, reflections):
    """Proposition 3 of SymDiff, draw by draw: with gamma Haar the loss at (x0, eps) and pose R is the plain network's
    at (R^T x0, R^T eps)."""
    x0, process, denoiser = random_cloud([5, 7, 4]), Affine(schedule, subspace=subspace), Lopsided()
    objective = Denoising(NoiseWeight(schedule), plain, subspace=subspace)
    noise = Noise.from_seed(0, torch.arange(3))
    found = objective(process, Symmetrised(denoiser, HaarFrame(reflections)), x0, noise)
    t, eps = objective.times(noise.fork(0)), standard_normal(x0, noise.fork(1), subspace)
    back = HaarFrame(reflections)(x0, t, noise.fork(2)).mT
    turned = x0.rotate(back)
    error = squared_norm(turned - denoiser(process.noised(turned, t).at(eps.rotate(back)), t))
    assert torch.allclose(found, 0.5 * objective.weight(t) * error / (x0.count * 9))
    still = squared_norm(x0 - denoiser(process.noised(x0, t).at(eps), t))
    assert not torch.allclose(found, 0.5 * objective.weight(t) * still / (x0.count * 9), rtol=1e-2)


def test_their_objectives_are_equal_in_law():
    """The noise turned along is noise again: SymDiff-H and a plain network on turned data have one expected loss."""
    count, schedule = 40_000, Cosine()
    rod = random_cloud([5])
    rod = replace(rod, x=rod.x * torch.tensor([3.0, 0.1, 0.1]))
    x0, process = repeated(rod, count), Affine(schedule)
    objective = Denoising(lambda t: torch.ones_like(t), plain)

    def mean(denoiser: Denoiser, seed: int, augment: Augmentation | None = None) -> tuple[float, float]:
        noise = Noise.from_seed(seed, torch.arange(count))
        clean = x0 if augment is None else augment(x0, noise.fork(9))
        losses = objective(process, denoiser, clean, noise)
        return float(losses.mean()), float(losses.std()) / count**0.5

    symmetrised, error = mean(Symmetrised(Lopsided(), HaarFrame(reflections=False)), 0)
    augmented, other = mean(Lopsided(), 1, random_rotation)
    assert abs(symmetrised - augmented) < 4 * math.hypot(error, other)
    still, _ = mean(Lopsided(), 2)
    assert abs(symmetrised - still) > 10 * error


@pytest.mark.parametrize(("schedule", "subspace"), FORMS, ids=str)
def test_the_marginal_of_turned_data_is_the_turned_marginal(schedule, subspace):
    """Lemma 1 of SymDiff: noise and density go along with g, so that g q(z | x0) = q(. | g x0)."""
    x0, process = random_cloud([5, 7]), Affine(schedule, subspace=subspace)
    g = haar(Noise(torch.arange(2)))
    for time in (0.1, 0.5, 0.9):
        draw = drawn(x0, process, torch.full((2,), time, dtype=torch.float64))
        q, turned = process.noised(x0, draw.t), process.noised(x0.rotate(g), draw.t)
        assert torch.allclose(turned.at(draw.eps.rotate(g)).x, draw.z.rotate(g).x)
        assert torch.allclose(turned.log_prob(draw.z.rotate(g)), q.log_prob(draw.z))
        assert not torch.allclose(q.log_prob(draw.z.rotate(g)), q.log_prob(draw.z), rtol=1e-3)


def test_the_marginal_of_data_in_every_pose_is_invariant_and_known():
    """Its density at z is that of one pose without the cross term, times the matrix Fisher normaliser."""
    x0, process = random_cloud([5]), Affine(Cosine())
    draw = drawn(x0, process, torch.tensor([0.65], dtype=torch.float64))
    alpha, sigma = Cosine()(draw.t)

    def log_density(z: Cloud) -> Tensor:
        cross = (alpha / sigma**2)[:, None, None] * z.x.mT @ x0.x
        return process.noised(x0, draw.t).log_prob(z) - cross.diagonal(dim1=1, dim2=2).sum(1) + log_normalizer(cross)

    poses = haar(Noise.from_seed(1, torch.arange(200_000)), reflections=False)
    q = process.noised(repeated(x0, 200_000).rotate(poses), draw.t.expand(200_000))
    brute = q.log_prob(repeated(draw.z, 200_000)).logsumexp(0) - math.log(200_000)
    assert float(log_density(draw.z)) == pytest.approx(float(brute), abs=0.05)
    turned = draw.z.rotate(haar(Noise(torch.arange(1)), reflections=False))
    assert torch.allclose(log_density(turned), log_density(draw.z), atol=1e-10)


# The bound and what tightens it


def test_the_error_of_one_draw_bounds_that_of_the_mean_and_more_draws_tighten_it():
    """Jensen: E |x0 - D|^2 = |x0 - E D|^2 + Var D / K for the mean over K draws, the bound of SymDiff's section 3.3."""
    count, process = 20_000, Affine(Cosine())
    x0 = random_cloud([5])
    draw = drawn(x0, process, torch.full((1,), 0.5, dtype=torch.float64))
    random, t, z, clean = (
        Symmetrised(Lopsided(), HaarFrame()),
        draw.t.expand(count),
        repeated(draw.z, count),
        repeated(x0, count),
    )
    noise = Noise.from_seed(1, torch.arange(count))
    once = random(z, t, Noise.from_seed(2, torch.arange(count)))
    spread = float(squared_norm(once.map(lambda v: v - v.mean(0))).mean())
    mean = x0.map(lambda _, v: v.mean(0, keepdim=True), once)
    limit = float(squared_norm(mean - x0)) - spread / count
    means = []
    for draws in (1, 2, 8, 32):
        errors = squared_norm(DrawAveraged(random, draws)(z, t, noise) - clean)
        means.append(float(errors.mean()))
        tolerance = 5 * float(errors.std()) / count**0.5 + 0.01 * limit
        assert abs(means[-1] - limit - spread / draws) < tolerance
    assert means == sorted(means, reverse=True) and means[0] > 1.2 * limit


# Scores and velocities (SymDiff, appendix D)


@pytest.mark.parametrize(("schedule", "subspace"), FORMS, ids=str)
def test_scores_and_velocities_are_symmetrised_with_the_clean_estimate(schedule, subspace):
    """R s(R^T z) and R v(R^T z) are the score and the velocity of R D(R^T z): one wrapper serves all three forms."""
    process, noise = Affine(schedule, subspace=subspace), Noise(torch.arange(2))
    draw = drawn(random_cloud([5, 7]), process, torch.tensor([0.3, 0.8], dtype=torch.float64))
    pose = HaarFrame()(draw.z, draw.t, noise)

    def score(denoiser: Denoiser, z: Cloud) -> Cloud:
        return process.noised(denoiser(z, draw.t, noise), draw.t).score(z)

    def velocity(denoiser: Denoiser, z: Cloud) -> Cloud:
        return process.velocity(z, draw.t, denoiser(z, draw.t, noise))

    for form in (score, velocity):
        found = form(Symmetrised(Lopsided(), HaarFrame()), draw.z)
        assert torch.allclose(found.x, form(Lopsided(), draw.z.rotate(pose.mT)).rotate(pose).x)
        assert not torch.allclose(found.x, form(Lopsided(), draw.z).x, rtol=1e-2)


@pytest.mark.parametrize(("schedule", "subspace"), FORMS, ids=str)
def test_the_weighted_error_of_the_clean_estimate_is_that_of_score_and_velocity(schedule, subspace):
    """SNR |x0 - D|^2 = sigma^2 |score error|^2 (denoising score matching); for flow matching 1 / sigma^2 counts v."""
    process, clean = Affine(schedule, subspace=subspace), random_cloud([5, 7])
    clean = clean if subspace is CENTRED else replace(clean, x=(clean.x + 0.7) * clean.mask)
    draw = drawn(clean, process, torch.tensor([0.3, 0.8], dtype=torch.float64))
    estimate = Lopsided()(draw.z, draw.t)
    estimate = replace(estimate, x=subspace.project(estimate.x, clean.mask))
    error = squared_norm(clean - estimate)
    _, sigma = schedule(draw.t)
    scores = [process.noised(x, draw.t).score(draw.z) for x in (clean, estimate)]
    assert torch.allclose(NoiseWeight(schedule)(draw.t) * error, sigma**2 * squared_norm(scores[0] - scores[1]))
    if isinstance(schedule, Linear):
        straight = Affine(Linear(sigma_min=0.0))
        first, second = (straight.velocity(draw.z, draw.t, x) for x in (clean, estimate))
        weight = VelocityWeight(Linear(sigma_min=0.0))(draw.t)
        assert torch.allclose(weight * error, squared_norm(first - second))


TRIANGLE = torch.tensor([[0.0, 0.9, 0.0], [-1.1, -0.5, 0.0], [0.8, -0.4, 0.0]])


def trained(diffusion: Diffusion, positions: Tensor, steps: int, batch: int = 64, lr: float = 1e-2) -> Diffusion:
    data = repeated(Cloud(positions[None], positions[None, :, :0], torch.ones(1, len(positions), 1)).center(), batch)
    optimiser = torch.optim.Adam(diffusion.parameters(), lr=lr)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        diffusion(data, Noise.from_seed(0, step * batch + torch.arange(batch))).mean().backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimiser.step()
        rates.step()
    return diffusion


def misshapen(diffusion: Diffusion, positions: Tensor, count: int = 500, steps: int = 50) -> float:
    """Root mean squared error of the distances between atoms of samples."""
    like = repeated(Cloud(0 * positions[None], positions[None, :, :0], torch.ones(1, len(positions), 1)), count)
    drawn = sample(diffusion.with_eta(0.0), like, Noise.from_seed(5, torch.arange(count)), power_grid(steps))
    pairs = torch.triu_indices(len(positions), len(positions), 1)
    away = torch.cdist(drawn.x, drawn.x) - torch.cdist(positions[None], positions[None])
    return float(away[:, pairs[0], pairs[1]].square().mean().sqrt())


@pytest.mark.parametrize("form", ["score matching", "non-centred, variance exploding", "flow matching"])
def test_every_form_of_symmetrised_diffusion_trains_and_samples(form):
    """A triangle in 3D behind uniform poses; a plain perceptron, tiny."""
    schedule, subspace = {
        "score matching": (Cosine(precision=1e-3), CENTRED),
        "non-centred, variance exploding": (Exploding(sigma_min=0.01, sigma_max=10.0), FREE),
        "flow matching": (Linear(sigma_min=0.01), CENTRED),
    }[form]
    torch.manual_seed(0)
    outputs, weight = (FromVelocity, VelocityWeight) if form == "flow matching" else (FromNoise, NoiseWeight)
    denoiser = Symmetrised(outputs(Perceptron(schedule, 3, mixing=True), schedule), HaarFrame())
    diffusion = Diffusion(
        Identity(0.01, subspace=subspace), Affine(schedule, subspace=subspace), denoiser,
        Denoising(weight(schedule), plain, subspace=subspace),
    )  # fmt: skip
    before = misshapen(diffusion, TRIANGLE)
    after = misshapen(trained(diffusion, TRIANGLE, steps=350), TRIANGLE)
    assert after < 0.3 and after < 0.4 * before


# Stochastic equivariance of the whole sampler


class Started(Affine):
    """A chain that starts at a given cloud."""

    def __init__(self, schedule: Schedule, start: Cloud) -> None:
        super().__init__(schedule)
        self.start = start

    def prior(self, like: Cloud) -> Gaussian:
        return Gaussian.isotropic(self.start, torch.zeros(len(like)), CENTRED)


@pytest.mark.parametrize("symmetrised", [True, False])
def test_a_sampler_is_equivariant_in_law_if_its_denoiser_is(symmetrised):
    """Chains from z and from Q z end at molecules of one law, turned by Q: all steps, all noise, the last call too."""
    schedule = Linear(sigma_min=0.01)
    denoiser = Symmetrised(Lopsided(), HaarFrame()) if symmetrised else Lopsided()

    def chain(z: Cloud, noise: Noise) -> Cloud:
        diffusion = Diffusion(Identity(0.01, z.h.shape[-1]), Started(schedule, z), denoiser, lambda *_: torch.zeros(1))
        return sample(diffusion, z, noise, power_grid(8))

    found = equivariance_in_law(chain, random_cloud([4], features=2, dtype=torch.float32), draws=4096)
    assert (found.rms < 1.4 and found.largest < 4.5) if symmetrised else found.rms > 3


# Symmetrised targets and plain networks


@pytest.mark.parametrize(
    ("target", "augmented"), [(plain, False), (OrbitMean(Rotations()), False), (OrbitMean(Rotations()), True)]
)
def test_plain_networks_need_turned_data_with_symmetrised_targets(target: Target, augmented: bool):
    """Without turns the network never meets the poses that its own sampler walks into (TS, B.3)."""
    points = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [0.5, 0.0], [1.0, 0.0]])
    schedule = Linear(sigma_min=0.01)

    def turned(x0: Cloud, noise: Noise) -> Cloud:
        return Rotations().sample(x0, noise).act(x0)

    torch.manual_seed(0)
    diffusion = Diffusion(
        Identity(0.01), Affine(schedule), FromVelocity(Perceptron(schedule, 4, 2), schedule),
        Denoising(VelocityWeight(schedule), target), turned if augmented else None,
    )  # fmt: skip
    error = misshapen(trained(diffusion, points, steps=700), points)
    fails = target is not plain and not augmented
    assert error > 0.2 if fails else error < 0.12
