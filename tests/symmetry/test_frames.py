"""Laws of frames: poses turn with the cloud, as a set, in law or one by one, and degenerate molecules break nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Denoiser
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromClean
from coset.noise import Noise
from coset.symmetry.checks import ZScores, assert_equivariant, equivariance_in_law
from coset.symmetry.frames import HaarFrame, PrincipalFrame, RecursiveFrame, VectorFrame
from coset.symmetry.rotations import haar
from coset.symmetry.symmetrised import DrawAveraged, FrameAveraged, Symmetrised
from example_clouds import awake, padded, random_cloud

DEGENERATE = {
    "one atom": [[0.0, 0, 0]],
    "one place": [[1.0, 1, 1], [1, 1, 1], [1, 1, 1]],
    "line": [[0.0, 0, -1], [0, 0, 0.2], [0, 0, 1.3]],
    "symmetric line": [[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]],
    "plane": [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1.5, 0]],
    "square": [[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]],
    "tetrahedron": [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
}


class Lopsided(Denoiser):
    """Stretches one axis, bends another, prefers one hand, and centres nothing: equivariant under nothing."""

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Cloud:
        stretched = z.x * torch.tensor([2.0, 0.0, -1.0]).to(z.x) + torch.tanh(3 * z.x).roll(1, -1)
        total = (z.x * z.x.square().sum(-1, keepdim=True)).sum(1, keepdim=True)
        handed = torch.linalg.cross(z.x, total.expand_as(z.x))
        return replace(z, x=(stretched + handed) * z.mask, h=(z.h + z.x[..., :1].square()) * z.mask)


class MomentPose(nn.Module):
    """A matrix from positions and noise, for a recursive frame."""

    def forward(self, z: Cloud, t: Tensor) -> Tensor:
        return z.x.mT @ z.h


def turns(count: int, reflections: bool) -> Tensor:
    """Haar draws, every other one a reflection if asked for."""
    found = haar(Noise.from_seed(7, torch.arange(count)), reflections=False)
    found[::2] *= -1.0 if reflections else 1.0
    return found


def times(cloud: Cloud) -> Tensor:
    return torch.linspace(0.1, 0.9, len(cloud))


def flat(positions: list[list[float]], dtype: torch.dtype = torch.float64) -> Cloud:
    """Two copies, one turned, padded by an atom."""
    x = torch.tensor([positions], dtype=dtype)
    features = torch.linspace(0.5, 1.5, 4, dtype=dtype).expand(1, len(positions), 4)
    cloud = Cloud(x, features, torch.ones_like(x[..., :1])).center()
    other = cloud.rotate(turns(1, False).to(dtype))
    return padded(Cloud(*(torch.cat([getattr(c, n) for c in (cloud, other)]) for n in ("x", "h", "mask"))), 1)


def canonical(reflections: bool) -> VectorFrame:
    torch.manual_seed(0)
    network = awake(EGNN(6, width=16, depth=2)).double()
    assert isinstance(network, EGNN)
    return VectorFrame(network, reflections)


def law_of(denoiser: Denoiser, reflections: bool) -> ZScores:
    cloud = random_cloud([5], features=3, dtype=torch.float32)
    return equivariance_in_law(
        lambda z, noise: denoiser(z, torch.full((len(z),), 0.3), noise), cloud, 4096, 0, reflections
    )


@pytest.mark.parametrize("reflections", [False, True])
def test_principal_poses_are_equivariant_as_a_set(reflections):
    cloud, frame = random_cloud([5, 9, 7]), PrincipalFrame(reflections)
    poses, turn = frame.poses(cloud), turns(3, reflections)
    assert poses.shape == (3, 8 if reflections else 4, 3, 3)
    assert (poses @ poses.mT - torch.eye(3)).abs().max() < 1e-12
    determinants = torch.linalg.det(poses)
    assert (determinants.sum(1).abs() if reflections else (determinants - 1).abs().max(1).values).max() < 1e-12
    moved, expected = frame.poses(cloud.rotate(turn)), turn[:, None] @ poses
    apart = (moved[:, :, None] - expected[:, None]).abs().amax((-1, -2))
    assert (apart < 1e-9).sum(1).eq(1).all() and (apart < 1e-9).sum(2).eq(1).all()


def test_axes_come_with_the_smallest_spread_first_whatever_the_place_the_order_and_the_padding():
    cloud, frame = random_cloud([5, 9]), PrincipalFrame()
    poses = frame.poses(cloud)
    spread = (cloud.x[:, None] @ poses).square().sum(2)
    assert (spread.diff(dim=2) > 0).all()
    order = Noise(torch.arange(2)).uniform(9).argsort(1)
    shifted = replace(cloud, x=(cloud.x + 3.0) * cloud.mask)
    for same in (padded(cloud, 3), cloud.permute(order), shifted):
        assert torch.allclose(frame.poses(same).abs(), poses.abs(), atol=1e-9)


@pytest.mark.parametrize("reflections", [False, True])
def test_averaging_over_a_frame_makes_any_network_equivariant(reflections):
    cloud, t = random_cloud([5, 9, 7]), torch.tensor([0.1, 0.5, 0.9])
    averaged = FrameAveraged(Lopsided(), PrincipalFrame(reflections))
    assert_equivariant(averaged, cloud, t, atol=1e-9, reflections=reflections)
    torch.manual_seed(0)
    transformer = FromClean(awake(DiT(6, width=16, depth=1, heads=2, kernels=4)).double())  # type: ignore[arg-type]
    averaged = FrameAveraged(transformer, PrincipalFrame(reflections))
    assert_equivariant(averaged, cloud, t, atol=1e-8, reflections=reflections)
    with pytest.raises(AssertionError, match="rotations"):
        assert_equivariant(Lopsided(), cloud, t, atol=1e-2, reflections=reflections)


def test_four_poses_leave_a_preferred_hand():
    cloud, t = random_cloud([5, 9]), torch.tensor([0.1, 0.5])
    with pytest.raises(AssertionError, match="rotations"):
        assert_equivariant(FrameAveraged(Lopsided(), PrincipalFrame()), cloud, t, atol=1e-2, reflections=True)


@pytest.mark.parametrize("reflections", [False, True])
def test_one_of_the_poses_by_chance_is_equivariant_in_law(reflections):
    denoiser = Symmetrised(Lopsided(), PrincipalFrame(reflections))
    found = law_of(denoiser, reflections)
    assert found.rms < 1.5 and found.largest < 4.5
    assert law_of(Lopsided(), reflections).rms > 10


def test_the_chance_is_uniform_over_the_poses():
    """Its mean output is that of the average over the frame; every pose is met."""
    one, draws = random_cloud([5]), 8000
    cloud = Cloud(*(getattr(one, name).expand(draws, -1, -1) for name in ("x", "h", "mask")))
    poses = PrincipalFrame()(cloud, times(cloud), Noise(torch.arange(draws)))
    share = [(poses - pose).abs().amax((1, 2)).lt(1e-9).double().mean() for pose in PrincipalFrame().poses(one)[0]]
    assert all(abs(float(each) - 0.25) < 0.02 for each in share)


@pytest.mark.parametrize("reflections", [False, True])
def test_the_third_moment_decides_the_signs_equivariantly(reflections):
    cloud, frame, turn = random_cloud([5, 9, 7]), PrincipalFrame(reflections, random=False), turns(3, reflections)
    pose = frame(cloud, times(cloud))
    assert torch.allclose(frame(cloud.rotate(turn), times(cloud)), turn @ pose, atol=1e-9)
    along = (cloud.x @ pose).pow(3).sum(1)
    assert (along[:, : 3 if reflections else 2] > 0).all()
    symmetrised = Symmetrised(Lopsided(), frame)
    assert_equivariant(symmetrised, cloud, times(cloud), atol=1e-8, reflections=reflections)


@pytest.mark.parametrize("reflections", [False, True])
def test_learned_vectors_give_an_equivariant_pose(reflections):
    cloud, frame = random_cloud([5, 9, 7]), canonical(reflections)
    turn, pose = turns(3, reflections), frame(cloud, times(cloud))
    assert (pose @ pose.mT - torch.eye(3)).abs().max() < 1e-12
    assert reflections or (torch.linalg.det(pose) - 1).abs().max() < 1e-12
    assert torch.allclose(frame(cloud.rotate(turn), times(cloud)), turn @ pose, atol=1e-8)
    assert_equivariant(Symmetrised(Lopsided(), frame), cloud, times(cloud), atol=1e-6, reflections=reflections)
    order = Noise(torch.arange(3)).uniform(9).argsort(1)
    assert torch.allclose(frame(cloud.permute(order), times(cloud)), pose, atol=1e-8)


def test_a_pose_from_two_vectors_knows_no_mirror():
    cloud, frame = random_cloud([5, 9, 7]), canonical(reflections=False)
    pose, mirrored = frame(cloud, times(cloud)), frame(cloud.scale(-1.0), times(cloud))
    assert (torch.linalg.det(mirrored) > 0).all() and not torch.allclose(mirrored, -pose, atol=1e-2)


def test_a_learned_pose_learns():
    """Every parameter that shapes the vectors has a gradient of the output."""
    cloud, frame = random_cloud([5, 9, 7]), canonical(reflections=False)
    Symmetrised(Lopsided(), frame)(cloud, times(cloud)).x.square().sum().backward()
    touched = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in frame.network.parameters()]
    assert sum(touched) > 0.8 * len(touched)


def test_a_network_with_too_few_channels_is_refused():
    cloud = random_cloud([4], features=2, dtype=torch.float32)
    with pytest.raises(ValueError, match="3 feature channels"):
        VectorFrame(EGNN(2, width=8, depth=1), reflections=True)(cloud, times(cloud))
    assert VectorFrame(EGNN(2, width=8, depth=1))(cloud, times(cloud)).shape == (1, 3, 3)


@pytest.mark.parametrize("positions", DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reflections", [False, True])
def test_degenerate_molecules_have_poses_and_finite_gradients(positions, dtype, reflections):
    cloud = flat(positions, dtype)
    torch.manual_seed(0)
    learned = VectorFrame(awake(EGNN(4, width=8, depth=1)).to(dtype), reflections)  # type: ignore[arg-type]
    noise = Noise(torch.arange(2))
    for frame in (PrincipalFrame(reflections), PrincipalFrame(reflections, random=False), learned):
        pose = frame(cloud, times(cloud), noise)
        assert pose.dtype == dtype and (pose @ pose.mT - torch.eye(3)).abs().max() < 1e-5
        assert reflections or (torch.linalg.det(pose) - 1).abs().max() < 1e-5
    for denoiser in (
        Symmetrised(Lopsided(), learned), Symmetrised(Lopsided(), PrincipalFrame(reflections)),
        FrameAveraged(Lopsided(), PrincipalFrame(reflections)),
    ):  # fmt: skip
        learned.zero_grad()
        x = cloud.x.clone().requires_grad_()
        out = denoiser(replace(cloud, x=x), times(cloud), noise)
        (out.x.square().sum() + out.h.square().sum()).backward()
        assert out.x.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in learned.parameters() if p.grad is not None)


def test_where_two_spreads_are_equal_the_axes_are_arbitrary():
    """The stated limit of principal frames: the poses of a turned tetrahedron are not the turned poses."""
    first, second = PrincipalFrame().poses(flat(DEGENERATE["tetrahedron"]))
    turned = turns(1, False) @ first
    assert (second[:, None] - turned[None]).abs().amax((-1, -2)).min(1).values.max() > 0.05


def test_an_average_of_one_draw_is_that_draw():
    cloud, noise = random_cloud([5, 9]), Noise(torch.arange(2))
    denoiser = Symmetrised(Lopsided(), HaarFrame())
    single = DrawAveraged(denoiser, 1)(cloud, times(cloud), noise)
    assert torch.equal(single.x, denoiser(cloud, times(cloud), noise.number(0)).x)
    plain = DrawAveraged(Lopsided(), 1)(cloud, times(cloud))  # without chance there is nothing to number
    assert torch.equal(plain.x, Lopsided()(cloud, times(cloud)).x)


def test_an_average_of_many_draws_is_the_mean_of_independent_ones():
    cloud, noise = random_cloud([5]), Noise(torch.arange(1))
    denoiser = Symmetrised(Lopsided(), RecursiveFrame(MomentPose()))
    draws = torch.stack([denoiser(cloud, times(cloud), noise.number(k)).x for k in range(5)])
    averaged = DrawAveraged(denoiser, 5)(cloud, times(cloud), noise)
    assert torch.allclose(averaged.x, draws.mean(0)) and draws.std(0).max() > 0.1
    with pytest.raises(ValueError, match="at least 1 draw; got 0"):
        DrawAveraged(denoiser, 0)
