"""Laws of the matrix Fisher mean: the oracles, its own derivative, equivariance, and no matrix it fails on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from scipy.special import i0e, i1e

from coset.noise import Noise
from coset.symmetry.fisher import expected_rotation, log_normalizer
from coset.symmetry.rotations import haar

CASES = json.loads((Path(__file__).parent.parent / "data" / "matrix_fisher.json").read_text())["cases"]
STRESS = [(1, 1, 1), (1, 1, -1), (1, 0, 0), (1, 0.5, -0.5), (1, 1, -0.9999999), (1, 0.3, 0), (1, 1, 0), (1, 0.2, -0.1)]


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_oracles_are_met():
    matrices = double([case["F"] for case in CASES])
    assert (expected_rotation(matrices) - double([case["mean_SO3"] for case in CASES])).abs().max() < 1e-8
    assert (expected_rotation(matrices, True) - double([case["mean_O3"] for case in CASES])).abs().max() < 1e-8
    expected = double([case["log_c_SO3"] for case in CASES])
    assert ((log_normalizer(matrices) - expected).abs() < 1e-10 * expected.abs().clamp_min(1)).all()


def slow_mean(s: tuple[float, float, float]) -> np.ndarray:
    """The same integral on 60,001 points equally far apart in log v: an independent rule, good at any scale."""
    s1, s2, s3 = s
    a, b = (s2 - s3) / 2, (s2 + s3) / 2
    v = np.exp(np.linspace(np.log(1e-30), np.log(2), 60_001))
    mass = v * i0e(a * v) * i0e(b * (2 - v)) * np.exp(-(s1 + s3) * v)
    p, q = v * i1e(a * v) / i0e(a * v) / 2, (2 - v) * i1e(b * (2 - v)) / i0e(b * (2 - v)) / 2
    return np.array([simpson(mass * f) for f in (1 - v, p + q, q - p)]) / simpson(mass)


@pytest.mark.parametrize("size", [1e-2, 1.0, 30.0, 1e3, 1e5, 1e6, 1e8])
@pytest.mark.parametrize("shape", STRESS, ids=str)
def test_stress_cases_at_every_size(shape, size):
    """1e-8 up to |F| = 1e5, 1e-6 up to 1e8; sigma_0^2 = 1e-5 makes |F| about 1e7."""
    s = tuple(size * value for value in shape)
    found = expected_rotation(torch.diag(double(s)))
    assert np.abs(found.diagonal().numpy() - slow_mean(s)).max() < (1e-8 if size <= 1e5 else 1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("reflections", [False, True])
def test_the_mean_is_the_slope_of_the_log_normaliser(dimension, reflections):
    """d log c / dF = E[R], by central differences."""
    if dimension == 1 and not reflections:
        return  # SO(1) holds the identity alone
    generator = torch.Generator().manual_seed(dimension)
    matrix = 2 * torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    step, mean = 1e-5, expected_rotation(matrix, reflections)
    for i in range(dimension):
        for j in range(dimension):
            away = torch.zeros_like(matrix)
            away[i, j] = step
            slope = (log_normalizer(matrix + away, reflections) - log_normalizer(matrix - away, reflections)) / (
                2 * step
            )
            assert float(slope) == pytest.approx(float(mean[i, j]), abs=1e-8)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("reflections", [False, True])
def test_it_is_the_weighted_mean_of_haar_draws(dimension, reflections):
    matrix = torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    draws = haar(Noise.from_seed(0, torch.arange(200_000)), reflections, dimension)
    weight = (draws * matrix).sum((1, 2)).exp()
    mean = (weight[:, None, None] * draws).mean(0) / weight.mean()
    assert (expected_rotation(matrix, reflections) - mean).abs().max() < 0.01
    assert float(log_normalizer(matrix, reflections)) == pytest.approx(float(weight.mean().log()), abs=0.02)


@pytest.mark.parametrize("reflections", [False, True])
def test_it_turns_with_the_matrix(reflections):
    """E[R | P F Q^T] = P E[R | F] Q^T for rotations P, Q; with reflections for all orthogonal ones."""
    matrix = 5 * torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = (haar(Noise.from_seed(seed, torch.arange(20)), reflections) for seed in (1, 2))
    moved = expected_rotation(p @ matrix @ q.mT, reflections)
    assert (moved - p @ expected_rotation(matrix, reflections) @ q.mT).abs().max() < 1e-10
    if reflections:  # SO(3) alone is not: a mirrored molecule is another one
        assert (expected_rotation(p @ matrix @ q.mT) - p @ expected_rotation(matrix) @ q.mT).abs().max() > 0.01


def test_limits():
    """No information: the zero matrix. A sure pose: the rotation itself, from either hand where reflections count."""
    assert expected_rotation(torch.zeros(3, 3)).abs().max() < 1e-14
    assert abs(float(log_normalizer(torch.zeros(3, 3)))) < 1e-14
    pose = haar(Noise(torch.arange(10)), reflections=True)
    assert (expected_rotation(1e8 * pose, reflections=True) - pose).abs().max() < 1e-7
    proper = pose * torch.linalg.det(pose)[:, None, None]
    assert (expected_rotation(1e8 * proper) - proper).abs().max() < 1e-7


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_no_finite_matrix_gives_anything_but_a_mean_of_rotations(dimension, reflections):
    """Zero, rank one, planar, repeated singular values, huge and tiny: finite, and no longer than a rotation."""
    draws = torch.randn(50, dimension, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rank_one = draws[:, :, :1] @ draws[:, :1]
    planar = draws.clone()
    planar[:, -1] = 0
    diagonal = torch.stack([torch.diag(double(shape[:dimension])) for shape in STRESS])
    kinds = torch.cat([draws, rank_one, planar, diagonal, torch.zeros(1, dimension, dimension, dtype=torch.float64)])
    for size in (1e-300, 1e-160, 1e-20, 1.0, 1e4, 1e8, 1e12, 1e100):
        mean = expected_rotation(size * kinds, reflections)
        assert torch.isfinite(mean).all() and torch.isfinite(log_normalizer(size * kinds, reflections)).all()
        assert torch.linalg.matrix_norm(mean, 2).max() < 1 + 1e-9


def test_batches_of_any_shape_and_dtype(misshapen_is_refused):
    matrix = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    assert expected_rotation(matrix).shape == matrix.shape and log_normalizer(matrix).shape == (2, 5)
    assert expected_rotation(matrix).dtype == torch.float32
    assert torch.allclose(expected_rotation(matrix)[1, 2], expected_rotation(matrix[1, 2]))
    assert expected_rotation(matrix[:0]).shape == (0, 5, 3, 3)
    with misshapen_is_refused(r"expected matrices of shape \(\.\.\., n, n\) with n = 1, 2 or 3; got \(3, 2\)"):
        expected_rotation(torch.zeros(3, 2))
