"""Laws of the equivariant transformer: sizes, symmetry, what it sees of the graph, and its sums pair by pair."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.networks.conditioned import Conditioned
from coset.networks.et import ET, Attention
from coset.networks.messages import real_pairs
from coset.networks.neighbours import PairGeometry
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.symmetry.checks import assert_equivariant
from coset.symmetry.rotations import haar
from example_clouds import awake
from example_graphs import ATTRIBUTES, RELATIONS, SIZES, T, alone, graph_cloud, longer

BOTH = pytest.mark.parametrize("reflections", [True, False], ids=["O(3)", "SO(3)"])


def network(reflections: bool = True, depth: int = 3, cutoff: float = 6.0) -> ET:
    torch.manual_seed(0)
    made = ET(ATTRIBUTES, RELATIONS, 16, depth, heads=4, radial=10, cutoff=cutoff, reflections=reflections)
    return awake(made).double()  # type: ignore[return-value]


def bonded(z: Cloud, bond: float) -> Cloud:
    """With the first two atoms of every molecule bonded, or not, and no other relations."""
    assert z.condition is not None and z.condition.edges is not None
    edges = torch.zeros_like(z.condition.edges)
    edges[:, 0, 1, 0] = edges[:, 1, 0, 0] = bond
    return replace(z, condition=replace(z.condition, edges=edges))


def two_atoms(apart: float) -> Cloud:
    z = graph_cloud([2])
    return replace(z, x=torch.tensor([[[0.0, 0, -apart / 2], [0, 0, apart / 2]]], dtype=torch.float64))


@pytest.mark.parametrize(("reflections", "expected"), [(True, 8_337_809), (False, 9_064_209)])
def test_the_published_size_counts_as_published(reflections, expected):
    with torch.device("meta"):
        model = ET(attributes=10, relations=1, reflections=reflections)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@BOTH
def test_it_is_equivariant_under_rotations_and_permutations(reflections):
    z, model = graph_cloud(), network(reflections)
    z = replace(z, h=z.mask * z.x.square().sum(-1, keepdim=True))  # which passes through
    assert_equivariant(model, z, T, atol=1e-9, reflections=reflections)
    out = model(z, T)
    assert (torch.linalg.matrix_rank(out.x[[0, 2]], rtol=1e-6) == 3).all() and out.x[3].abs().max() > 1e-3


def test_mirrors_commute_with_it_only_where_they_are_to():
    mirror = -torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    z = graph_cloud()
    away = {}
    for reflections in (True, False):
        model = network(reflections)
        away[reflections] = (model(z.rotate(mirror), T).x - model(z, T).rotate(mirror).x).abs().amax((1, 2))
    assert away[True].max() < 1e-9
    assert away[False][[0, 2]].min() > 1e-3
    assert away[False][[1, 3]].max() < 1e-9  # two atoms have no handedness


@BOTH
def test_its_velocity_is_centred_and_does_not_depend_on_where_the_molecule_lies(reflections):
    z, model = graph_cloud(), network(reflections)
    out, moved = model(z, T), model(replace(z, x=(z.x + torch.tensor([1.0, -2.0, 3.0])) * z.mask), T)
    torch.testing.assert_close(moved.x, out.x)
    assert out.x.sum(1).abs().max() < 1e-10
    assert out.h.shape == (4, 7, 0) and out.mask is z.mask and out.condition is z.condition


@BOTH
def test_padding_and_company_change_nothing_and_padding_is_zero(reflections):
    z, model = graph_cloud(), network(reflections)
    plain, wide = model(z, T).x, model(longer(z, 3), T).x
    assert (wide[:, :7] - plain).abs().max() < 1e-8
    assert not wide[:, 7:].any() and not plain[3, 2:].any()
    for row, size in enumerate(SIZES):
        single = model(alone(z, row), T[row : row + 1]).x
        assert (single[0] - plain[row, :size]).abs().max() < 1e-8


@BOTH
def test_a_single_atom_stays_where_it_is(reflections):
    z = graph_cloud([1, 1])
    out = network(reflections)(z, T[:2])
    assert out.x.shape == (2, 1, 3) and not out.x.any()


def test_time_attributes_elements_relations_and_what_it_is_told_all_matter():
    z, model = graph_cloud(), network()
    known = z.condition
    assert known is not None and known.nodes is not None and known.edges is not None
    others = {
        "elements": replace(known, nodes=known.nodes + torch.tensor([1.0, 0, 0, 0]) * z.mask),
        "attributes": replace(known, nodes=known.nodes * torch.tensor([1.0, 1.1, 1.1, 1.1])),
        "relations": replace(known, edges=known.edges * torch.tensor([1.0, 1.1])),
        "bonds": replace(known, edges=known.edges * torch.tensor([0.0, 1.0])),
    }
    changed = {name: model(replace(z, condition=other), T) for name, other in others.items()}
    changed["time"] = model(z, 1 - T)
    told = awake(Conditioned(model, [2], hidden=4)).double()
    scalars = replace(z, condition=replace(known, scalars=torch.ones(4, 2, dtype=torch.float64)))
    changed["told"] = told(scalars, T)
    plain = network()(z, T)
    for name, out in changed.items():
        assert (out.x - plain.x).abs().max() > 1e-4, name


def test_bonded_atoms_are_neighbours_at_any_distance_and_others_within_the_cutoff():
    model = network(cutoff=6.0)
    for bond, apart, seen in [(0, 5.0, True), (0, 6.01, False), (1, 5.0, True), (1, 6.01, True), (1, 40.0, True)]:
        out = model(bonded(two_atoms(apart), bond), T[:1])
        assert (out.x.abs().max() > 1e-4) == seen, (bond, apart)


def test_the_velocity_is_continuous_where_a_pair_leaves_the_cutoff():
    model = network(cutoff=6.0)
    for place in (6.0, 5.4):
        below, above = (model(bonded(two_atoms(place + e), 0), T[:1]).x for e in (-1e-9, 1e-9))
        torch.testing.assert_close(below, above, atol=1e-6, rtol=0)


def test_geometry_is_arrows_from_the_receiver_of_length_one_and_published_bumps_of_the_distance():
    geometry = PairGeometry(64, 10.0).double()
    x = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 11.0]]], dtype=torch.float64)
    relations = torch.zeros(1, 3, 3, 1, dtype=torch.float64)
    relations[0, 0, 2] = 1
    pairs = geometry(x, relations, real_pairs(torch.ones(1, 3, 1).double()))
    torch.testing.assert_close(pairs.arrows[0, 0, 1], x[0, 1] / 5, atol=1e-6, rtol=0)
    assert not pairs.arrows[0].diagonal().any()
    assert pairs.near[0, 0, 1].item() == pytest.approx(0.5, abs=1e-6) and pairs.near[0, 0, 2].item() == 0
    means = torch.linspace(math.exp(-10), 1, 64).double()
    expected = 0.5 * torch.exp(-((math.exp(-2.5) - means) ** 2) * (2 / 64 * (1 - math.exp(-10))) ** -2)
    torch.testing.assert_close(pairs.features[0, 0, 1, :64], expected, atol=1e-6, rtol=0)
    assert pairs.features[0, 0, 1, 64:].tolist() == [0, 1] and pairs.features[0, 0, 2, 64:].tolist() == [1, 1]
    assert not pairs.features[0, 2, 0].any() and not pairs.features[0, 0, 0].any()  # not bonded that way; itself


def test_no_bump_is_too_small_for_full_precision():
    apart = torch.linspace(0, 11, 2_000)
    x = torch.stack([torch.zeros(2_000, 3), F.pad(apart[:, None], (0, 2))], 1)
    with torch.no_grad():
        bumps = PairGeometry(64, 10.0)(x, torch.zeros(2_000, 2, 2, 1), real_pairs(torch.ones(2_000, 2, 1))).features
    assert ((bumps == 0) | (bumps > 1e-35)).all()


def messages_pair_by_pair(layer: Attention, s: Tensor, v: Tensor, features: Tensor, near: Tensor, x: Tensor):
    """The messages of one molecule as they are published: one pair of atoms and one head after the other."""
    width, heads = s.shape[-1], layer.heads
    q, k, *values = layer.atoms(s).split(width, -1)
    q, k = layer.norms[0](q), layer.norms[1](k)
    scalars, vectors = torch.zeros_like(s), torch.zeros_like(v)
    for i in range(len(s)):
        for j in range(len(s)):
            if i == j or not features[i, j].any():
                continue
            filters = layer.filters.weight @ features[i, j, :-1] + layer.filters.bias * features[i, j, -1]
            of_key, *others = F.silu(filters).split(width)
            number, of_arrow, of_vector, *of_cross = (u[j] * f for u, f in zip(values, others, strict=True))
            attention = F.silu((q[i] * k[j] * of_key).view(heads, -1).sum(-1)) * near[i, j]
            scalars[i] += (number.view(heads, -1) * attention[:, None]).flatten()
            arrow = (x[j] - x[i]) / (x[j] - x[i]).norm()
            vectors[i] += of_vector * v[j] + of_arrow * arrow[:, None]
            for each in of_cross:
                vectors[i] += each * torch.linalg.cross(arrow[:, None].expand_as(v[j]), v[j], dim=0)
    return scalars, vectors


@BOTH
@torch.no_grad()
def test_messages_are_those_of_pairs_taken_one_by_one(reflections):
    model, z = network(reflections, cutoff=4.5), graph_cloud()
    assert z.condition is not None and z.condition.edges is not None
    layer, edges = model.layers[1].attention, z.condition.edges
    generator = torch.Generator().manual_seed(2)
    s = torch.randn(4, 7, 16, generator=generator, dtype=torch.float64)
    v = torch.randn(4, 7, 3, 16, generator=generator, dtype=torch.float64) * z.mask[..., None]
    pairs = model.geometry(z.x, edges, real_pairs(z.mask))
    assert 0 < (pairs.near[2] == 0).sum() < 42 and (pairs.features[2] == 0).all(-1).sum() > 7  # some are too far
    scalars, vectors = layer(s, v, pairs)
    for row, size in enumerate(SIZES):
        one = slice(0, size)
        known = pairs.features[row, one, one], pairs.near[row, one, one]
        expected = messages_pair_by_pair(layer, s[row, one], v[row, one], *known, z.x[row, one])
        torch.testing.assert_close(scalars[row, one], expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vectors[row, one], expected[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_atoms_begin_as_their_element_and_those_around_within_the_cutoff():
    model, z = network(cutoff=4.5), graph_cloud()
    assert z.condition is not None and z.condition.nodes is not None and z.condition.edges is not None
    numbers, pairs = z.condition.nodes[..., 0].long(), model.geometry(z.x, z.condition.edges, real_pairs(z.mask))
    found = model._embedded(z, numbers, pairs)
    for row, size in enumerate(SIZES):
        for i in range(size):
            around = torch.zeros(16, dtype=torch.float64)
            for j in range(size):
                known, near = pairs.features[row, i, j], pairs.near[row, i, j]
                filters = model.filters.weight @ known[:-1] + model.filters.bias * known[-1]
                around += model.around(numbers[row, j]) * filters * near
            expected = model.embed(torch.cat([model.elements(numbers[row, i]), around]))
            torch.testing.assert_close(found[row, i], expected)


@BOTH
@pytest.mark.parametrize("place", ["one place", "two at one place", "a line"])
def test_values_and_gradients_are_finite_wherever_atoms_lie(place, reflections):
    z, model = graph_cloud(dtype=torch.float32), network(reflections).float()
    x = {
        "one place": 0 * z.x,
        "two at one place": torch.cat([z.x[:, :1], z.x[:, :1], z.x[:, 2:]], 1),
        "a line": z.x * torch.tensor([1.0, 0, 0]),
    }[place]
    x = (x * z.mask).requires_grad_()
    model(replace(z, x=x), T.float()).x.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@BOTH
def test_float32_turns_with_the_cloud_and_bf16_rounds_scalars_alone(reflections):
    z, model = graph_cloud(dtype=torch.float32), network(reflections).float()
    pose = haar(Noise(torch.arange(4)), reflections=False).float()
    exact = model(z, T.float()).x
    assert (model(z.rotate(pose), T.float()).x @ pose - exact).norm() < 1e-5 * exact.norm()
    set_trunk_precision(model, "bf16")
    rounded, turned = model(z, T.float()).x, model(z.rotate(pose), T.float()).x @ pose
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05
    assert (turned - rounded).norm() / exact.norm() < 0.02


def test_a_cloud_without_its_graph_is_refused():
    z, model = graph_cloud(), network()
    assert z.condition is not None
    with pytest.raises(ValueError, match=r"needs condition.nodes with 4 channels \(atomic number first\); got none"):
        model(replace(z, condition=None), T)
    with pytest.raises(ValueError, match=r"needs condition.edges with 2 channels \(1 on bonds first\); got none"):
        model(replace(z, condition=Condition(nodes=z.condition.nodes)), T)
    with pytest.raises(ValueError, match=r"needs condition.nodes with 4 channels .*; got 6"):
        model(replace(z, condition=replace(z.condition, nodes=torch.ones(4, 7, 6))), T)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of 2 \\* heads; got width=20, heads=4"):
        ET(1, 1, width=20, heads=4)
    with pytest.raises(ValueError, match="relations counts the channel of bonds and so is at least 1; got 0"):
        ET(1, 0)
