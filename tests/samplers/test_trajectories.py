"""Laws of path shapes, and of the paths that are measured: along a process, and down its probability flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud
from coset.codecs.identity import Identity
from coset.diffusion import Diffusion
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser, Process, Schedule
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.neural import DirectDrift, Neural
from coset.processes.schedules import Cosine, Exploding, Geometric, Linear, LinearLogSNR, Polynomial
from coset.processes.spreads import Matrix
from coset.processes.steps import Renewal
from coset.processes.transforms import Fixed, Learned, channels
from coset.processes.volatility import OfSchedule
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample
from coset.samplers.solvers import Heun, Phases
from coset.samplers.trajectories import PathShape, noising_path, path_shape, sampling_path
from coset.symmetry.rotations import haar
from coset.symmetry.targets import plain
from example_clouds import ExactNormal, Known, padded, random_cloud
from example_fields import SmallField

CLOCK = LinearLogSNR()
RISING = torch.linspace(0, 1, 401, dtype=torch.float64)


def composed(process: Process, denoiser: Denoiser) -> Diffusion:
    return Diffusion(Identity(3), process, denoiser, Denoising(NoiseWeight(Cosine()), plain))


def learned(schedule: Schedule = CLOCK) -> Neural:
    spread = Matrix()
    field = SmallField(3, *channels(spread, 3))
    return Neural(Learned(field, schedule, spread), OfSchedule(CLOCK), Renewal(CLOCK))


def curve(points: Tensor) -> Tensor:
    """Points (k, 3) as the path of a molecule of one atom."""
    return points.double()[:, None, None]


def arc(angle: float, points: int, atoms: int = 1) -> Tensor:
    turned = torch.linspace(0, angle, points, dtype=torch.float64)
    return curve(torch.stack([turned.cos(), turned.sin(), 0 * turned], 1)).expand(-1, -1, atoms, -1)


def wandering(points: int = 30) -> Tensor:
    """Paths of two molecules of 4 atoms."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(points, 2, 4, 3, generator=generator, dtype=torch.float64).cumsum(0)


def even(points: Tensor) -> Tensor:
    return torch.linspace(0, 1, len(points), dtype=torch.float64)


def scale_free(shape: PathShape) -> Tensor:
    return torch.stack([shape.straightness, shape.turning, shape.excess])


def test_a_straight_line_is_straight_and_has_no_excess_at_constant_speed_alone():
    line, times = torch.outer(even(RISING), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)), even(RISING)
    shape = path_shape(curve(line), times)
    assert torch.allclose(scale_free(shape), torch.tensor([[1.0], [0], [0]], dtype=torch.float64), atol=1e-12)
    # x = t^2: int (2 t)^2 dt = 4 / 3, and the line at constant speed has 1.
    late = path_shape(curve(line * times[:, None]), times)
    assert torch.allclose(late.straightness, torch.ones_like(late.chord)) and float(late.turning) < 1e-6
    assert float(late.excess) == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize("atoms", [1, 5])
def test_half_a_circle(atoms):
    points = arc(math.pi, 2001, atoms)
    shape = path_shape(points, even(points))
    assert float(shape.straightness) == pytest.approx(2 / math.pi, abs=1e-5)
    assert float(shape.turning) == pytest.approx(math.pi, abs=2e-3)
    assert float(shape.excess) == pytest.approx(math.pi**2 / 4 - 1, abs=1e-4)
    # All atoms move as one: the path is as long as the root of their number says.
    assert float(shape.length) == pytest.approx(math.pi * math.sqrt(atoms), rel=1e-5)


def test_there_and_back_and_once_around():
    back = path_shape(curve(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]])), torch.arange(3.0))
    assert float(back.turning) == pytest.approx(math.pi) and float(back.straightness) == 0 and math.isinf(back.excess)
    around = arc(2 * math.pi, 101)
    assert float(path_shape(around, even(around)).straightness) == pytest.approx(0, abs=1e-12)


def test_pose_place_unit_direction_order_and_padding_change_nothing():
    points, times = wandering(), even(wandering())
    expected = scale_free(path_shape(points, times))
    pose = haar(Noise.from_seed(0, torch.arange(2)), reflections=True).double()
    moved = 3.7 * (points @ pose.mT) + torch.tensor([1.0, 2.0, 3.0])
    for same, at in (
        (moved, 5 * times - 1),
        (points.flip(0), times.flip(0)),
        (points[:, :, [2, 0, 3, 1]], times),
        (torch.nn.functional.pad(points, (0, 0, 0, 3)), times),
    ):
        assert torch.allclose(scale_free(path_shape(same, at)), expected, rtol=1e-12)


