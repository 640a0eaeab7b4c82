"""Laws of an order that atoms have of themselves: the same in every pose and order of the input."""

from __future__ import annotations

import pytest
import torch

from coset.cloud import Cloud
from coset.codecs.alignment import Aligned
from coset.codecs.features import Features
from coset.networks.gnn import GNN
from coset.networks.indexed import CHANNELS, Indexed, places
from coset.noise import Noise
from coset.symmetry.frames import IdentityFrame, PrincipalFrame
from coset.symmetry.orders import spectral_order
from coset.symmetry.rotations import haar
from example_clouds import padded, random_cloud

SIZES = [5, 9, 7, 1, 3]  # two atoms are alike from end to end


def shuffled(cloud: Cloud, seed: int = 0) -> Cloud:
    """Real atoms in a random order; padding stays last."""
    chance = torch.rand(cloud.mask.shape[:2], generator=torch.Generator().manual_seed(seed))
    return cloud.permute(torch.where(cloud.mask[..., 0] > 0, chance, 2.0).argsort(1))


def ordered(cloud: Cloud) -> Cloud:
    return cloud.permute(spectral_order(cloud))


def test_every_order_of_the_input_gives_the_same_molecule():
    cloud = random_cloud(SIZES)
    expected = ordered(cloud)
    for seed in range(5):
        found = ordered(shuffled(cloud, seed))
        torch.testing.assert_close(found.x, expected.x)
        torch.testing.assert_close(found.h, expected.h)
    assert not torch.equal(shuffled(cloud).x, cloud.x)


@pytest.mark.parametrize("reflections", [False, True])
def test_poses_and_padding_change_nothing(reflections):
    cloud = random_cloud(SIZES)
    order = spectral_order(cloud)
    turned = cloud.rotate(haar(Noise.from_seed(1, torch.arange(len(cloud))), reflections))
    for row, size in enumerate(SIZES):
        assert sorted(order[row, :size].tolist()) == list(range(size))  # padding last
        assert torch.equal(spectral_order(turned)[row, :size], order[row, :size])
        assert torch.equal(spectral_order(padded(cloud, 4))[row, :size], order[row, :size])


def test_a_chain_is_told_from_end_to_end():
    """Its atoms in the order of the chain; the third moment decides which end comes first."""
    chain = torch.tensor([0.0, 1.0, 2.0, 3.1, 4.3, 5.7, 7.2])
    places_of = torch.tensor([4, 1, 6, 0, 3, 5, 2])
    x = torch.zeros(1, 7, 3, dtype=torch.float64)
    x[0, :, 0] = chain[places_of]
    found = places_of[spectral_order(Cloud(x, x[..., :1], torch.ones_like(x[..., :1])))[0]].tolist()
    assert found in (list(range(7)), list(range(6, -1, -1)))


def test_ordered_codecs_encode_a_molecule_alike_in_any_order_and_pose():
    cloud = random_cloud([6, 9, 7])
    cloud = Cloud(cloud.x, torch.nn.functional.pad(cloud.h, (0, 6))[..., :6], cloud.mask)
    codec = Aligned(PrincipalFrame(random=False), Features(5, std=1e-3).double(), spectral_order)
    turned = shuffled(cloud).rotate(haar(Noise.from_seed(2, torch.arange(3)), reflections=False))
    torch.testing.assert_close(codec.encode(turned).x, codec.encode(cloud).x)
    torch.testing.assert_close(codec.encode(turned).h, codec.encode(cloud).h)
    assert not codec.spatial and Aligned(IdentityFrame(), Features(5, std=1e-3)).spatial


def test_a_network_that_knows_places_is_not_equivariant_to_orders_and_padding_changes_nothing():
    torch.manual_seed(0)
    cloud, plain = random_cloud([5, 8]), GNN(6 + CHANNELS, 16, 2).double()
    cloud = Cloud(cloud.x, torch.nn.functional.pad(cloud.h, (0, 6))[..., :6], cloud.mask)
    network, t = Indexed(plain), torch.full((2,), 0.5, dtype=torch.float64)
    out = network(cloud, t)
    assert out.h.shape == cloud.h.shape
    longer = network(padded(cloud, 3), t)
    torch.testing.assert_close(longer.x[:, :8], out.x)
    order = torch.stack([torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])] * 2)
    assert (network(cloud.permute(order), t).x - out.permute(order).x).abs().max() > 1e-3
    of_places = places(cloud.mask)
    assert not of_places[0, 5:].any() and len(of_places[1].unique(dim=0)) == 8
