"""Laws of Gaussians on masked, centred or free clouds, against dense linear algebra."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from coset.cloud import Cloud
from coset.gaussian import Gaussian, standard_normal
from coset.noise import Noise
from coset.scales import Centred, Free, Graph, Isotropic, PerAtom, PerAtomScalar, Scale, Subspace
from example_clouds import alone, random_cloud

SIZES, ATOMS, FEATURES = [5, 2, 3], 6, 2
SUBSPACES = [Centred(), Free()]


def scale(kind: str, width: int) -> Scale:
    """An operator of each kind, far from the identity; the identity at padding."""
    generator = torch.Generator().manual_seed(3)
    mask = random_cloud(SIZES, atoms=ATOMS).mask
    eye, real = torch.eye, mask[..., None]

    def positive(*shape: int) -> Tensor:
        return 0.5 + torch.rand(*shape, generator=generator, dtype=torch.float64)

    if kind == "isotropic":
        return Isotropic(positive(len(SIZES)))
    if kind == "atom scalar":
        return PerAtomScalar(positive(len(SIZES), ATOMS, 1) * mask + 1 - mask)
    if kind == "atom and channel scalar":
        return PerAtomScalar(positive(len(SIZES), ATOMS, width) * mask + 1 - mask)
    if kind == "atom matrix":
        matrix = torch.randn(len(SIZES), ATOMS, width, width, generator=generator, dtype=torch.float64)
        return PerAtom((matrix + eye(width)) * real + eye(width) * (1 - real))
    pairs = mask * mask.mT
    matrix = 0.5 * torch.randn(len(SIZES), ATOMS, ATOMS, generator=generator, dtype=torch.float64)
    return Graph(matrix * pairs + eye(ATOMS, dtype=torch.float64))


KINDS = ["isotropic", "atom scalar", "atom and channel scalar", "atom matrix", "graph"]


@pytest.fixture(params=[(kind, space) for kind in KINDS for space in SUBSPACES], ids=lambda p: f"{p[0]}, {p[1]}")
def gaussian(request) -> Gaussian:
    kind, subspace = request.param
    mean = random_cloud(SIZES, FEATURES, ATOMS, seed=1)
    return Gaussian(mean, scale(kind, 3), scale(kind, FEATURES), subspace)


def point(gaussian: Gaussian) -> Cloud:
    return gaussian.sample(Noise(torch.arange(len(SIZES))))


def basis(size: int, width: int, subspace: Subspace) -> Tensor:
    """Orthonormal columns (n d, k) that span the subspace of `size` real atoms among ATOMS."""
    mask = (torch.arange(ATOMS) < size).double()[None, :, None]
    units = torch.eye(ATOMS * width, dtype=torch.float64).view(-1, ATOMS, width)
    projector = subspace.project(units, mask.expand(len(units), -1, -1)).flatten(1)
    vectors, values, _ = torch.linalg.svd(projector)
    return vectors[:, values > 0.5]


def dense(operator: Scale, row: int, width: int) -> Tensor:
    """The operator of one molecule as a matrix (n d, n d), column by column."""
    units = torch.eye(ATOMS * width, dtype=torch.float64).view(-1, 1, ATOMS, width)
    columns = [operator.apply(unit.expand(len(SIZES), -1, -1))[row].flatten() for unit in units]
    return torch.stack(columns, -1)


def dense_log_prob(gaussian: Gaussian, z: Cloud, row: int) -> Tensor:
    """log N of the coordinates in an orthonormal basis of the subspace, with covariance M M^T, M = B^T U B."""
    total = torch.zeros((), dtype=torch.float64)
    parts = (
        (gaussian.x_scale, gaussian.subspace, z.x - gaussian.mean.x),
        (gaussian.h_scale, Free(), z.h - gaussian.mean.h),
    )
    for operator, subspace, away in parts:
        b = basis(SIZES[row], away.shape[-1], subspace)
        m = b.T @ dense(operator, row, away.shape[-1]) @ b
        total = total + MultivariateNormal(torch.zeros(len(m), dtype=torch.float64), m @ m.T).log_prob(
            b.T @ away[row].flatten()
        )
    return total


def test_whiten_undoes_at(gaussian):
    eps = standard_normal(gaussian.mean, Noise(torch.arange(len(SIZES))), gaussian.subspace)
    found = gaussian.whiten(gaussian.at(eps))
    assert torch.allclose(found.x, eps.x, atol=1e-10) and torch.allclose(found.h, eps.h, atol=1e-10)


def test_log_prob_is_the_dense_density_on_the_subspace(gaussian):
    z = point(gaussian)
    expected = torch.stack([dense_log_prob(gaussian, z, row) for row in range(len(SIZES))])
    assert torch.allclose(gaussian.log_prob(z), expected, atol=1e-9)


def test_logdet_is_the_pseudo_determinant(gaussian):
    found = gaussian.subspace.logdet(gaussian.x_scale, gaussian.mean.mask, 3)
    for row, size in enumerate(SIZES):
        b = basis(size, 3, gaussian.subspace)
        expected = torch.linalg.slogdet(b.T @ dense(gaussian.x_scale, row, 3) @ b).logabsdet
        assert torch.allclose(found[row], expected, atol=1e-10)


def test_score_is_the_gradient_of_log_prob_within_the_subspace(gaussian):
    z = point(gaussian)
    x, h = z.x.clone().requires_grad_(), z.h.clone().requires_grad_()
    inside = gaussian.subspace.project(x, z.mask)
    gaussian.log_prob(replace(z, x=inside, h=h)).sum().backward()
    score = gaussian.score(z)
    assert x.grad is not None and h.grad is not None
    assert torch.allclose(score.x, x.grad, atol=1e-9) and torch.allclose(score.h, h.grad, atol=1e-9)


def test_samples_have_the_mean_and_covariance(gaussian):
    draws, row = 20_000, 0
    one = _row(gaussian, row, draws)
    z = one.sample(Noise.from_seed(1, torch.arange(draws)))
    for values, mean, operator, subspace in (
        (z.x, one.mean.x, gaussian.x_scale, gaussian.subspace),
        (z.h, one.mean.h, gaussian.h_scale, Free()),
    ):
        b = basis(SIZES[row], values.shape[-1], subspace)
        away = (values - mean).flatten(1)
        assert torch.allclose(away, away @ b @ b.T, atol=1e-9)  # nothing outside the subspace
        m = b.T @ dense(operator, row, values.shape[-1]) @ b
        covariance, size = m @ m.T, draws**-0.5
        coordinates = away @ b
        assert (coordinates.mean(0) / covariance.diagonal().sqrt()).abs().max() < 4.5 * size
        norms = covariance.diagonal().sqrt()
        error = (coordinates.T.cov() - covariance) / (norms[:, None] * norms)
        assert error.abs().max() < 6 * size  # variances have the standard error sqrt(2 / draws)


def _row(gaussian: Gaussian, row: int, draws: int) -> Gaussian:
    """Copies of one molecule's Gaussian."""

    def copies(values: Tensor) -> Tensor:
        return values[row : row + 1].expand(draws, *values.shape[1:])

    def spread(operator: Scale) -> Scale:
        return type(operator)(*(copies(values) for values in vars(operator).values()))

    mean = gaussian.mean
    mean = Cloud(copies(mean.x), copies(mean.h), copies(mean.mask))
    return Gaussian(mean, spread(gaussian.x_scale), spread(gaussian.h_scale), gaussian.subspace)


