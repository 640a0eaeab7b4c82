"""Laws of solvers and grids: their order, known ends, the laws of what they leave random."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from coset.cloud import Cloud
from coset.codecs.identity import Identity
from coset.diffusion import Diffusion
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import karras_grid, log_snr_grid, power_grid
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.solvers import SOLVERS, Ancestral, Churned, Heun, Multistep, Phases, Solver, WithEta
from coset.scales import CENTRED
from coset.symmetry.targets import plain
from example_clouds import ExactNormal, Known, random_cloud

SPREAD = 0.7
SCHEDULES = [Polynomial(), Cosine(), Linear(sigma_min=0.01), Exploding(0.01, 20.0)]


def composed(schedule, denoiser: Denoiser, eta: float = 0.0) -> Diffusion:
    process = Affine(schedule, eta)
    return Diffusion(Identity(3), process, denoiser, Denoising(NoiseWeight(schedule), plain))


def flow_error(schedule, solver: Solver, steps: int) -> float:
    """How far the end of the deterministic chain is from the exact probability flow, relative to it.

    Normal data stay normal: the flow scales z by the ratio of the deviations at its ends.
    """
    like, noise = random_cloud([5, 4], features=3), Noise(torch.arange(2))
    diffusion, times = composed(schedule, ExactNormal(schedule, SPREAD)), karras_grid(schedule, steps)
    z = start = diffusion.process.prior(like).sample(noise.fork(0))
    levels, memory = times[:, None].expand(-1, 2), None
    for t, s in pairwise(levels):
        z, memory = solver.step(diffusion.process, diffusion.denoiser, z, t, s, memory, noise)
    ends = [(alpha**2 * SPREAD**2 + sigma**2).sqrt() for alpha, sigma in map(schedule, (levels[0], levels[-1]))]
    exact = start.scale(ends[1] / ends[0])
    return float((z.x - exact.x).norm() / exact.x.norm())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_orders_of_the_solvers(schedule):
    """Twice the steps: half the error of first order, a quarter of second order."""
    for solver, least, most in ((Ancestral(), 1.7, 2.4), (Multistep(), 3.2, 5.0), (Heun(), 3.2, 5.0)):
        ratio = flow_error(schedule, solver, 40) / flow_error(schedule, solver, 80)
        assert least < ratio < most, type(solver).__name__
    assert flow_error(schedule, Multistep(), 40) < 0.3 * flow_error(schedule, Ancestral(), 40)


@pytest.mark.parametrize("solver", [Ancestral(), Multistep(), Heun(), Churned(Heun(), 1.3)], ids=str)
@pytest.mark.parametrize("schedule", [*SCHEDULES, Linear(sigma_min=0.0)], ids=str)
def test_who_knows_the_answer_reaches_it_however_few_the_steps(schedule, solver):
    clean = random_cloud([5, 3], features=3)
    for steps in (1, 2, 7):
        found = sample(
            composed(schedule, Known(clean)), clean, Noise(torch.arange(2)), power_grid(steps), solver=solver
        )
        assert torch.allclose(found.x, clean.x) and torch.allclose(found.h, clean.h)


@pytest.mark.parametrize(
    ("solver", "error"), [(Churned(Ancestral(), 1.1), 0.12), (Churned(Heun(), 1.1), 0.04)], ids=str
)
def test_churn_keeps_the_law_of_the_data(solver, error):
    """With the exact denoiser the variance is that of the data but for the error of the steps, which are longer."""
    schedule, molecules = Cosine(), 4000
    like = random_cloud([3], features=3)
    like = Cloud(*(getattr(like, name).expand(molecules, -1, -1) for name in ("x", "h", "mask")))
    noise = Noise.from_seed(0, torch.arange(molecules))
    diffusion = composed(schedule, ExactNormal(schedule, SPREAD))
    found = sample(diffusion, like, noise, karras_grid(schedule, 120), solver=solver)
    assert float(found.h.var()) == pytest.approx(SPREAD**2, rel=error)
    assert float(found.x.square().sum((1, 2)).mean()) == pytest.approx(6 * SPREAD**2, rel=error)


def test_churn_changes_the_molecules_and_no_step_outside_its_range():
    schedule, like = Cosine(), random_cloud([4], features=3)
    diffusion, noise, grid = (
        composed(schedule, ExactNormal(schedule, SPREAD)),
        Noise(torch.arange(1)),
        karras_grid(schedule, 20),
    )
    still = sample(diffusion, like, noise, grid)
    assert not torch.allclose(sample(diffusion, like, noise, grid, solver=Churned(Ancestral(), 1.4)).x, still.x)
    beyond = Churned(Ancestral(), 1.4, low=1e4, high=1e5)
    assert torch.equal(sample(diffusion, like, noise, grid, solver=beyond).x, still.x)
    with pytest.raises(ValueError, match="factor of at least 1"):
        Churned(Ancestral(), 0.9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_going_on_from_the_middle_is_the_same_noising(schedule):
    """q(z_later | z_t) after q(z_t | x0) is q(z_later | x0): mean and variance, exactly; at once it is nothing."""
    process, x0 = Affine(schedule), random_cloud([4, 6])
    t, later = torch.tensor([0.2, 0.5]).double(), torch.tensor([0.6, 0.9]).double()
    middle, end = process.noised(x0, t), process.noised(x0, later)
    onward = process.onward(middle.mean, t, later)
    assert torch.allclose(onward.mean.x, end.mean.x)
    keep = onward.mean.x.norm(dim=(1, 2)) / middle.mean.x.norm(dim=(1, 2))
    total = onward.x_scale.std**2 + (keep * middle.x_scale.std) ** 2  # type: ignore[union-attr]
    assert torch.allclose(total, end.x_scale.std**2)  # type: ignore[union-attr]
    z = middle.at(standard_normal(x0, Noise(torch.arange(2)), CENTRED))
    assert torch.equal(process.onward(z, t, t).sample(Noise(torch.arange(2))).x, z.x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_grids_lead_from_noise_to_data_at_the_distances_they_say(schedule):
    for grid in (karras_grid(schedule, 30), log_snr_grid(schedule, 30)):
        assert len(grid) == 31 and grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()
    inner = slice(1, -1)  # the first step takes what lies above `most`
    ratio = (-0.5 * schedule.log_snr(karras_grid(schedule, 30))).exp()[inner] ** (1 / 7)
    assert torch.allclose(ratio.diff(), ratio.diff().mean().expand(len(ratio) - 1), rtol=1e-4)
    gaps = schedule.log_snr(log_snr_grid(schedule, 30))[inner].diff()
    assert torch.allclose(gaps, gaps.mean().expand(len(gaps)), rtol=1e-4)


def test_grids_that_cannot_be():
    for grid in (karras_grid, log_snr_grid):
        with pytest.raises(ValueError, match="at least 1 step"):
            grid(Cosine(), 0)
        with pytest.raises(ValueError, match="needs noise at t = 0"):
            grid(Linear(sigma_min=0.0), 5)
    with pytest.raises(ValueError, match="rho must be positive"):
        karras_grid(Cosine(), 5, rho=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("solver", "euler"),
        ("grid", "even"),
        ("churn", 0.5),
        ("churn", float("nan")),
        ("churn", 1e9),
        ("late", 0.0),
        ("late", -1.0),
    ],
)
def test_names_and_numbers_that_cannot_be_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option}.*{value}"):
        Sampling(**{option: value})


def test_churn_and_memory_do_not_go_together():
    with pytest.raises(ValueError, match="churn makes multistep forget"):
        Sampling(solver="multistep", churn=1.2)


def test_late_steps_are_ancestral_and_the_others_are_not():
    """Above the change the chain is DDIM's, from there on each step is a draw of the reverse process."""
    schedule = Exploding(0.01, 10.0)
    diffusion = composed(schedule, ExactNormal(schedule, 1.0))
    change = float(schedule.time(torch.tensor([-2 * math.log(0.5)]).double()))
    phases = Phases(SOLVERS["ancestral"], WithEta(SOLVERS["ancestral"], 1.0), change)
    assert phases.at(change + 1e-6) is phases.early and phases.at(change) is phases.late
    times, noise, like = karras_grid(schedule, 12), Noise(torch.arange(3)), empty_cloud(torch.tensor([4] * 3), 3)
    whole = [sample(diffusion.with_eta(eta), like, noise, times).x for eta in (0.0, 1.0)]
    never = replace(phases, change=-1.0)
    assert torch.equal(sample(diffusion.with_eta(0), like, noise, times, solver=never).x, whole[0])
    assert torch.equal(
        sample(diffusion.with_eta(0), like, noise, times, solver=replace(phases, change=1.0)).x, whole[1]
    )
    mixed = sample(diffusion.with_eta(0), like, noise, times, solver=phases).x
    assert not any(torch.equal(mixed, each) for each in whole)