def test_another_clock_changes_the_excess_alone():
    points, times = wandering(), even(wandering())
    one, other = path_shape(points, times), path_shape(points, times**3)
    assert torch.equal(one.straightness, other.straightness) and torch.equal(one.turning, other.turning)
    assert bool((other.excess > one.excess + 0.1).all())


def test_points_on_a_segment_and_points_that_stay_change_no_length_and_no_angle():
    points, times = wandering(), even(wandering())
    between = torch.stack([points[:-1], 0.3 * points[1:] + 0.7 * points[:-1]], 1).flatten(0, 1)
    for longer in (torch.cat([between, points[-1:]]), points.repeat_interleave(2, 0)):
        shape, expected = path_shape(longer, even(longer)), path_shape(points, times)
        assert torch.allclose(shape.turning, expected.turning, atol=1e-6)
        assert torch.allclose(shape.length, expected.length)


def test_no_path_is_shorter_than_its_chord_and_stays_are_straight():
    shape = path_shape(wandering(), even(wandering()))
    assert bool((shape.straightness < 1).all() and (shape.excess > shape.straightness**-2 - 1).all())
    still = path_shape(torch.ones(4, 2, 3, 3), torch.arange(4.0))
    assert scale_free(still).tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("at", [0, 3, 1])
@pytest.mark.parametrize("kept", [2, 30])
def test_an_undefined_molecule_leaves_the_others_theirs(at, kept):
    points = wandering()[:kept].clone()
    expected = scale_free(path_shape(points, even(points)))
    points[min(at, kept - 1), 0, 2, 1] = float("nan")
    found = scale_free(path_shape(points, even(points)))
    assert bool(found[:, 0].isnan().all()) and torch.equal(found[:, 1], expected[:, 1])


