"""Laws of symmetrisation: poses are drawn equivariantly, and make any network equivariant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Denoiser, Frame
from coset.networks.dit import DiT, PoseTransformer
from coset.networks.outputs import FromClean
from coset.noise import Noise
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.checks import ZScores, assert_equivariant, equivariance_in_law
from coset.symmetry.frames import HaarFrame, RecursiveFrame
from coset.symmetry.rotations import haar, orthonormalise
from coset.symmetry.symmetrised import Symmetrised
from example_clouds import random_cloud

DRAWS = 16_384


class ReleasedOrder(Frame):
    """f g^T used as the pose: what SymDiff's released code does, and what is not equivariant in law."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Tensor:
        assert noise is not None
        g = haar(noise.fork(0)).to(z.x.dtype)
        eta = noise.fork(1).normal(z.x.shape[1], 3, dtype=z.x.dtype)
        f = orthonormalise(self.network(replace(z.rotate(g.mT), h=eta), t)).to(z.x.dtype)
        return f @ g.mT


class GramSchmidtFrame(Frame):
    """A deterministic equivariant pose: Gram-Schmidt of three odd-moment vectors of the cloud."""

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Tensor:
        moments = [z.x * weight for weight in (z.h[..., :1], z.h[..., 1:2], z.h[..., 2:3])]
        return orthonormalise(torch.stack([moment.sum(1) for moment in moments], -1)).to(z.x.dtype)