def test_the_late_phase_is_an_option_in_angstrom():
    from coset.model import load

    model = load("qm9")
    options = {"steps": 6, "atoms": 5, "solver": "multistep", "grid": "karras"}
    never, some, all_of_it = (
        model.sample(2, late=late, **options)[0].positions
        for late in (None, 0.3, 1e6)  # type: ignore[arg-type]
    )
    assert abs(never - some).max() > 1e-3 and abs(some - all_of_it).max() > 1e-3
    ancestral = model.sample(2, **{**options, "solver": "ancestral"})[0].positions
    assert abs(all_of_it - ancestral).max() < 1e-5


@pytest.mark.parametrize("solver", ["ancestral", "multistep", "heun"])
def test_the_work_is_told_as_it_is_done(solver):
    """Progress adds up to the molecules, whatever a step costs; second-order solvers are deterministic by default."""
    from coset.model import load

    model, done = load("qm9"), []
    sampling = Sampling(steps=3, atoms=5, solver=solver, grid="karras")
    generator = Generator(model.diffusion, model.vocabulary, model.sizes, sampling, done.append)
    assert len(list(generator.draw(0, torch.arange(4)))) == 4
    assert sum(done) == pytest.approx(4) and sampling.randomness == float(solver == "ancestral")
    assert replace(sampling, eta=0.3).randomness == 0.3
