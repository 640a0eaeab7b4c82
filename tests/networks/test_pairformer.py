"""Laws of the pair transformer: O(3), order of atoms, padding, company, and what it sees of an earlier estimate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud, Condition
from coset.networks.pairformer import Pairformer, RadialBasis, Shape
from coset.networks.preconditioning import Karras, OneHot, Preconditioned
from coset.noise import Noise
from coset.processes.schedules import Exploding
from coset.recipes.registry import count_parameters
from coset.symmetry.rotations import haar
from example_clouds import alone, awake, padded, random_cloud

SIZES = [5, 1, 7, 2]
SCHEDULE = Exploding(0.003, 30.0)
T = torch.tensor([0.05, 0.4, 0.6, 0.95])


def network(depth: int = 3, stages: int = 3) -> Pairformer:
    torch.manual_seed(0)
    made = Pairformer(3, Karras(1.4), Shape(width=24, depth=depth, heads=3, pair=8, move=12, stages=stages))
    awake(made.double())
    return made


def denoiser(**sizes: int) -> Preconditioned:
    return Preconditioned(network(**sizes), SCHEDULE, Karras(1.4), OneHot(0.25))


def informed(cloud: Cloud, seed: int = 1) -> Cloud:
    """With an earlier estimate, but for the last molecule."""
    before = random_cloud(SIZES, features=3, atoms=cloud.x.shape[1], seed=seed)
    before = replace(before, h=before.h.abs(), mask=before.mask * torch.tensor([1.0, 1, 1, 0])[:, None, None])
    return replace(cloud, condition=Condition(previous=before))


@pytest.mark.parametrize("seen", [lambda cloud: cloud, informed], ids=["alone", "informed"])
def test_turning_mirroring_and_reordering_commute_with_it(seen):
    z, model = seen(random_cloud(SIZES, features=3)), denoiser()
    out = model(z, T)
    pose = haar(Noise(torch.arange(4)), reflections=True)
    assert (torch.linalg.det(pose) < 0).any() and (torch.linalg.det(pose) > 0).any()
    moved = model(z.rotate(pose), T)
    torch.testing.assert_close(moved.x, out.rotate(pose).x)
    torch.testing.assert_close(moved.h, out.h)
    order = torch.tensor([[4, 2, 0, 1, 3, 5, 6], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5, 6]])
    again, expected = model(z.permute(order), T), out.permute(order)
    torch.testing.assert_close(again.x, expected.x)
    torch.testing.assert_close(again.h, expected.h)


def test_padding_and_company_change_nothing():
    z, model = random_cloud(SIZES, features=3), denoiser()
    out, longer = model(z, T), model(padded(z, 3), T)
    torch.testing.assert_close(longer.x[:, :7], out.x)
    assert not longer.x[:, 7:].any() and not longer.h[:, 7:].any()
    for row, size in enumerate(SIZES):
        single = model(alone(z, row), T[row : row + 1])
        torch.testing.assert_close(single.x[0], out.x[row, :size])
        torch.testing.assert_close(single.h[0], out.h[row, :size])


def test_an_earlier_estimate_is_seen_where_there_is_one():
    z, model = random_cloud(SIZES, features=3), denoiser()
    without, first, second = model(z, T), model(informed(z), T), model(informed(z, seed=2), T)
    changed = (first.h - second.h).abs().amax((1, 2)) > 1e-6
    assert changed.tolist() == [True, True, True, False]  # the last has none in either
    assert torch.equal(first.h[3], without.h[3]) and torch.equal(first.x[3], without.x[3])


def test_bond_orders_are_those_of_the_pair_whatever_the_pose_and_order():
    torch.manual_seed(0)
    shape = Shape(width=24, depth=2, heads=3, pair=8, move=12, stages=2, orders=4)
    model = Preconditioned(Pairformer(3, Karras(1.4), shape), SCHEDULE, Karras(1.4), OneHot(0.25)).double()
    awake(model)
    z = random_cloud(SIZES, features=3)
    logits = model(z, T).condition.edges
    assert logits.shape == (4, 7, 7, 4)
    torch.testing.assert_close(logits, logits.transpose(1, 2))
    pose, order = haar(Noise(torch.arange(4)), reflections=True), torch.arange(7).flip(0).expand(4, 7)
    torch.testing.assert_close(model(z.rotate(pose), T).condition.edges, logits)
    z = random_cloud([7] * 4, features=3)
    torch.testing.assert_close(model(z.permute(order), T).condition.edges, model(z, T).condition.edges.flip(1, 2))


def test_untrained_it_leaves_the_preconditioning_alone():
    torch.manual_seed(0)
    z = random_cloud(SIZES, features=3)
    out = Pairformer(3, Karras(1.4), Shape(24, 2, 3, 8, 12, 1)).double()(z, T.double())
    assert not out.x.any() and not out.h.any()


def test_atoms_at_one_place_give_finite_gradients():
    z, model = random_cloud(SIZES, features=3), denoiser()
    z = replace(z, x=torch.zeros_like(z.x))
    out = model(z, T)
    (out.x.square().sum() + out.h.square().sum()).backward()
    assert out.x.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_radial_bumps_tell_any_two_distances_of_bonds_apart():
    """At most 1, zero beyond two spacings, at least three of them anywhere from 0.7 to 3.5 Angstrom."""
    distance = torch.linspace(0.75, 3.45, 2000).view(1, 40, 50)
    values = RadialBasis()(distance, torch.ones(1))[0].reshape(2000, -1)[:, :48]
    assert values.min() >= 0 and values.max() <= 1 + 1e-3
    assert ((values > 1e-3).sum(1) >= 3).all() and ((values > 0).sum(1) <= 5).all()
    steps = (values[1:] - values[:-1]).abs().sum(1)
    assert (steps > 0.005).all()  # for 0.00135 Angstrom


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        Pairformer(3, Karras(1.4), Shape(width=20, heads=3))
    with pytest.raises(ValueError, match="stages must lie between 1 and depth=2; got 3"):
        network(depth=2, stages=3)


@pytest.mark.parametrize(("size", "millions"), [("xs", 1.1), ("s1", 2.5), ("s", 3.7), ("m", 9.9), ("l", 28.3)])
def test_sizes(size, millions):
    assert count_parameters("coset", size) / 1e6 == pytest.approx(millions, abs=0.06)
