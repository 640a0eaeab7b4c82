"""Laws of codecs with a pose and an autoencoder in them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from coset.cloud import Cloud, Condition
from coset.codecs.alignment import Aligned
from coset.codecs.autoencoder import Autoencoder, Encoder
from coset.codecs.features import Features
from coset.gaussian import standard_normal
from coset.interfaces import Codec
from coset.networks.egnn import EGNN
from coset.networks.gnn import GNN, PoseGNN
from coset.noise import Noise
from coset.scales import CENTRED
from coset.symmetry.frames import IdentityFrame, NearestFrame, PrincipalFrame
from coset.symmetry.rotations import haar
from example_clouds import padded, small_molecules

NOISE = Noise.from_seed(0, torch.arange(4))


def autoencoder(decoder="gnn", seed=0, std=0.01):
    torch.manual_seed(seed)
    networks = {"gnn": GNN, "egnn": EGNN}
    encoder = Encoder(EGNN(6, 16, 1, out=16), 2)
    return Autoencoder(encoder, networks[decoder](2, 16, 2, out=6), types=5, std=std).double()


def molecules():
    return small_molecules(4).to(torch.float64)


def turned(cloud: Cloud, seed: int = 1) -> Cloud:
    return cloud.rotate(haar(Noise.from_seed(seed, torch.arange(len(cloud))), reflections=False))


def learned_pose(seed=0):
    torch.manual_seed(seed)
    return NearestFrame(PoseGNN(6, 16, 2)).double()


def test_a_molecule_is_encoded_alike_in_any_pose_where_the_frame_is_equivariant():
    clean = molecules()
    features = Features(5, std=1e-3)
    for inner in (features.double(), autoencoder()):
        posed = Aligned(PrincipalFrame(random=False), inner)
        here, there = posed.encode(clean), posed.encode(turned(clean))
        # The last molecule is symmetric about its axes: where a third moment vanishes their signs are open.
        unlike = (here.x - there.x).abs().amax((1, 2))
        assert (unlike < 1e-8).sum() >= 2
        torch.testing.assert_close(here.h, there.h)
    plain = Aligned(IdentityFrame(), features.double())
    torch.testing.assert_close(plain.encode(turned(clean)).x, turned(plain.encode(clean)).x)


def test_a_learned_pose_is_a_rotation_and_moves_no_atom_against_another():
    clean = molecules()
    frame = learned_pose()
    pose = frame(clean, torch.zeros(4))
    torch.testing.assert_close(pose @ pose.mT, torch.eye(3).double().expand(4, 3, 3), atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.linalg.det(pose), torch.ones(4).double())
    mirrored = NearestFrame(Constant(torch.diag(torch.tensor([1.0, 1.0, -1.0]))), reflections=True)
    assert torch.linalg.det(mirrored(clean, torch.zeros(4))).lt(0).all()
    posed = Aligned(frame, Features(5, std=1e-3).double()).encode(clean)
    torch.testing.assert_close(torch.cdist(posed.x, posed.x), torch.cdist(clean.center().x, clean.center().x))


class Constant(nn.Module):
    """A network that says one matrix of every molecule."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix.double())

    def forward(self, z, t):
        return self.matrix.expand(len(z), 3, 3)


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(3, 3), torch.eye(3), torch.diag(torch.tensor([2.0, 1.0, 1.0])), torch.ones(3, 3),
        torch.diag(torch.tensor([1.0, 1.0, -1.0])), 1e-30 * torch.eye(3), torch.diag(torch.tensor([1.0, 0.0, 0.0])),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reflections", [False, True])
def test_no_matrix_has_a_pose_or_a_gradient_that_is_not_finite(matrix, reflections):
    network = Constant(matrix)
    pose = NearestFrame(network, reflections)(molecules(), torch.zeros(4))
    torch.testing.assert_close(pose @ pose.mT, torch.eye(3).double().expand(4, 3, 3), atol=1e-8, rtol=0)
    (pose * torch.randn(4, 3, 3).double()).sum().backward()
    assert network.matrix.grad is not None and network.matrix.grad.isfinite().all()
    assert network.matrix.grad.abs().max() < 1e4


def test_symmetric_and_degenerate_molecules_are_posed_without_nan():
    one = torch.zeros(3, 4, 3).double()
    one[1, :3, 2] = torch.tensor([-1.0, 0.0, 1.0])  # linear
    one[2] = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # a tetrahedron
    mask = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]).double()[..., None]
    h = torch.zeros(3, 4, 6).double()
    h[..., 1], h[..., 5] = 1, 6
    clean = Cloud(one, h * mask, mask)
    for frame in (learned_pose(), PrincipalFrame(random=False)):
        codec = Aligned(frame, autoencoder())
        lost = sum(codec.lost(clean, Noise.from_seed(0, torch.arange(3))).values())
        assert isinstance(lost, torch.Tensor) and lost.isfinite().all()
        lost.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in codec.parameters())


