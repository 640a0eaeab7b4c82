"""Laws of clouds: group actions, centring, and the condition that rides along."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud, Condition, squared_norm
from coset.noise import Noise
from coset.symmetry.rotations import haar
from example_clouds import padded, random_cloud

SIZES = [3, 5]


@pytest.fixture
def cloud() -> Cloud:
    """Everything a condition may hold."""
    plain, previous = random_cloud(SIZES), random_cloud(SIZES, seed=1)
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(2, *shape, generator=generator, dtype=torch.float64)

    condition = Condition(normal(4), normal(5, 2), normal(5, 5, 3), normal(5, 2, 3), previous)
    return replace(plain, condition=condition)


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.allclose(a, b, atol=1e-12)
    if isinstance(a, Cloud | Condition):
        return all(equal(part, getattr(b, name)) for name, part in vars(a).items())
    return a == b


def rotation(step: int) -> torch.Tensor:
    return haar(Noise(torch.arange(2)).at(step))


def test_rotations_act_as_a_group(cloud):
    q, r = rotation(0), rotation(1)
    assert equal(cloud.rotate(q).rotate(r), cloud.rotate(r @ q))
    assert equal(cloud.rotate(q).rotate(q.mT), cloud)
    assert not equal(cloud.rotate(q), cloud)


def test_rotations_keep_distances_and_features(cloud):
    turned = cloud.rotate(rotation(0))
    assert torch.allclose(torch.cdist(turned.x, turned.x), torch.cdist(cloud.x, cloud.x))
    assert equal(turned.h, cloud.h)
    assert equal(turned.condition.scalars, cloud.condition.scalars)
    assert equal(turned.condition.nodes, cloud.condition.nodes)


def test_a_rotation_turns_each_position_of_its_own_molecule(cloud):
    q = rotation(0)
    assert torch.allclose(cloud.rotate(q).x[1, 2], q[1] @ cloud.x[1, 2])
    assert torch.allclose(cloud.rotate(q).condition.vectors[1, 2, 1], q[1] @ cloud.condition.vectors[1, 2, 1])


def test_permutations_act_as_a_group(cloud):
    order = torch.stack([torch.randperm(5, generator=torch.Generator().manual_seed(k)) for k in range(2)])
    assert equal(cloud.permute(order).permute(order.argsort(1)), cloud)
    moved = cloud.permute(order)
    assert torch.equal(moved.x[1, 2], cloud.x[1, order[1, 2]])
    assert torch.equal(moved.mask[0, 4], cloud.mask[0, order[0, 4]])
    assert torch.equal(moved.condition.edges[1], cloud.condition.edges[1][order[1]][:, order[1]])
    assert torch.equal(moved.condition.nodes[1], cloud.condition.nodes[1][order[1]])
    assert torch.equal(moved.condition.previous.x[0, 0], cloud.condition.previous.x[0, order[0, 0]])


def test_rotations_and_permutations_commute(cloud):
    order, q = torch.tensor([[2, 0, 1, 3, 4], [4, 3, 2, 1, 0]]), rotation(0)
    assert equal(cloud.rotate(q).permute(order), cloud.permute(order).rotate(q))


def test_centring_is_a_projection_and_leaves_padding_zero():
    away = replace(random_cloud(SIZES), x=random_cloud(SIZES).x + 3)
    centred = away.center()
    assert torch.allclose(centred.x.sum(1), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12)
    assert torch.equal(centred.x * (1 - centred.mask), torch.zeros_like(centred.x))
    assert equal(centred.center(), centred)
    wider = padded(away, 4).center()
    assert torch.allclose(wider.x[:, :5], centred.x)


def test_arithmetic_is_linear_and_keeps_the_left_condition(cloud):
    other = random_cloud(SIZES, seed=5)
    total = (cloud + other).scale(2.0) - cloud.scale(torch.tensor([1.0, 2.0]).double())
    assert torch.allclose(total.x[0], cloud.x[0] + 2 * other.x[0])
    assert torch.allclose(total.h[1], 2 * other.h[1])
    assert total.condition is cloud.condition
    assert torch.allclose(squared_norm(cloud), (cloud.x**2).sum((1, 2)) + (cloud.h**2).sum((1, 2)))


def test_to_moves_the_condition_too(cloud):
    single = cloud.to(torch.float32)
    assert single.condition.previous.x.dtype == single.condition.edges.dtype == single.mask.dtype == torch.float32
    assert equal(single.to(torch.float64).condition.previous.mask, cloud.condition.previous.mask)


def test_counts(cloud):
    assert cloud.count.tolist() == SIZES and len(cloud) == 2
