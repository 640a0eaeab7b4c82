"""Laws of the transformer on molecular graphs: order of atoms, padding, company, and what it is told of the graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud, Condition
from coset.networks.conditioned import Conditioned
from coset.networks.dit import Transformer
from coset.networks.graph_transformer import GraphTransformer
from coset.networks.graphs import known_modes
from coset.networks.precision import set_trunk_precision
from coset.symmetry.checks import assert_equivariant
from example_clouds import awake
from example_graphs import ATTRIBUTES, RELATIONS, SIZES, T, alone, graph_cloud, longer

# Pairs alone, modes alone, both, neither.
KINDS = {"pairs": (RELATIONS, 0), "modes": (0, 3), "both": (RELATIONS, 9), "neither": (0, 0)}


def network(kind: str = "pairs", depth: int = 2) -> GraphTransformer:
    torch.manual_seed(0)
    relations, modes = KINDS[kind]
    made = GraphTransformer(ATTRIBUTES, relations, width=16, depth=depth, heads=4, modes=modes)
    return awake(made).double()  # type: ignore[return-value]


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_its_size_is_that_of_the_trunk_and_of_what_goes_in_and_out():
    """One linear map of 64 hidden units gives the biases of all heads of all layers."""
    with torch.device("meta"):
        model = GraphTransformer(attributes=10, relations=4, width=128, depth=6, heads=8, modes=16)
        trunk = Transformer(128, 6, 8)
    found, inside = (sum(parameter.numel() for parameter in part.parameters()) for part in (model, trunk))
    tokens, head = 100 * 128 + (10 + 3 + 16 + 1) * 128, 3 * 128 + 3
    assert found - inside == tokens + (4 + 80 + 1) * 64 + (64 + 1) * 6 * 8 + head


def test_permuted_atoms_give_permuted_velocities(kind):
    z, model = graph_cloud(), network(kind)
    order = torch.rand(4, 7, generator=torch.Generator().manual_seed(0)).argsort(1)
    torch.testing.assert_close(model(z.permute(order), T).x, model(z, T).permute(order).x)


def test_it_is_not_equivariant_under_rotations():
    z = graph_cloud()
    z = replace(z, h=z.mask)
    with pytest.raises(AssertionError, match="not equivariant under rotations"):
        assert_equivariant(network(), z, T, atol=1e-3)


def test_its_velocity_is_centred_and_does_not_depend_on_where_the_molecule_lies(kind):
    z, model = graph_cloud(), network(kind)
    out, moved = model(z, T), model(replace(z, x=(z.x + torch.tensor([1.0, -2.0, 3.0])) * z.mask), T)
    torch.testing.assert_close(moved.x, out.x)
    assert out.x.sum(1).abs().max() < 1e-10 and out.x[[0, 2, 3]].abs().amax((1, 2)).min() > 1e-3
    assert not out.x[1].any()  # a single atom stays where it is
    assert out.h.shape == (4, 7, 0) and out.condition is z.condition


def test_padding_and_company_change_nothing_and_padding_is_zero(kind):
    z, model = graph_cloud(), network(kind)
    plain, wide = model(z, T).x, model(longer(z, 3), T).x
    assert (wide[:, :7] - plain).abs().max() < 1e-8
    assert not wide[:, 7:].any() and not plain[3, 2:].any()
    for row, size in enumerate(SIZES):
        single = model(alone(z, row), T[row : row + 1]).x
        assert (single[0] - plain[row, :size]).abs().max() < 1e-8


def test_all_that_it_is_given_matters():
    z, model = graph_cloud(), network("both")
    known = z.condition
    assert known is not None and known.nodes is not None and known.edges is not None and known.modes is not None
    others = {
        "elements": replace(known, nodes=known.nodes + torch.tensor([1.0, 0, 0, 0]) * z.mask),
        "attributes": replace(known, nodes=known.nodes * torch.tensor([1.0, 1.1, 1.1, 1.1])),
        "relations": replace(known, edges=known.edges * torch.tensor([1.0, 2.0])),
        "bonds": replace(known, edges=known.edges * torch.tensor([0.0, 1.0])),
        "modes": replace(known, modes=known.modes.flip(1)),
    }
    changed = {name: model(replace(z, condition=other), T) for name, other in others.items()}
    changed["time"], changed["positions"] = model(z, 1 - T), model(replace(z, x=1.1 * z.x), T)
    told = awake(Conditioned(model, [2], hidden=4)).double()
    scalars = replace(z, condition=replace(known, scalars=torch.ones(4, 2, dtype=torch.float64)))
    changed["told"] = told(scalars, T)
    plain = network("both")(z, T)
    for name, out in changed.items():
        assert (out.x - plain.x).abs().max() > 1e-5, name


def test_without_relations_it_never_looks_at_pairs():
    z = graph_cloud()
    assert z.condition is not None
    without = replace(z, condition=replace(z.condition, edges=None))
    assert torch.equal(network("modes")(without, T).x, network("modes")(z, T).x)


def test_modes_have_mean_square_one_and_are_zero_where_a_molecule_has_no_more():
    z = graph_cloud()
    modes = known_modes(z, 9)
    assert modes.shape == (4, 7, 9)
    for row, size in enumerate(SIZES):
        overlaps = modes[row].mT @ modes[row] / size
        expected = (torch.arange(9) < size - 1).double().diag()
        torch.testing.assert_close(overlaps, expected)
        assert modes[row].sum(0).abs().max() < 1e-10  # the constant mode is not among them


def test_untrained_it_moves_nothing_and_its_pairs_add_nothing():
    torch.manual_seed(0)
    z, model = graph_cloud(), GraphTransformer(ATTRIBUTES, RELATIONS, width=16, depth=2, heads=4).double()
    assert not model(z, T).x.any()
    assert model.pairs is not None
    assert all(not bias.any() for bias in model.pairs(z.x, z.condition.edges, z.x.new_zeros(4, 1, 1, 7)))


def test_atoms_at_one_place_give_finite_gradients(kind):
    z, model = graph_cloud(dtype=torch.float32), network(kind).float()
    x = torch.zeros_like(z.x).requires_grad_()
    model(replace(z, x=x), T.float()).x.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_bf16_trunk_rounds_a_little(kind):
    z, model = graph_cloud(dtype=torch.float32), network(kind).float()
    exact = model(z, T.float()).x
    set_trunk_precision(model, "bf16")
    rounded = model(z, T.float()).x
    assert rounded.dtype == torch.float32 and 0 < (rounded - exact).norm() / exact.norm() < 0.05


def test_a_cloud_without_its_graph_is_refused():
    z = graph_cloud()
    assert z.condition is not None
    nodes = Condition(nodes=z.condition.nodes)

    def call(kind: str, cloud: Cloud) -> Cloud:
        return network(kind)(cloud, T)

    with pytest.raises(ValueError, match=r"needs condition.nodes with 4 channels .*; got none"):
        call("neither", replace(z, condition=None))
    with pytest.raises(ValueError, match=r"needs condition.edges with 2 channels .*; got none"):
        call("pairs", replace(z, condition=nodes))
    with pytest.raises(ValueError, match=r"needs condition.modes \(b, n, n\); got none"):
        call("modes", replace(z, condition=nodes))