@pytest.mark.parametrize("subspace", SUBSPACES, ids=str)
def test_kl_is_the_mean_log_ratio(subspace):
    mine = Gaussian.isotropic(
        random_cloud(SIZES, FEATURES, ATOMS, seed=1), torch.tensor([0.5, 1.0, 2.0]).double(), subspace
    )
    other = Gaussian.isotropic(
        random_cloud(SIZES, FEATURES, ATOMS, seed=2), torch.tensor([0.7, 1.5, 1.2]).double(), subspace
    )
    for row, size in enumerate(SIZES):
        expected = torch.zeros((), dtype=torch.float64)
        for width, space, away in (
            (3, subspace, mine.mean.x - other.mean.x),
            (FEATURES, Free(), mine.mean.h - other.mean.h),
        ):
            b = basis(size, width, space)
            eye = torch.eye(b.shape[1], dtype=torch.float64)
            p = MultivariateNormal(b.T @ away[row].flatten(), mine.x_scale.std[row] ** 2 * eye)
            q = MultivariateNormal(torch.zeros(len(eye), dtype=torch.float64), other.x_scale.std[row] ** 2 * eye)
            expected = expected + torch.distributions.kl_divergence(p, q)
        assert torch.allclose(mine.kl(other)[row], expected, atol=1e-10)
    assert torch.equal(mine.kl(mine), torch.zeros(len(SIZES), dtype=torch.float64))


def test_kl_matches_monte_carlo():
    draws = 4000
    cloud = random_cloud([4], FEATURES)
    mine = _row(Gaussian.isotropic(cloud, torch.tensor([0.8]).double(), Centred()), 0, draws)
    other = _row(Gaussian.isotropic(cloud.scale(1.3), torch.tensor([1.1]).double(), Centred()), 0, draws)
    z = mine.sample(Noise.from_seed(0, torch.arange(draws)))
    ratio = mine.log_prob(z) - other.log_prob(z)
    assert (ratio.mean() - mine.kl(other)[0]).abs() < 4 * ratio.std() / draws**0.5


@pytest.mark.parametrize("subspace", SUBSPACES, ids=str)
def test_padding_and_company_change_no_density(subspace):
    std = torch.tensor([0.5, 1.0, 2.0]).double()
    together = Gaussian.isotropic(random_cloud(SIZES, FEATURES, ATOMS, seed=1), std, subspace)
    z = point(together)
    for row in range(len(SIZES)):
        single = Gaussian.isotropic(alone(together.mean, row), std[row : row + 1], subspace)
        assert torch.allclose(single.log_prob(alone(z, row)), together.log_prob(z)[row])


def test_transposed_and_inverted_operators_are_so(gaussian):
    operator = gaussian.x_scale
    for row in range(len(SIZES)):
        u = dense(operator, row, 3)
        assert torch.allclose(dense(operator.transpose(), row, 3), u.T)
        assert torch.allclose(dense(operator.inverse(), row, 3) @ u, torch.eye(len(u), dtype=torch.float64), atol=1e-9)
