"""Laws of groups: composition, inverse, Haar draws, lists of elements, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import pytest
import torch

from coset.cloud import Cloud, Condition
from coset.noise import Noise
from coset.symmetry.groups import Automorphisms, Element, Group, LikeAtoms, Product, Rotations, Trivial
from example_clouds import random_cloud

TURN = [[0, 1, 2, 3, 4], [1, 2, 0, 3, 4], [2, 0, 1, 3, 4]]
FLIP = [[0, 1, 2, 3, 4], [0, 1, 2, 4, 3], [-1] * 5]


def molecules() -> Cloud:
    """Five and four atoms, of two kinds; the first has a threefold axis, the second (padded) a swap."""
    cloud = random_cloud([5, 4], features=2)
    kinds = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 1, 0]]), 2) * cloud.mask
    swap = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [-1] * 5]
    return replace(cloud, h=kinds.double(), condition=Condition(automorphisms=torch.tensor([TURN, swap])))


GROUPS: list[Group] = [
    Trivial(), Rotations(), Rotations(reflections=True), LikeAtoms(), Automorphisms(),
    Rotations() * LikeAtoms(), Rotations(reflections=True) * Automorphisms(), Automorphisms() * Rotations(),
]  # fmt: skip


def close(first: Cloud, second: Cloud) -> bool:
    return torch.allclose(first.x, second.x) and torch.equal(first.h, second.h) and torch.equal(first.mask, second.mask)


def draws(group: Group, count: int = 3) -> list[Element]:
    cloud = molecules()
    return [group.sample(cloud, Noise.from_seed(seed, torch.arange(len(cloud)))) for seed in range(count)]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_elements_compose_as_they_act(group):
    cloud, (a, b, c) = molecules(), draws(group)
    assert close(a.compose(b).act(cloud), a.act(b.act(cloud)))
    assert close(a.compose(b).compose(c).act(cloud), a.compose(b.compose(c)).act(cloud))
    assert close(a.inverse().act(a.act(cloud)), cloud) and close(a.act(a.inverse().act(cloud)), cloud)
    assert close(a.compose(Element()).act(cloud), a.act(cloud)) and close(Element().act(cloud), cloud)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_lists_of_permutations_are_groups(group):
    """The identity first, no element twice, closed; padding and atoms of another kind stay where they are."""
    cloud = molecules()
    orders, there = group.permutations(cloud)
    for row in range(2):
        listed = {tuple(order) for order in orders[row][there[row]].tolist()}
        assert len(listed) == int(there[row].sum()) and tuple(orders[row, 0].tolist()) == (0, 1, 2, 3, 4)
        for first in listed:
            assert all(tuple(first[i] for i in second) in listed for second in listed)
            moved = cloud.h[row, list(first)]
            assert torch.equal(moved, cloud.h[row]) and torch.equal(cloud.mask[row, list(first)], cloud.mask[row])


def test_numbers_of_elements():
    cloud = molecules()
    assert LikeAtoms().permutations(cloud)[1].sum(1).tolist() == [factorial(3) * factorial(2), 2 * 2]
    assert Automorphisms().permutations(cloud)[1].sum(1).tolist() == [3, 2]
    both = Product(Automorphisms(), Rotations())
    assert both.rotations and not both.reflections and both.permutations(cloud)[1].sum(1).tolist() == [3, 2]


@pytest.mark.parametrize("group", [LikeAtoms(), Automorphisms(), LikeAtoms() * Rotations()], ids=str)
def test_permutations_are_drawn_evenly(group):
    """Chi-squared of 12,000 draws over the elements, for a molecule alone."""
    cloud = molecules()
    many = Cloud(*(getattr(cloud, name)[:1].repeat(12_000, 1, 1) for name in ("x", "h", "mask")))
    known = cloud.condition and cloud.condition.automorphisms
    assert known is not None
    many = replace(many, condition=Condition(automorphisms=known[:1].repeat(12_000, 1, 1)))
    orders = group.sample(many, Noise.from_seed(0, torch.arange(12_000))).order
    assert orders is not None
    listed = group.permutations(cloud)
    counts = torch.stack([(orders == order).all(1).sum() for order in listed[0][0][listed[1][0]]]).double()
    assert counts.sum() == 12_000
    expected = 12_000 / len(counts)
    assert float(((counts - expected) ** 2 / expected).sum()) < 30  # 11 degrees of freedom at most: p < .002


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("reflections", [False, True])
def test_rotations_are_drawn_by_haar_measure(dimension, reflections):
    """Orthogonal, of mean zero and with mean square 1/d an entry, both hands equally often."""
    cloud = replace(random_cloud([4] * 20_000, features=0), condition=None)
    cloud = replace(cloud, x=cloud.x[..., :dimension])
    found = Rotations(reflections).sample(cloud, Noise.from_seed(1, torch.arange(len(cloud)))).rotation
    assert found is not None and found.shape == (20_000, dimension, dimension)
    assert torch.allclose(found @ found.mT, torch.eye(dimension, dtype=found.dtype).expand_as(found))
    assert float(torch.linalg.det(found).mean()) == pytest.approx(0 if reflections else 1, abs=0.03)
    if dimension > 1 or reflections:
        assert found.mean(0).abs().max() < 0.03
    assert (found.square().mean(0) - 1 / dimension).abs().max() < 0.02


def test_automorphisms_follow_the_order_of_the_atoms():
    """Permuted with their cloud they still are its automorphisms: the same maps of atoms to atoms."""
    cloud = molecules()
    order = torch.tensor([[3, 0, 4, 2, 1], [1, 2, 0, 3, 4]])
    moved = cloud.permute(order)
    before, after = (Automorphisms().permutations(each) for each in (cloud, moved))
    assert torch.equal(before[1], after[1])
    for g in range(3):
        there = before[1][:, g]
        acted = Element(order=before[0][:, g]).act(cloud).permute(order)
        assert torch.allclose(acted.x[there], Element(order=after[0][:, g]).act(moved).x[there])


def test_what_does_not_fit_is_refused():
    cloud = molecules()
    with pytest.raises(ValueError, match="carries no automorphisms"):
        Automorphisms().permutations(replace(cloud, condition=None))
    with pytest.raises(ValueError, match=r"automorphisms of shape \(2, 3, 5\) do not fit a cloud of 2 molecules of 6"):
        Automorphisms().permutations(replace(random_cloud([6, 6]), condition=cloud.condition))
    with pytest.raises(ValueError, match=r"a permutation of shape \(2, 3\) cannot act"):
        Element(order=torch.zeros(2, 3, dtype=torch.long)).act(cloud)
    with pytest.raises(ValueError, match="a rotation of 2 dimensions cannot act on positions of 3"):
        Element(rotation=torch.eye(2).expand(2, 2, 2)).act(cloud)
    with pytest.raises(ValueError, match="one group of rotations at most"):
        Rotations() * Rotations(reflections=True)
    crowd = replace(random_cloud([9]), h=torch.zeros(1, 9, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="too many to list; average over them with a Metropolis chain"):
        LikeAtoms().permutations(crowd)
