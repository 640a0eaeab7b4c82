"""Laws of the network of scalar and vector channels; those of every network are in test_networks.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.networks.eqgat import EQGAT, Encoder, EQGATField, EquivariantNorm, PairGeometry, Shape
from coset.networks.messages import real_pairs
from coset.networks.precision import set_trunk_precision
from coset.noise import Noise
from coset.recipes.registry import count_parameters
from coset.symmetry.checks import assert_equivariant
from coset.symmetry.rotations import haar
from example_clouds import alone, awake, padded, random_cloud

SIZES = [5, 1, 7, 2]
T = torch.tensor([0.05, 0.4, 0.6, 0.95], dtype=torch.float64)
SHAPE = Shape(width=12, vectors=8, edges=6, depth=3, radial=10)
SHAPES = {"rooted": SHAPE, "squared": replace(SHAPE, squared=True), "one layer": replace(SHAPE, depth=1)}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cloud(sizes: list[int] = SIZES) -> Cloud:
    return random_cloud(sizes, features=3)


def field(shape: Shape = SHAPE, scalars: int = 5, vectors: int = 4) -> EQGATField:
    torch.manual_seed(0)
    return awake(EQGATField(3, scalars, vectors, shape).double())  # type: ignore[return-value]


def test_the_published_shape_counts_as_published():
    """END's encoder; and its two, with the head of the forward process and that of the clean estimate."""
    with torch.device("meta"):
        clean, forward = EQGAT(5), EQGATField(5, scalars=2 * 5 + 1, vectors=1 + 3)
    assert parameters(clean.encoder) == parameters(forward.encoder) == 4_652_032
    assert parameters(clean) + parameters(forward) == 9_506_576
    assert 150_000 < count_parameters("edm_eqgat", "small") < 250_000


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_scalars_are_invariant_and_vectors_turn_with_the_cloud(shape):
    z, model = cloud(), field(shape)
    scalars, vectors = model(z, T)
    assert scalars.shape == (4, 7, 5) and vectors.shape == (4, 7, 4, 3)
    pose = haar(Noise(torch.arange(4)), reflections=True)
    assert (torch.linalg.det(pose) < 0).any() and (torch.linalg.det(pose) > 0).any()
    again, turned = model(z.rotate(pose), T)
    torch.testing.assert_close(again, scalars)
    torch.testing.assert_close(turned, torch.einsum("bij,bnmj->bnmi", pose, vectors))
    assert vectors[2].abs().min() > 1e-6 and (torch.linalg.matrix_rank(vectors[2], rtol=1e-6) == 3).all()
    order = torch.tensor([[4, 2, 0, 1, 3, 5, 6], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5, 6]])
    rows = torch.arange(4)[:, None]
    again, moved = model(z.permute(order), T)
    torch.testing.assert_close(again, scalars[rows, order])
    torch.testing.assert_close(moved, vectors[rows, order])


def test_as_a_network_it_is_equivariant_wherever_the_cloud_lies():
    torch.manual_seed(0)
    z, model = cloud(), awake(EQGAT(3, SHAPE).double())
    assert_equivariant(model, z, T, atol=1e-9)
    out, moved = model(z, T), model(replace(z, x=(z.x + torch.tensor([1.0, -2.0, 3.0])) * z.mask), T)
    torch.testing.assert_close(moved.x, out.x)
    torch.testing.assert_close(moved.h, out.h)


def test_padding_and_company_change_nothing_and_padding_is_zero():
    z, model = cloud(), field()
    plain, wide = model(z, T), model(padded(z, 3), T)
    for values, longer in zip(plain, wide, strict=True):
        torch.testing.assert_close(longer[:, :7], values)
        assert not longer[:, 7:].any() and not values[3, 2:].any()
        assert values[3, :2].any()
    for row, size in enumerate(SIZES):
        single = model(alone(z, row), T[row : row + 1])
        for values, lone in zip(plain, single, strict=True):
            torch.testing.assert_close(lone[0], values[row, :size])