class MomentPose(nn.Module):
    """A matrix that turns with the cloud but for a constant: far from equivariant, far from independent of z."""

    def forward(self, z: Cloud, t: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(z.x, dim=-1, keepdim=True)
        columns = [(z.x * weight).sum(1) for weight in (norms.square(), torch.sin(5 * norms), torch.cos(4 * norms))]
        noisy = torch.stack(columns, -1) + 0.2 * (z.x.mT @ z.h)
        return noisy + torch.diag(torch.tensor([0.2, 0.4, 0.6])).to(z.x)


class Lopsided(Denoiser):
    """Stretches one axis, bends another, and prefers one hand: equivariant under nothing."""

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Cloud:
        stretched = z.x * torch.tensor([2.0, 0.0, -1.0]).to(z.x) + torch.tanh(3 * z.x).roll(1, -1)
        handed = torch.linalg.cross(z.x, z.x.roll(1, 1))
        return replace(z, x=stretched + handed, h=z.h + z.x[..., :1].square())


@pytest.fixture(scope="module")
def molecule() -> Cloud:
    return random_cloud([5], features=3, dtype=torch.float32)


@pytest.fixture(scope="module")
def transformer_pose() -> PoseTransformer:
    torch.manual_seed(0)
    return PoseTransformer(width=16, depth=1, heads=2, kernels=4)


@pytest.fixture(scope="module")
def plain() -> FromClean:
    torch.manual_seed(1)
    network = DiT(6, width=16, depth=1, heads=2, kernels=4)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return FromClean(network)


def times(cloud: Cloud) -> Tensor:
    return torch.full((len(cloud),), 0.3)


def law_of(function: Frame | Denoiser, cloud: Cloud, reflections: bool = True) -> ZScores:
    return equivariance_in_law(lambda z, noise: function(z, times(z), noise), cloud, DRAWS, 0, reflections)


@pytest.mark.parametrize("reflections", [True, False])
@pytest.mark.parametrize("network", ["transformer", "moments"])
def test_recursive_poses_are_equivariant_in_law(molecule, transformer_pose, network, reflections):
    pose = transformer_pose if network == "transformer" else MomentPose()
    found = law_of(RecursiveFrame(pose, reflections=reflections), molecule, reflections)
    assert found.rms < 1.5 and found.largest < 4


def test_the_released_order_is_not_equivariant_in_law(molecule):
    assert law_of(ReleasedOrder(MomentPose()), molecule).rms > 10


@pytest.mark.parametrize("reflections", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_random_poses_make_a_lopsided_denoiser_equivariant_in_law(molecule, learned, reflections):
    frame = RecursiveFrame(MomentPose(), reflections=reflections) if learned else HaarFrame(reflections)
    found = law_of(Symmetrised(Lopsided(), frame), molecule, reflections)
    assert found.rms < 1.5 and found.largest < 4


def test_the_released_order_leaves_a_denoiser_lopsided(molecule):
    assert law_of(Symmetrised(Lopsided(), ReleasedOrder(MomentPose())), molecule).rms > 10


@pytest.mark.parametrize("learned", [True, False])
def test_rotations_alone_leave_a_preferred_hand(molecule, learned):
    """What is equivariant in law for SO(3) alone is told from what is so for O(3)."""
    frame = RecursiveFrame(MomentPose(), reflections=False) if learned else HaarFrame(reflections=False)
    assert law_of(Symmetrised(Lopsided(), frame), molecule, reflections=True).rms > 10


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_an_equivariant_frame_makes_any_network_equivariant(plain, dtype, atol):
    cloud, t = random_cloud([5, 9, 7], dtype=dtype), torch.tensor([0.1, 0.5, 0.9])
    network = plain.to(dtype)
    with pytest.raises(AssertionError, match="rotations"):
        assert_equivariant(network, cloud, t, atol=0.1)
    assert_equivariant(Symmetrised(network, GramSchmidtFrame()), cloud, t, atol=atol)
    plain.to(torch.float32)


def test_one_random_pose_is_not_an_equivariant_one(plain):
    """With its noise held fixed, a denoiser that is equivariant in law is not so draw by draw."""
    cloud, t = random_cloud([5, 9], dtype=torch.float32), torch.tensor([0.2, 0.7])
    with pytest.raises(AssertionError, match="rotations"):
        assert_equivariant(Symmetrised(plain, HaarFrame()), cloud, t, Noise(torch.arange(2)), atol=1e-2)


def test_haar_draws_are_uniform():
    """Invariant under multiplication from either side: first and second moments of the group."""
    rotations = haar(Noise.from_seed(0, torch.arange(20_000)))
    error = len(rotations) ** -0.5
    assert (rotations @ rotations.mT - torch.eye(3)).abs().max() < 1e-12
    assert rotations.mean(0).abs().max() < 3 * error
    second = torch.einsum("bij,bkl->ijkl", rotations, rotations) / len(rotations)
    expected = torch.einsum("ik,jl->ijkl", torch.eye(3), torch.eye(3)).double() / 3
    assert (second - expected).abs().max() < 3 * error
    assert torch.linalg.det(rotations).mean().abs() < 3 * error
    proper = haar(Noise.from_seed(0, torch.arange(20_000)), reflections=False)
    assert (torch.linalg.det(proper) - 1).abs().max() < 1e-12
    # The angle of a uniform rotation has density (1 - cos) / pi: the trace has mean 0 and variance 1.
    trace = proper.diagonal(dim1=1, dim2=2).sum(-1)
    assert trace.mean().abs() < 4 * error and (trace.var() - 1).abs() < 6 * error


def test_orthonormalise_is_qr_with_a_positive_diagonal():
    matrices = torch.randn(500, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, r = torch.linalg.qr(matrices)
    expected = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    assert (orthonormalise(matrices) - expected).abs().max() < 1e-9
    turn = haar(Noise(torch.arange(500)))
    assert (orthonormalise(turn @ matrices) - turn @ orthonormalise(matrices)).abs().max() < 1e-9


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(3, 3), torch.ones(3, 3), torch.eye(3), torch.diag(torch.tensor([0.0, 1.0, 1.0])), -torch.eye(3)],
    ids=["zero", "ones", "identity", "rank 2", "minus identity"],
)
def test_degenerate_matrices_give_rotations_and_finite_gradients(matrix):
    matrix = matrix[None].clone().requires_grad_()
    rotation = orthonormalise(matrix)
    assert (rotation @ rotation.mT - torch.eye(3)).abs().max() < 1e-12
    rotation.square().sum().backward()
    assert matrix.grad is not None and matrix.grad.isfinite().all()


def test_augmentation_moves_positions_alone_and_each_molecule_by_itself():
    cloud = random_cloud([4, 6, 6])
    turned = random_rotation(cloud, Noise(torch.arange(3)))
    assert torch.equal(turned.h, cloud.h) and not torch.allclose(turned.x, cloud.x)
    gram = cloud.x @ cloud.x.mT
    assert torch.allclose(turned.x @ turned.x.mT, gram)
    handed = torch.linalg.det(turned.x[:, :3]) / torch.linalg.det(cloud.x[:, :3])
    assert torch.allclose(handed, torch.ones(3, dtype=torch.float64))  # rotations, no reflections


def test_the_check_finds_what_depends_on_the_order_of_atoms_and_what_is_undefined():
    cloud, t = random_cloud([4, 6]), torch.tensor([0.2, 0.7])
    assert_equivariant(lambda z, t: z, cloud, t)
    with pytest.raises(AssertionError, match="permutations of the atoms: x differs"):
        assert_equivariant(lambda z, t: replace(z, x=z.x * torch.arange(6.0)[:, None]), cloud, t)
    with pytest.raises(AssertionError, match="rotations: h differs by nan"):
        assert_equivariant(lambda z, t: replace(z, h=z.h * torch.nan), cloud, t)


def test_the_check_tells_a_mirror_from_a_rotation():
    def handed(z: Cloud, t: Tensor) -> Cloud:
        total = (z.x * z.h[..., :1]).sum(1, keepdim=True)
        return replace(z, x=torch.linalg.cross(z.x, total.expand_as(z.x)))

    cloud, t = random_cloud([5]), torch.tensor([0.5])
    assert_equivariant(handed, cloud, t, reflections=False)
    with pytest.raises(AssertionError, match="rotations: x differs"):
        assert_equivariant(handed, cloud, t, trials=1)


def test_random_frames_ask_for_noise(molecule):
    with pytest.raises(ValueError, match="needs noise"):
        HaarFrame()(molecule, times(molecule))


def test_the_law_is_tested_at_one_molecule():
    with pytest.raises(ValueError, match="one molecule"):
        equivariance_in_law(lambda z, n: z, random_cloud([3, 3]), 2)