@pytest.mark.parametrize("times", [[0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
def test_paths_that_are_none_are_refused(times):
    with pytest.raises(ValueError, match="two points or more with rising or falling times") as refused:
        path_shape(torch.zeros(len(times), 2, 4, 3), torch.tensor(times))
    assert f"got {len(times)} points and the times {times}" in str(refused.value)


def test_a_path_without_a_time_for_each_point_is_refused(misshapen_is_refused):
    with misshapen_is_refused("two points or more with rising or falling times") as refused:
        path_shape(torch.zeros(3, 2, 4, 3), torch.tensor([0.0, 1.0]))
    found = str(refused.value)
    assert "got 3 points and the times [0.0, 1.0]" in found or "Type-check error" in found


def test_affine_paths_are_what_their_schedules_say():
    """Flow matching's are straight, at constant speed; those of a circle of alpha and sigma are a quarter of one."""
    x0, noise = random_cloud([5, 4], features=3), Noise(torch.arange(2))
    points = noising_path(Affine(Linear(sigma_min=0.0)), x0, noise, RISING)
    straight = torch.tensor([[1.0] * 2, [0.0] * 2, [0.0] * 2], dtype=torch.float64)
    assert torch.allclose(scale_free(path_shape(points, RISING)), straight, atol=1e-6)

    eps = standard_normal(x0, noise, Affine(Cosine()).subspace)
    across = x0.x - eps.x * (((x0.x * eps.x).sum((1, 2))) / eps.x.square().sum((1, 2)))[:, None, None]
    length = (eps.x.square().sum((1, 2)) / across.square().sum((1, 2))).sqrt()[:, None, None]
    orthogonal = Cloud(across * length, x0.h, x0.mask)
    shape = path_shape(noising_path(Affine(Cosine()), orthogonal, noise, RISING), RISING)
    first, last = (math.atan2(sigma, alpha) for alpha, sigma in zip(*Cosine()(RISING[[0, -1]]), strict=True))
    angle = last - first  # a quarter turn but for what the schedule keeps at both ends
    expected = torch.full_like(shape.chord, 2 * math.sin(angle / 2) / angle)
    assert angle == pytest.approx(math.pi / 2, rel=0.01)
    assert torch.allclose(shape.straightness, expected, atol=1e-5)
    assert torch.allclose(shape.turning, torch.full_like(shape.chord, angle), rtol=5e-3)


def test_a_path_holds_one_eps_from_its_beginning_to_its_end():
    x0, noise = random_cloud([5, 4], features=3), Noise(torch.arange(2))
    for process in (Affine(Polynomial()), learned(), DirectDrift(learned(), Fixed(CLOCK))):
        eps = standard_normal(x0, noise, Affine(Polynomial()).subspace)
        points = noising_path(process, x0, noise, RISING[::100])
        for t, x in zip(RISING[::100], points, strict=True):
            assert torch.equal(x, process.noised(x0, t.repeat(2)).at(eps).x)


def test_turning_and_excess_are_integrals_of_the_paths_derivatives():
    """Curvature |x'' across x'| / |x'|^2 over the length |x'| dt, from the process's own derivatives."""
    process, x0, noise = learned(Linear(0.2)), random_cloud([5, 3], features=3), Noise(torch.arange(2))
    eps = standard_normal(x0, noise, Affine(Cosine()).subspace)
    turning, energy = torch.zeros(2).double(), torch.zeros(2).double()
    for t in (torch.arange(60).double() + 0.5) / 60:
        path = process.path(x0, t.repeat(2), order=2)
        assert path.acceleration is not None
        v, a = path.velocity(eps).x.flatten(1), path.acceleration.at(eps).x.flatten(1)
        across = a - v * ((v * a).sum(1) / v.square().sum(1))[:, None]
        turning += across.norm(dim=1) / v.norm(dim=1) / 60
        energy += v.square().sum(1) / 60
    shape = path_shape(noising_path(process, x0, noise, RISING), RISING)
    assert bool((turning > 0.1).all())
    assert torch.allclose(shape.turning, turning, rtol=5e-3)
    assert torch.allclose(shape.excess, energy / shape.chord.square() - 1, rtol=5e-3)


@pytest.mark.parametrize(
    "process", [Affine(Polynomial()), Affine(Exploding(0.01, 20.0)), Neural(Fixed(Geometric(0.01)), OfSchedule(CLOCK))]
)
def test_a_sampled_path_runs_from_the_prior_to_what_is_sampled(process):
    like, noise, times = random_cloud([5, 4], features=3), Noise(torch.arange(2)), power_grid(20)
    diffusion = composed(process, ExactNormal(Cosine(), 0.7))
    points, clean = sampling_path(diffusion, like, noise, times)
    assert points.shape == (21, 2, 5, 3)
    assert torch.equal(points[0], process.prior(like).sample(noise.fork(0)).x)
    assert torch.equal(clean.x, sample(diffusion.with_eta(0.0), like, noise, times).x)
    last = diffusion.denoiser(Cloud(points[-1], like.h, like.mask), torch.zeros(2).double())
    assert torch.allclose(clean.x, last.x)


@pytest.mark.parametrize("process", [Affine(Polynomial()), Affine(Linear(0.01)), learned()], ids=["vp", "flow", "own"])
def test_who_knows_the_answer_walks_the_noising_path_back(process):
    clean, noise, times = random_cloud([5, 4], features=3), Noise(torch.arange(2)), power_grid(12)
    points, _ = sampling_path(composed(process, Known(clean)), clean, noise, times)
    first = process.prior(clean).sample(noise.fork(0))
    eps = process.noised(clean, times[:1].repeat(2)).whiten(first)
    for t, x in zip(times, points, strict=True):
        assert torch.allclose(x, process.noised(clean, t.repeat(2)).at(eps).x, atol=1e-6)


def test_normal_data_flow_along_rays():
    schedule, like = Polynomial(), random_cloud([5, 4], features=3)
    diffusion = composed(Affine(schedule), ExactNormal(schedule, 0.7))
    for solver in (None, Heun(), Phases(Heun(), Heun(), 0.5)):
        points, _ = sampling_path(diffusion, like, Noise(torch.arange(2)), power_grid(50), solver)
        shape = path_shape(points, power_grid(50))
        assert torch.allclose(shape.straightness, torch.ones_like(shape.chord)) and float(shape.turning.max()) < 1e-5


def test_padding_changes_no_path():
    like, noise, times = random_cloud([5, 4], features=3), Noise(torch.arange(2)), power_grid(6)
    diffusion = composed(learned(), ExactNormal(Cosine(), 0.7))
    points, _ = sampling_path(diffusion, like, noise, times)
    more, _ = sampling_path(diffusion, padded(like, 2), noise, times)
    assert torch.allclose(scale_free(path_shape(more, times)), scale_free(path_shape(points, times)))


def test_a_direct_drift_has_no_deterministic_path():
    like = random_cloud([4], features=3)
    diffusion = composed(DirectDrift(learned(), Fixed(CLOCK)), Known(like))
    with pytest.raises(ValueError, match="no eta"):
        sampling_path(diffusion, like, Noise(torch.arange(1)), power_grid(3))
