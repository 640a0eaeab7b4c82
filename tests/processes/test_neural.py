"""Laws of learned processes: symmetry, ends, algebra on the centred subspace, derivatives, known limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from coset.cloud import Cloud
from coset.codecs.identity import Identity
from coset.diffusion import Diffusion
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser
from coset.noise import Noise
from coset.objectives.drift import DriftMatching
from coset.processes.affine import Affine
from coset.processes.neural import DirectDrift, Neural
from coset.processes.schedules import Cosine, Geometric, LinearLogSNR, Polynomial
from coset.processes.spreads import Columns, Gram, Matrix, Outer, Scalar, Scheduled, Spread, exponential
from coset.processes.steps import EulerMaruyama, Renewal
from coset.processes.transforms import Fixed, Learned, Transform, channels
from coset.processes.volatility import OfSchedule
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample
from coset.samplers.solvers import Ancestral, Heun
from coset.scales import PerAtom
from coset.symmetry.checks import assert_equivariant, equivariance_in_law
from coset.symmetry.rotations import haar
from example_clouds import Known, alone, padded, random_cloud
from example_fields import SmallField, Spoilt

SIZES, FEATURES = [4, 6, 2], 5
VOLATILITY = OfSchedule(LinearLogSNR())


def learned(spread: Spread, power: int = 1, loud: float = 1.0) -> Learned:
    field = SmallField(FEATURES, *channels(spread, FEATURES))
    with torch.no_grad():
        for head in (field.scalars, field.vectors):
            head.weight.mul_(loud)
    return Learned(field, Geometric(), spread, power)


TRANSFORMS: dict[str, Transform] = {
    "gram": learned(Matrix(share=0.3)),
    "outer": learned(Matrix(form=Outer(), share=0.3)),
    "exponential": learned(Matrix(growth=exponential, share=0.3)),
    "scalar": learned(Scalar()),
    "mean only": learned(Scheduled()),
    "fixed": Fixed(Geometric()),
}
each = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(x0: Cloud, seed: int = 0) -> Cloud:
    transform = TRANSFORMS["gram"]
    return standard_normal(x0, Noise.from_seed(seed, torch.arange(len(x0))), transform.subspace)


def close(first: Cloud, second: Cloud, atol: float = 1e-10) -> bool:
    return torch.allclose(first.x, second.x, atol=atol) and torch.allclose(first.h, second.h, atol=atol)


X0, T = random_cloud(SIZES, FEATURES, seed=1), times(0.2, 0.5, 0.8)
EPS = draw(X0)


def rotations() -> Tensor:
    return -haar(Noise.from_seed(5, torch.arange(len(SIZES))), reflections=False)


def away_from_equivariance(transform: Transform) -> Tensor:
    turn = rotations()
    turned = transform(X0.rotate(turn), T).at(EPS.rotate(turn))
    return (turned - transform(X0, T).at(EPS).rotate(turn)).x.abs().max()


@each
def test_the_transform_turns_with_cloud_and_noise(transform):
    """F(R eps, t, R x) = R F(eps, t, x)."""
    assert away_from_equivariance(transform) < 1e-12


def test_columns_of_vectors_break_the_symmetry():
    """The released U = sigma I + M: neither the transform nor the covariance of the noise turns with the molecule."""
    transform = learned(Matrix(form=Columns(), share=0.3))
    assert away_from_equivariance(transform) > 1e-2

    def covariance(form: Columns | Gram, cloud: Cloud) -> Tensor:
        u = learned(Matrix(form=form, share=3.0))(cloud, T).x_scale.matrix
        return u @ u.mT

    turn = rotations()
    for form, error in ((Columns(), 1e-2), (Gram(), 0.0)):
        r = turn[:, None]
        away = (covariance(form, X0.rotate(turn)) - r @ covariance(form, X0) @ r.mT).abs().max()
        assert away >= error if error else away < 1e-12


@each
def test_both_ends_are_exact_whatever_the_weights(transform):
    if isinstance(transform, Learned):
        transform = learned(transform.spread, loud=100.0)
    start, end = transform(X0, times(0, 0, 0)), transform(X0, times(1, 1, 1))
    assert torch.equal(start.mean.h, X0.h) and torch.allclose(start.mean.x, X0.x, atol=1e-15)
    assert not end.mean.x.any() and not end.mean.h.any()
    moved = start.at(EPS) - start.mean
    assert torch.allclose(moved.x, 0.01 * EPS.x, atol=1e-15) and torch.allclose(moved.h, 0.01 * EPS.h, atol=1e-15)
    assert close(end.at(EPS), EPS, 1e-15)
    prior = transform.prior(X0)
    assert close(prior.at(EPS), EPS, 1e-15)


@each
def test_noisy_clouds_are_centred_and_padding_is_still(transform):
    path = Neural(transform, VOLATILITY).path(X0, T)
    real = X0.mask[..., 0] > 0
    for cloud in (path.marginal.mean, path.marginal.at(EPS), path.velocity(EPS), path.drift(EPS)):
        assert cloud.x.sum(1).abs().max() < 1e-11
        assert not cloud.x[~real].any() and not cloud.h[~real].any()
    ones = torch.ones_like(X0.x) * (1 - X0.mask)
    if isinstance(path.marginal.x_scale, PerAtom):  # scales hold the identity there
        assert torch.equal(path.marginal.x_scale.apply(ones), ones)
        assert torch.equal(path.rate.x_scale.apply(ones), 0 * ones)


@each
def test_noise_is_found_again(transform):
    marginal = transform(X0, T)
    assert close(marginal.whiten(marginal.at(EPS)), EPS)


@each
def test_score_is_that_of_the_pseudo_inverse_covariance_and_of_autograd(transform):
    marginal = transform(X0, T)
    z, path = marginal.at(EPS), Neural(transform, VOLATILITY).path(X0, T)
    score = path.marginal.score_at(EPS)
    assert close(score, marginal.score(z), 1e-7)
    for row, size in enumerate(SIZES):

        def noise_of(x: Tensor, row: int = row, size: int = size) -> Tensor:
            x = torch.zeros_like(EPS.x).index_put((torch.tensor(row), torch.arange(size)), x.view(size, 3))
            inside = replace(EPS, x=marginal.subspace.project(x, EPS.mask))
            return (marginal.at(inside) - marginal.mean).x[row, :size].flatten()

        jacobian = torch.autograd.functional.jacobian(noise_of, EPS.x[row, :size].flatten())
        covariance, away = jacobian @ jacobian.T, (z - marginal.mean).x[row, :size].flatten()
        expected = -torch.linalg.pinv(covariance, hermitian=True, rtol=1e-9) @ away
        assert torch.allclose(score.x[row, :size].flatten(), expected, rtol=1e-6, atol=1e-8)
        values = torch.linalg.eigvalsh(covariance)[3:]
        found = marginal.subspace.logdet(marginal.x_scale, marginal.mean.mask, 3)[row]
        assert torch.allclose(found, 0.5 * values.log().sum())
    x, h = z.x.clone().requires_grad_(), z.h.clone().requires_grad_()
    inside = replace(z, x=marginal.subspace.project(x, z.mask), h=h)
    gradient = torch.autograd.grad(marginal.log_prob(inside).sum(), (x, h))
    assert torch.allclose(score.x, gradient[0], atol=1e-7) and torch.allclose(score.h, gradient[1], atol=1e-7)


@each
def test_rate_and_acceleration_are_differences_of_the_transform_at_fixed_noise(transform):
    process, step = Neural(transform, VOLATILITY), 1e-4
    with torch.no_grad():
        path = process.path(X0, T, order=2)
        low, mid, high = (transform(X0, T + shift).at(EPS) for shift in (-step, 0, step))
        assert path.acceleration is not None
        assert close(path.velocity(EPS), (high - low).scale(1 / (2 * step)), 1e-5)
        assert close(path.acceleration.at(EPS), (high - mid - mid + low).scale(step**-2), 1e-4)
        assert close(process.velocity(mid, T, X0), path.velocity(EPS), 1e-9)
        assert close(process.path(X0, T[:1].expand(3)).rate.mean, process.path(X0, T[:1].repeat(3)).rate.mean)


@each
def test_drift_is_velocity_less_half_the_score(transform):
    process = Neural(transform, VOLATILITY)
    z = transform(X0, T).at(EPS)
    g2 = 20 * torch.sigmoid(-10 + 20 * T)  # as released
    expected = process.velocity(z, T, X0) - transform(X0, T).score(z).scale(0.5 * g2)
    assert close(process.drift(z, T, X0), expected, 1e-7)


class Shrink(Denoiser):
    """A smooth equivariant estimate that needs no training; at t = 0 the cloud itself."""

    def forward(self, z, t, noise=None):
        return z.map(lambda values: values * (1 - 0.5 * t.to(values.dtype))[:, None, None])


def chain(process: Neural, z: Cloud, steps: int, noise: Noise, top: float = 1.0, solver=None) -> Cloud:
    solver, denoiser = solver or Ancestral(), Shrink()
    grid = top * power_grid(steps)[:, None].repeat(1, len(z))
    with torch.no_grad():
        for step in range(steps):
            z, _ = solver.step(process, denoiser, z, grid[step], grid[step + 1], None, noise.at(step))
    return z


@each
@pytest.mark.parametrize("step", [EulerMaruyama(eta=0.0), Renewal(LinearLogSNR(), eta=0.0)], ids=["euler", "renewal"])
def test_the_deterministic_sampler_is_equivariant(transform, step):
    process, noise = Neural(transform, VOLATILITY, step), Noise(torch.arange(3))
    assert_equivariant(lambda z, t: process.drift(z, t, Shrink()(z, t)), EPS, T, atol=1e-9)
    assert_equivariant(lambda z, t: chain(process, z, 6, noise), EPS, T, atol=1e-9)


SOFT = LinearLogSNR(4, -4)


@pytest.mark.parametrize("step", [EulerMaruyama(), Renewal(SOFT)], ids=["euler", "renewal"])
def test_the_sampler_is_equivariant_in_law_and_with_columns_it_is_not(step):
    start = alone(draw(random_cloud([4], 2, seed=4)), 0).scale(2.0)

    def found(form: Gram | Columns) -> float:
        spread = Matrix(form=form, share=10.0)
        process = Neural(Learned(SmallField(2, *channels(spread, 2)), SOFT, spread), OfSchedule(SOFT), step)
        return equivariance_in_law(lambda z, noise: chain(process, z, 3, noise, 0.7), start, 3000, rotations=2).rms

    assert found(Gram()) < 1.3
    assert found(Columns()) > 1.6


def test_a_fixed_process_tends_to_the_affine_posterior_with_the_step():
    """Halving the step halves the error of the mean and of the variance, each a unit of time."""
    schedule = Cosine()
    process, affine = Neural(Fixed(schedule), OfSchedule(schedule)), Affine(schedule)
    z = affine.noised(X0, T).at(EPS)
    errors = []
    for step in (1e-2, 5e-3, 2.5e-3):
        found, expected = process.reverse(z, T, T - step, X0), affine.reverse(z, T, T - step, X0)
        mean = (found.mean - expected.mean).scale(1 / step)
        variance = (found.x_scale.std.square() - expected.x_scale.std.square()) / step
        errors.append(times(mean.x.abs().max(), mean.h.abs().max(), variance.abs().max()))
    assert torch.allclose(errors[0] / errors[1], times(2, 2, 2), rtol=0.05)
    assert torch.allclose(errors[1] / errors[2], times(2, 2, 2), rtol=0.03)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("schedule", [Cosine(), Polynomial(), Geometric()], ids=str)
def test_renewal_of_a_fixed_process_is_the_affine_step(schedule, eta):
    """At every step size, and down to t = 0."""
    process, affine = Neural(Fixed(schedule), VOLATILITY, Renewal(schedule)).with_eta(eta), Affine(schedule, eta)
    z, s = affine.noised(X0, T).at(EPS), times(0.19, 0.1, 0.0)
    found, expected = process.reverse(z, T, s, X0), affine.reverse(z, T, s, X0)
    assert close(found.mean, expected.mean)
    assert torch.allclose(found.x_scale.std, expected.x_scale.std)
    assert torch.allclose(found.h_scale.std, expected.h_scale.std)


@each
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_renewal_keeps_the_marginals(transform, eta):
    """keep^2 U U^T + fresh U U^T is the covariance at s, and the mean moves from that at t to that at s."""
    process, s = Neural(transform, VOLATILITY, Renewal(Cosine(), eta=eta)), T / 3
    start, end = transform(X0, T), transform(X0, s)
    found = process.reverse(start.mean, T, s, X0)
    assert close(found.mean, end.mean)
    kept = end.whiten(process.reverse(start.at(EPS), T, s, X0).mean)
    fresh = end.whiten(replace(found, mean=end.mean).at(EPS))
    total = kept.map(lambda a, b: a.square() + b.square(), fresh)
    assert close(total, EPS.map(Tensor.square), 1e-9)


@each
def test_padding_and_company_change_nothing(transform):
    for step in (EulerMaruyama(), Renewal(LinearLogSNR())):
        process, z, s = Neural(transform, VOLATILITY, step), transform(X0, T).at(EPS), T / 2
        together = process.reverse(z, T, s, X0).at(EPS)
        wide = process.reverse(padded(z, 2), T, s, padded(X0, 2)).at(padded(EPS, 2))
        assert torch.allclose(wide.x[:, : z.x.shape[1]], together.x) and not wide.x[:, z.x.shape[1] :].any()
        for row in range(len(SIZES)):
            part = slice(row, row + 1)
            single = process.reverse(alone(z, row), T[part], s[part], alone(X0, row)).at(alone(EPS, row))
            assert close(single, alone(together, row))


def spoilt(transform, level: float) -> Transform:
    """Multiplies the matrices of two atoms of molecule 1 by `level`: singular at 0."""

    def factor(x0: Cloud) -> torch.Tensor:
        factors = torch.ones_like(x0.mask)
        factors[1, :2] = level
        return factors

    return Spoilt(transform, factor)


@pytest.mark.parametrize("level", [0.0, 1e-12])
def test_a_singular_matrix_harms_its_own_molecule_alone(level):
    """That molecule comes out NaN, or so far out that a sampler draws it again; the others as ever."""
    transform = TRANSFORMS["outer"]
    z = transform(X0, T).at(EPS)
    for step in (EulerMaruyama(), Renewal(LinearLogSNR())):
        with torch.no_grad():
            found = Neural(spoilt(transform, level), VOLATILITY, step).reverse(z, T, T - 0.1, X0).mean
            expected = Neural(transform, VOLATILITY, step).reverse(z, T, T - 0.1, X0).mean
        for row in (0, 2):
            assert torch.equal(found.x[row], expected.x[row]) and torch.equal(found.h[row], expected.h[row])
        if level == 0:
            assert not found.x[1].isfinite().all()
        elif isinstance(step, EulerMaruyama):
            assert found.x[1].abs().max() > 1e6
    loss = DriftMatching()(
        Neural(spoilt(transform, level), VOLATILITY), Known(X0.scale(1.1)), X0, Noise(torch.arange(3))
    )
    assert loss[[0, 2]].isfinite().all() and not loss[1] < 1e6


def test_gram_matrices_are_never_singular():
    with torch.no_grad():
        matrix = learned(Matrix(share=1.0), loud=30.0)(X0, T).x_scale.matrix
        sigma = learned(Scalar(), loud=30.0)(X0, T).x_scale
    assert (torch.linalg.eigvalsh(matrix) > 0).all()
    assert (matrix.diagonal(dim1=-2, dim2=-1).amax(-1) > sigma.std[..., 0]).any()  # and they do something


@each
def test_the_common_sampler_leads_to_what_the_denoiser_says(transform):
    """By every solver that asks for no log SNR; the noise left at t = 0 is 0.01."""
    noise = Noise.from_seed(1, torch.arange(3))
    for step, count in ((EulerMaruyama(eta=0.0), 20), (Renewal(LinearLogSNR()), 5)):
        process = Neural(transform, VOLATILITY, step)
        diffusion = Diffusion(Identity(0.01, FEATURES), process, Known(X0), DriftMatching())
        for solver in (Ancestral(), Heun()):
            assert close(sample(diffusion, X0, noise, power_grid(count), solver=solver), X0)
        assert (chain_to(process, count, noise) - X0).x.abs().max() < 0.05
        assert diffusion.with_eta(0.5).process.step == replace(step, eta=0.5)  # type: ignore[attr-defined]


def chain_to(process: Neural, count: int, noise: Noise) -> Cloud:
    grid, z = power_grid(count)[:, None].repeat(1, len(X0)), process.prior(X0).sample(noise.fork(0))
    with torch.no_grad():
        for step in range(count):
            z = process.reverse(z, grid[step], grid[step + 1], X0).sample(noise.at(step + 1))
    return z


def test_large_steps_of_euler_and_maruyama_amplify_noise_and_renewal_does_not():
    """g^2 (t - s) = 4 sigma^2 is the limit: the released g with sigma = 0.01^(1 - t) is beyond it at 100 steps."""
    noise = Noise.from_seed(2, torch.arange(3))
    process = Neural(Fixed(Geometric()), VOLATILITY)
    assert not chain_to(process, 100, noise).x.abs().max() < 100
    assert chain_to(process.with_step(Renewal(LinearLogSNR())), 10, noise).x.abs().max() < 10


@pytest.mark.parametrize(("solver", "ratio"), [(Ancestral(), 2.0), (Heun(), 4.0)], ids=["first", "second"])
def test_renewal_gives_the_solvers_their_order_on_the_probability_flow(solver, ratio):
    process, noise = Neural(TRANSFORMS["gram"], VOLATILITY, Renewal(LinearLogSNR(), eta=0.0)), Noise(torch.arange(3))
    exact = chain(process, EPS, 160, noise, 0.9, Heun())
    errors = [(chain(process, EPS, steps, noise, 0.9, solver) - exact).x.abs().max() for steps in (10, 20)]
    assert float(errors[0] / errors[1]) == pytest.approx(ratio, rel=0.25)


def estimate_for(process: DirectDrift, t: Tensor) -> Cloud:
    """The estimate whose formula gives the learned drift: the drift is affine in it, with one slope a molecule."""
    path = process.path(X0, t)
    z, drift = path.marginal.at(EPS), path.drift(EPS)

    def guess(estimate: Cloud) -> Cloud:
        found = process.estimated_path(estimate, t)
        return found.drift(found.marginal.whiten(z))

    zero = guess(X0.scale(0.0))
    slope = (guess(X0) - zero).h.flatten(1).sum(1) / X0.h.flatten(1).sum(1)
    return (drift - zero).scale(1 / slope)


def test_a_direct_drift_has_an_estimate_which_is_clean_data_at_the_end():
    start = torch.full((3,), 1e-9, dtype=torch.float64)
    away = {}
    for power in (1, 2):
        process = DirectDrift(Neural(learned(Scheduled(), power), VOLATILITY), Fixed(Geometric()))
        found = estimate_for(process, T)
        path, guess = process.path(X0, T), process.estimated_path(found, T)
        z = path.marginal.at(EPS)
        assert close(guess.drift(guess.marginal.whiten(z)), path.drift(EPS), 1e-8)
        away[power] = (estimate_for(process, start) - X0).x.abs().max()
    assert away[2] < 1e-6 < 1e-3 < away[1]


def test_a_direct_drift_never_asks_its_field_when_sampling():
    process = DirectDrift(Neural(learned(Matrix(), 2), VOLATILITY), Fixed(Geometric()))
    calls = []
    process.learned.transform.register_forward_hook(lambda *_: calls.append(1))
    z = process.prior(X0).at(EPS)
    process.reverse(z, T, T / 2, X0)
    assert not calls
    process.noised(X0, T)
    assert calls
    assert not hasattr(process, "with_eta")


def test_wrong_parts_are_refused_in_a_sentence():
    neural = Neural(learned(Matrix()), VOLATILITY)
    with pytest.raises(ValueError, match="5 features this process needs a field of 11 scalars and 4 vectors"):
        Learned(SmallField(FEATURES, 3, 4), Geometric(), Matrix())(X0, T)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        learned(Matrix(), power=0)
    with pytest.raises(ValueError, match="eta must lie in"):
        neural.with_eta(2.0)
    with pytest.raises(ValueError, match="order 1 and 2; got 3"):
        neural.path(X0, T, order=3)
    with pytest.raises(ValueError, match="must end where the process does"):
        DirectDrift(neural, Fixed(Cosine()))
    with pytest.raises(ValueError, match="Renewal makes direct drifts only"):
        DirectDrift(neural.with_step(Renewal(LinearLogSNR())), Fixed(Geometric()))
    with pytest.raises(ValueError, match="no velocity apart from its noise"):
        DirectDrift(neural, Fixed(Geometric())).velocity(X0, T, X0)
