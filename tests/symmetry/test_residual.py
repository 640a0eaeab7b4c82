"""Laws of residual rotations: their angles; the mean over them is exact, of z alone, and right in its limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Draw
from coset.noise import Noise
from coset.objectives.denoising import NoiseWeight
from coset.objectives.turned import TurnedDenoising
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine
from coset.recipes.registry import build, find_recipe
from coset.scales import CENTRED
from coset.symmetry.groups import Rotations
from coset.symmetry.residual import ResidualMean, ResidualTurns
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import random_cloud, repeated, small_molecules

PROCESS, COUNT = Affine(Cosine()), 20_000


def drawn(posed: Cloud, turns: ResidualTurns, time: float, seed: int = 0) -> Draw:
    noise = Noise.from_seed(seed, torch.arange(len(posed)))
    turn, t = turns(posed, noise.fork(0)), torch.full((len(posed),), time, dtype=torch.float64)
    x0, eps = posed.rotate(turn), standard_normal(posed, noise.fork(1), CENTRED)
    return Draw(x0, eps, PROCESS.noised(x0, t).at(eps), t, turn=turn)


@pytest.mark.parametrize("degrees", [5.0, 15.0, 30.0])
def test_turns_are_by_the_angle_asked_for(degrees):
    cloud = repeated(random_cloud([2]), COUNT)
    turn = ResidualTurns.of_angle(degrees)(cloud, Noise.from_seed(0, torch.arange(COUNT)))
    trace = turn.diagonal(dim1=1, dim2=2).sum(1)
    angle = torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())
    assert float(angle.square().mean().sqrt()) == pytest.approx(degrees, rel=0.05)
    assert (turn - turn.mT).mean(0).abs().max() < 0.02  # no direction of turning is preferred


@pytest.mark.parametrize("time", [0.3, 0.6, 0.9])
def test_the_mean_is_exact(time):
    """Against the mean of many turned clouds by their density at z."""
    posed, turns = random_cloud([5]), ResidualTurns.of_angle(30.0)
    draw = drawn(posed, turns, time)
    many = repeated(posed, COUNT)
    clouds = many.rotate(turns(many, Noise.from_seed(3, torch.arange(COUNT))))
    logs = PROCESS.noised(clouds, draw.t.expand(COUNT)).log_prob(repeated(draw.z, COUNT))
    weight = logs.softmax(0)
    expected = (weight[:, None, None] * clouds.x).sum(0)
    error = (expected - ResidualMean(turns)(PROCESS, draw).x[0]).abs().max()
    assert error < 12 / (1 / weight.square().sum()) ** 0.5 and weight.max() < 0.1


def test_it_is_a_function_of_the_noisy_cloud_and_the_pose_alone():
    """However the clean cloud behind z was turned: an expectation given z does not know."""
    posed, turns = random_cloud([5, 8]), ResidualTurns.of_angle(20.0)
    draw = drawn(posed, turns, 0.5)
    turn = turns(posed, Noise.from_seed(9, torch.arange(2)))
    other = replace(draw, x0=posed.rotate(turn), turn=turn)
    torch.testing.assert_close(ResidualMean(turns)(PROCESS, other).x, ResidualMean(turns)(PROCESS, draw).x)
    assert (plain(PROCESS, other).x - plain(PROCESS, draw).x).abs().max() > 0.1


def test_its_limits_are_all_rotations_and_none():
    posed = random_cloud([5, 8])
    free, fixed = ResidualTurns(1e-12), ResidualTurns(1e12)
    draw = drawn(posed, free, 0.6)
    torch.testing.assert_close(ResidualMean(free)(PROCESS, draw).x, OrbitMean(Rotations())(PROCESS, draw).x)
    draw = drawn(posed, fixed, 0.6)
    torch.testing.assert_close(ResidualMean(fixed)(PROCESS, draw).x, posed.x, atol=1e-4, rtol=0)


def test_both_targets_lead_to_one_denoiser():
    """Over draws with like z the plain target's mean is the exact one's: their difference is not correlated with z."""
    posed, turns = repeated(random_cloud([5]), COUNT), ResidualTurns.of_angle(25.0)
    draw = drawn(posed, turns, 0.7)
    away = plain(PROCESS, draw).x - ResidualMean(turns)(PROCESS, draw).x
    for seen in (torch.ones_like(draw.z.x), draw.z.x, draw.z.x.square(), draw.z.x.roll(1, 1)):
        product = away * seen
        assert (product.mean(0).abs() < 4.5 * product.std(0) / COUNT**0.5 + 1e-9).all()


def test_the_loss_tells_its_target_how_it_turned():
    turns = ResidualTurns.of_angle(15.0)
    loss = TurnedDenoising(NoiseWeight(Cosine()), ResidualMean(turns), turns=turns)
    posed, noise = random_cloud([5, 8]), Noise.from_seed(0, torch.arange(2))
    draw = loss.draw(PROCESS, posed, noise)
    assert draw.turn is not None
    torch.testing.assert_close(draw.x0.rotate(draw.turn.mT).x, posed.x)
    torch.testing.assert_close(PROCESS.noised(draw.x0, draw.t).at(draw.eps).x, draw.z.x)
    with pytest.raises(ValueError, match="needs draws that tell them; train by TurnedDenoising"):
        ResidualMean(turns)(PROCESS, replace(draw, turn=None))


@pytest.mark.parametrize("encoder", ["egnn", "none"])
def test_a_latent_recipe_learns_from_either_target(encoder):
    tiny = {"size": "small", "width": 16, "depth": 1, "codec_width": 8, "decoder_depth": 1, "pose_width": 8}
    clean, noise = small_molecules(4), Noise.from_seed(0, torch.arange(4))
    losses = {}
    for target in ("plain", "exact"):
        settings = tiny | {"encoder": encoder, "residual": 15.0, "target": target}
        model = build("radm_gnn", find_recipe("radm_gnn").resolve(settings), 5)
        assert isinstance(model.objective, TurnedDenoising)
        losses[target] = model(clean, noise)
        losses[target].mean().backward()
        aimed = model.with_target(plain)(clean, noise)  # as validation has it
        losses[f"{target} validated"] = aimed.detach()
    assert torch.equal(losses["plain validated"], losses["exact validated"])
    assert torch.equal(losses["plain"].detach(), losses["plain validated"])
    assert not torch.allclose(losses["plain"], losses["exact"])


@pytest.mark.parametrize("others", [{"rotated": True, "frame": "none"}, {"target": "haar"}])
def test_turns_about_no_pose_or_towards_another_mean_are_refused(others):
    with pytest.raises(ValueError, match="residual turns are about a pose"):
        build("radm_gnn", find_recipe("radm_gnn").resolve({"size": "small", "residual": 15.0} | others), 5)