def messages_pair_by_pair(encoder: Encoder, index: int, s: Tensor, v: Tensor, x: Tensor, t: Tensor):
    """The messages of one layer as END writes them: concatenated, one pair of atoms after the other."""
    layer, states, count = encoder.layers[index].messages, encoder.pairs, len(x)
    (invariants, arrows, radius), time = encoder.geometry(x[None]), encoder.time(t)[0]
    weight = torch.cat([layer.pairs.atoms.weight, layer.pairs.invariants.weight, layer.pairs.states.weight], 1)
    scalars, vectors = torch.zeros_like(s), torch.zeros_like(v)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        logits = []
        for j in others:
            state = states.mixed(states.embed(invariants[0, i, j]) + states.time(time))
            known = torch.cat([s[i], radius[0, i], s[j], radius[0, j], invariants[0, i, j], state])
            numbers = layer.weights(nn.functional.silu(weight @ known + layer.pairs.atoms.bias))
            logit, *of_vectors, of_arrow = numbers.split(layer.split)
            logits.append(logit)
            message = torch.outer(arrows[0, i, j], of_arrow)
            for share in of_vectors:
                message = message + share * layer.mixed(v[j])
            vectors[i] += message / len(others)
        if others:
            attention = torch.stack(logits).softmax(0)
            scalars[i] = (attention * layer.values(s[others])).sum(0)
    return scalars, vectors


@pytest.mark.parametrize("index", [0, 1])
@torch.no_grad()
def test_messages_are_those_of_pairs_taken_one_by_one(index):
    torch.manual_seed(0)
    encoder, z = Encoder(3, SHAPE).double(), cloud()
    s, v = torch.randn(4, 7, 12).double() * z.mask, torch.randn(4, 7, 3, 8).double() * z.mask[..., None]
    (invariants, arrows, radius), pairs = encoder.geometry(z.x), real_pairs(z.mask)
    edges = invariants, *encoder.pairs(encoder.time(T))
    found = encoder.layers[index].messages(s, v, radius, arrows * pairs, pairs, edges)
    for row, size in enumerate(SIZES):
        expected = messages_pair_by_pair(
            encoder, index, s[row, :size], v[row, :size], z.x[row, :size], T[row : row + 1]
        )
        torch.testing.assert_close(found[0][row, :size], expected[0])
        torch.testing.assert_close(found[1][row, :size], expected[1])


def test_geometry_is_arrows_from_the_receiver_and_bumps_that_end_at_the_reach():
    x = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 12.5]]], dtype=torch.float64)
    invariants, arrows, radius = PairGeometry(13, 12.0).double()(x)
    torch.testing.assert_close(arrows[0, 0, 1], x[0, 1] / 6, atol=1e-6, rtol=0)
    torch.testing.assert_close(radius[0, :, 0], torch.tensor([1e-3, 5.0, 12.5]).double())
    assert invariants[0, 1, 2, -1] == pytest.approx(0.8) and invariants[0, 0, 2, :-1].abs().max() < 1e-12
    bumps = invariants[0, 0, 1, :-1] / (0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * 5 / 12)))
    expected = torch.exp(-(torch.arange(13) - 5.0).square() * 13 / 12).double()
    torch.testing.assert_close(bumps, expected, atol=1e-6, rtol=0)


def test_no_bump_is_too_small_for_full_precision():
    apart = torch.linspace(0, 14, 2_000)
    x = torch.stack([torch.zeros(2_000, 3), F.pad(apart[:, None], (0, 2))], 1)
    bumps = PairGeometry(64, 12.0)(x)[0][:, 0, 1, :64]
    assert ((bumps == 0) | (bumps > 1e-30)).all()  # 0 where the cosine ends


