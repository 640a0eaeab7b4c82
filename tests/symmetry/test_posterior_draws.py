"""Laws of posterior draws: their moments are those of the closed forms, and they give back the same noisy cloud."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Draw
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine
from coset.symmetry.fisher import expected_rotation
from coset.symmetry.groups import Group, LikeAtoms, Rotations, Trivial
from coset.symmetry.posterior_draws import draw_behind, draw_rotation
from coset.symmetry.rotations import haar
from coset.symmetry.targets import OrbitMean
from example_clouds import random_cloud

COUNT = 8_000
SHAPES = {
    "zero": [0.0, 0, 0], "rank one": [1.0, 0, 0], "planar": [1.0, 0.5, 0], "mirrored": [1.0, 1, -1],
    "any": [1.0, 0.6, -0.3],
}  # fmt: skip


def posed(values: list[float]) -> Tensor:
    turns = haar(Noise.from_seed(5, torch.arange(2)))
    return turns[0] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turns[1]


def assert_mean(values: Tensor, expected: Tensor) -> None:
    error = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - expected).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("scale", [0.3, 5.0, 1e3, 1e7])
@pytest.mark.parametrize("reflections", [False, True])
def test_drawn_rotations_have_the_mean_of_the_closed_form(values, scale, reflections):
    matrix = scale * posed(values)
    drawn = draw_rotation(matrix.expand(COUNT, 3, 3), Noise.from_seed(1, torch.arange(COUNT)), reflections)
    assert (drawn @ drawn.mT - torch.eye(3)).abs().max() < 1e-9
    assert reflections or (torch.linalg.det(drawn) - 1).abs().max() < 1e-9
    assert_mean(drawn, expected_rotation(matrix, reflections))


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.5, 5.0, 1e5])
def test_drawn_turns_of_the_plane_too(scale, reflections):
    matrix = scale * torch.tensor([[0.3, -0.9], [0.5, 0.2]], dtype=torch.float64)
    drawn = draw_rotation(matrix.expand(COUNT, 2, 2), Noise.from_seed(1, torch.arange(COUNT)), reflections)
    assert_mean(drawn, expected_rotation(matrix, reflections))


@pytest.mark.parametrize("reflections", [False, True])
def test_their_second_moments_are_those_of_weighted_uniform_rotations(reflections):
    matrix = 2.0 * posed([1.0, 0.6, -0.3])
    drawn = draw_rotation(matrix.expand(COUNT, 3, 3), Noise.from_seed(1, torch.arange(COUNT)), reflections)
    uniform = haar(Noise.from_seed(2, torch.arange(400_000)), reflections)
    weight = (uniform * matrix).sum((1, 2)).softmax(0)
    expected = torch.einsum("b,bij,bkl->ijkl", weight, uniform, uniform)
    found = torch.einsum("bij,bkl->ijkl", drawn, drawn) / COUNT
    assert (found - expected).abs().max() < 0.03


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="n = 2 or 3"):
        draw_rotation(torch.ones(4, 1, 1), Noise(torch.arange(4)))


@pytest.mark.parametrize(
    "group", [Trivial(), Rotations(), Rotations(reflections=True), LikeAtoms(), Rotations() * LikeAtoms()], ids=str
)
def test_what_may_lie_behind_has_the_orbit_mean_as_its_mean(group: Group):
    count, process, x0 = 4000, Affine(Cosine()), random_cloud([4], features=1)
    x0 = replace(x0, h=torch.ones_like(x0.h))
    x, h, mask = (value.expand(count, -1, -1) for value in (x0.x, x0.h, x0.mask))
    many, t = Cloud(x, h, mask), torch.full((count,), 0.5, dtype=torch.float64)
    eps = standard_normal(x0, Noise.from_seed(0, torch.arange(1)), process.subspace)
    z = process.noised(x0, t[:1]).at(eps)
    wide = Draw(many, many, replace(many, x=z.x.expand_as(x), h=z.h.expand_as(h)), t)
    behind = draw_behind(group, process, wide, Noise.from_seed(1, torch.arange(count)))
    exact = OrbitMean(group)(process, Draw(x0, eps, z, t[:1]))
    assert_mean(behind.x, exact.x[0])
    assert torch.allclose(behind.x.square().sum((1, 2)), x0.x.square().sum()) and torch.equal(behind.h, h)