def test_a_pose_learns_from_a_plain_decoder_and_from_an_equivariant_one_nothing():
    """RADM's footnote 3: what is lost does not change with the pose where the way there and back turns with it."""
    for decoder, learns in (("gnn", True), ("egnn", False)):
        frame = learned_pose()
        # Without noise: that of the encoding does not turn with the molecule, but has no favourite direction.
        codec = Aligned(frame, autoencoder(decoder, std=1e-30))
        sum(values.sum() for values in codec.lost(molecules(), NOISE).values()).backward()  # type: ignore[union-attr]
        gradient = torch.cat([p.grad.flatten() for p in frame.parameters() if p.grad is not None])
        assert (gradient.abs().max() > 1e-4) == learns and gradient.isfinite().all()


def test_padding_changes_nothing():
    clean = molecules()
    longer = padded(clean, 3)
    codec = Aligned(learned_pose(), autoencoder())
    n = clean.x.shape[1]
    torch.testing.assert_close(codec.encode(longer).x[:, :n], codec.encode(clean).x)
    assert not codec.encode(longer, NOISE).x[:, n:].any() and not codec.encode(longer, NOISE).h[:, n:].any()
    for name, values in codec.lost(longer, NOISE).items():
        torch.testing.assert_close(values, codec.lost(clean, NOISE)[name], msg=name)


def test_a_trained_autoencoder_gives_back_what_it_was_given():
    """Overfit: positions within 0.05 Angstrom and every type, by a decoder that learned for seconds."""
    clean, codec = small_molecules(4), Aligned(learned_pose().float(), autoencoder().float())
    optimiser = torch.optim.Adam(codec.parameters(), lr=5e-3)
    for step in range(400):
        optimiser.zero_grad()
        loss = sum(codec.lost(clean, NOISE.at(step)).values())
        assert isinstance(loss, torch.Tensor)
        loss.mean().backward()
        optimiser.step()
    inner = codec.codec
    assert isinstance(inner, Autoencoder)
    codec.requires_grad_(False)
    inner.calibrate([codec.posed(clean)], scaled=True)
    latent = codec.encode(clean)
    variance = latent.x.square().sum() / (3 * (clean.count - 1)).sum()
    assert float(variance) == pytest.approx(1, abs=1e-3)
    back = codec.output(latent, latent).mode()
    away = (back.x - codec.posed(clean).x).square().sum(-1).sum() / clean.count.sum()
    assert float(away) < 0.05**2 and float(inner.spread) == pytest.approx(math.sqrt(float(away) / 3), rel=0.3)
    assert torch.equal(back.h.argmax(-1)[clean.mask[..., 0] > 0], clean.h[..., :5].argmax(-1)[clean.mask[..., 0] > 0])


def test_the_entropy_of_an_encoding_is_that_of_its_noise():
    """H = -E log q, by the density of what is drawn on centred clouds."""
    codec, clean = autoencoder(std=0.3), molecules()
    with torch.no_grad():
        codec.scales.copy_(torch.tensor([2.0, 0.5]))
    mean, expected = codec.encode(clean), []
    for step in range(400):
        away = codec.encode(clean, NOISE.at(step)) - mean
        std_x, std_h = 0.3 / 2.0, 0.3 / 0.5
        points, features = 3 * (clean.count - 1), 2 * clean.count
        log_q = -0.5 * (away.x / std_x).square().sum((1, 2)) - points * math.log(std_x * math.sqrt(2 * math.pi))
        log_q += -0.5 * (away.h / std_h).square().sum((1, 2)) - features * math.log(std_h * math.sqrt(2 * math.pi))
        expected.append(-log_q)
    torch.testing.assert_close(codec.entropy(clean), torch.stack(expected).mean(0), atol=1.5, rtol=0)
    plain: Codec = Features(5, std=1e-3)
    assert not plain.entropy(clean).any() and plain.lost(clean, NOISE) == {}


def test_a_latent_that_is_known_is_taken_for_the_mean():
    codec, clean = Aligned(learned_pose(), autoencoder()), molecules()
    known = standard_normal(Cloud(clean.x, torch.zeros(4, clean.x.shape[1], 2).double(), clean.mask), NOISE, CENTRED)
    told = replace(clean, condition=Condition(latent=known))
    found = codec.encode(told)
    torch.testing.assert_close((found.x, found.h), (known.x, known.h))
    assert found.condition is not None and found.condition.latent is None
    assert turned(told).condition == Condition()  # a turned molecule has another