def test_norms_divide_by_the_root_of_the_variance_and_as_released_by_the_variance():
    z = cloud()
    s, v = 3 * torch.randn(4, 7, 12).double() * z.mask, 3 * torch.randn(4, 7, 3, 8).double() * z.mask[..., None]
    (rooted_s, rooted_v), (squared_s, squared_v) = (
        EquivariantNorm(12, squared).double()(s, v, z.mask) for squared in (False, True)
    )
    for row, size in enumerate(SIZES):
        real = s[row, :size] - s[row, :size].mean()
        torch.testing.assert_close(rooted_s[row, :size], real / real.std(correction=0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(squared_s[row, :size], real / real.var(correction=0), atol=1e-5, rtol=1e-5)
        mean = v[row, :size].square().sum(1).mean()
        torch.testing.assert_close(rooted_v[row, :size], v[row, :size] / mean.sqrt(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(squared_v[row, :size], v[row, :size] / mean, atol=1e-5, rtol=1e-5)
    rooted, squared = field(SHAPE)(z, T), field(replace(SHAPE, squared=True))(z, T)
    assert all((a - b).abs().max() > 1e-2 for a, b in zip(rooted, squared, strict=True))


def derivative(model: EQGATField, z: Cloud, direction: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Of scalars and vectors as x moves along a direction and t by its slope, by forward mode."""
    return torch.func.jvp(lambda x, t: model(replace(z, x=x), t), (z.x, T.to(z.x)), (direction, slope))[1]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_derivatives_are_those_of_finite_differences(shape):
    """In the time, in the positions, and their gradients by the parameters: a learned process needs all three."""
    z, model, step = cloud(), field(shape), 1e-5
    directions = {"t": (torch.zeros_like(z.x), torch.ones_like(T)), "x": (random_cloud(SIZES, seed=5).x, 0 * T)}
    for direction, slope in directions.values():
        found = derivative(model, z, direction, slope)
        ends = [model(replace(z, x=z.x + e * direction), T + e * slope) for e in (step, -step)]
        for value, above, below in zip(found, *ends, strict=True):
            torch.testing.assert_close(value, (above - below) / (2 * step), atol=1e-7, rtol=1e-5)
            assert value.abs().max() > 1e-3
    parameters = list(model.parameters())
    total = sum(part.sum() for part in derivative(model, z, *directions["t"]))
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    ends = [torch.autograd.grad(sum(p.sum() for p in model(z, T + e)), parameters) for e in (step, -step)]
    for value, above, below in zip(found, *ends, strict=True):
        value = torch.zeros_like(above) if value is None else value
        torch.testing.assert_close(value, (above - below) / (2 * step), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("place", ["one place", "a line", "the middle"])
@pytest.mark.parametrize("shape", [SHAPES["rooted"], SHAPES["squared"]], ids=["rooted", "squared"])
def test_values_and_derivatives_are_finite_wherever_atoms_lie(place, shape):
    """In float32: all atoms at one place, on a line, or one of them at the origin; one atom and two are there too."""
    z, model = cloud().to(torch.float32), field(shape).float()
    axis = torch.tensor([1.0, 2.0, -2.0]) / 3
    x = {"one place": 0 * z.x, "a line": z.x[..., :1] * axis, "the middle": z.x - z.x[:, :1]}[place]
    x = (x * z.mask).requires_grad_()
    z = replace(z, x=x)
    scalars, vectors = model(z, T.float())
    rates = derivative(model, z, random_cloud(SIZES, dtype=torch.float32, seed=5).x, torch.ones(4))
    sum(part.square().sum() for part in (scalars, vectors, *rates)).backward()
    assert all(part.isfinite().all() for part in (scalars, vectors, *rates))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [x, *model.parameters()])
    if place == "one place":
        assert not vectors.any()
    elif place == "a line":
        across = vectors - (vectors @ axis)[..., None] * axis
        assert across.abs().max() < 1e-4 * vectors.abs().max()
    assert not vectors[1].any() and scalars[1, 0].any()  # a single atom has no direction


def test_it_compiles_as_one_graph(request):
    if request.config.getoption("--typecheck"):
        pytest.skip("checked signatures cannot be compiled")
    z = cloud()
    for model in (field(), EQGAT(3, SHAPE).double()):
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        found, expected = compiled(z, T), model(z, T)
        if isinstance(expected, Cloud):
            found, expected = (found.x, found.h), (expected.x, expected.h)
        for value, other in zip(found, expected, strict=True):
            torch.testing.assert_close(value, other)


def test_a_bf16_trunk_rounds_numbers_but_keeps_vectors_turning():
    z, model = cloud().to(torch.float32), field().float()
    exact = model(z, T.float())
    set_trunk_precision(model, "bf16")
    pose = haar(Noise(torch.arange(4)), reflections=True).float()
    (scalars, vectors), (_, turned) = model(z, T.float()), model(z.rotate(pose), T.float())
    for found, expected in ((scalars, exact[0]), (vectors, exact[1])):
        assert found.dtype == torch.float32
        assert 0 < (found - expected).norm() / expected.norm() < 0.03
    back = torch.einsum("bji,bnmj->bnmi", pose, turned)
    assert (back - vectors).norm() / vectors.norm() < 0.01


def test_a_field_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 scalar and 1 vector an atom; got 0 and 3"):
        field(scalars=0, vectors=3)
