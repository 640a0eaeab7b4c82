"""Laws of drift matching."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser
from coset.noise import Noise
from coset.objectives.drift import DriftMatching, StratifiedTimes
from coset.processes.affine import Affine
from coset.processes.neural import DirectDrift, Neural
from coset.processes.schedules import Cosine, Geometric, LinearLogSNR
from coset.processes.spreads import Matrix, Scheduled
from coset.processes.transforms import Fixed, Learned, channels
from coset.processes.volatility import Monotone, OfSchedule
from coset.scales import CENTRED
from example_clouds import alone, random_cloud
from example_fields import SmallField

SIZES, FEATURES = [4, 6, 2], 5
X0 = random_cloud(SIZES, FEATURES, seed=1)
NOISE = Noise.from_seed(3, torch.arange(3))


class Guess(Denoiser):
    """The clean cloud times a factor that can be learned."""

    def __init__(self, x0: Cloud, factor: float) -> None:
        super().__init__()
        self.x0, self.factor = x0, nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, z, t, noise=None):
        return self.x0.scale(self.factor)


def learned(spread=None, power: int = 1) -> Neural:
    spread = spread or Matrix(share=0.3)
    field = SmallField(FEATURES, *channels(spread, FEATURES))
    return Neural(Learned(field, Geometric(), spread, power), OfSchedule(LinearLogSNR()))


def fixed_times(t: Tensor):
    return lambda noise: t


def test_times_cover_the_unit_interval_evenly():
    t = StratifiedTimes()(Noise.from_seed(0, torch.arange(8)))
    assert (t > 0).all() and (t <= 1).all()
    assert torch.allclose(t.sort().values.diff(), torch.full((7,), 1 / 8, dtype=torch.float64))
    other = StratifiedTimes()(Noise.from_seed(1, torch.arange(8)))
    assert not torch.allclose(t, other)


def test_the_loss_is_zero_for_a_denoiser_that_knows_and_positive_otherwise():
    process, objective = learned(), DriftMatching()
    assert objective(process, Guess(X0, 1.0), X0, NOISE).abs().max() < 1e-12
    assert objective(process, Guess(X0, 1.1), X0, NOISE).min() > 0


def test_five_features_make_the_published_weights():
    """3/8 of the mean over atoms and dimensions for positions, 5/8 for features."""
    process, t = learned(), torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    found = DriftMatching(fixed_times(t))(process, Guess(X0, 1.1), X0, NOISE)
    eps = standard_normal(X0, NOISE.fork(1), CENTRED)
    z = process.noised(X0, t).at(eps)
    error = process.drift(z, t, X0) - process.drift(z, t, X0.scale(1.1))
    g2, n = 20 * torch.sigmoid(-10 + 20 * t), X0.count
    expected = 3 / 8 * error.x.square().sum((1, 2)) / (3 * n) + 5 / 8 * error.h.square().sum((1, 2)) / (5 * n)
    assert torch.allclose(found, expected / g2)
    by_atoms = DriftMatching(fixed_times(t), by_atoms=True)(process, Guess(X0, 1.1), X0, NOISE)
    both = torch.cat([error.x, error.h], -1).square() / g2[:, None, None]
    assert torch.allclose(by_atoms.mean(), both.sum() / (8 * n.sum()))


def test_company_changes_no_molecules_loss():
    t = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    together = DriftMatching(fixed_times(t))(learned(), Guess(X0, 1.1), X0, NOISE)
    for row in range(3):
        part, single = slice(row, row + 1), alone(X0, row)
        noise = replace(NOISE, seeds=NOISE.seeds[part])
        loss = DriftMatching(fixed_times(t[part]))(learned(), Guess(single, 1.1), single, noise)
        assert torch.allclose(loss[0], together[row])


def gradients(module: nn.Module) -> list[float]:
    return [0.0 if p.grad is None else float(p.grad.abs().max()) for p in module.parameters()]


@pytest.mark.parametrize("curvature", [0.0, 0.1])
def test_gradients_reach_process_volatility_and_denoiser_and_are_right(curvature):
    process = learned()
    process.volatility = Monotone()
    denoiser, objective = Guess(X0, 1.1), DriftMatching(curvature=curvature)
    objective(process, denoiser, X0, NOISE).sum().backward()
    for part in (process, denoiser):
        assert all(0 < value < float("inf") for value in gradients(part))
    weight, step = process.transform.field.edges.bias, 1e-6
    assert weight.grad is not None
    direction = torch.ones_like(weight)
    with torch.no_grad():
        losses = []
        for shift in (step, -step):
            weight.add_(shift * direction)
            losses.append(objective(process, denoiser, X0, NOISE).sum())
            weight.sub_(shift * direction)
    assert torch.allclose((losses[0] - losses[1]) / (2 * step), weight.grad.sum(), rtol=1e-4)


def test_a_direct_drift_trains_its_process_through_target_and_noisy_cloud():
    process = DirectDrift(learned(power=2), Fixed(Geometric()))
    loss = DriftMatching()(process, Guess(X0, 1.1), X0, NOISE)
    loss.sum().backward()
    assert all(value > 0 for value in gradients(process))
    same = learned(Scheduled(), 2)
    with torch.no_grad():
        for parameter in same.parameters():
            parameter.zero_()
    assert DriftMatching()(DirectDrift(same, Fixed(Geometric())), Guess(X0, 1.0), X0, NOISE).max() < 1e-12


def test_curvature_is_that_of_the_path():
    """A straight process has none: alpha and sigma linear in t."""
    t = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    process, knows = learned(), Guess(X0, 1.0)
    found = DriftMatching(fixed_times(t), curvature=2.0)(process, knows, X0, NOISE)
    eps, step = standard_normal(X0, NOISE.fork(1), CENTRED), 1e-4
    low, mid, high = (process.noised(X0, t + shift).at(eps) for shift in (-step, 0, step))
    bend = (high - mid - mid + low).scale(step**-2)
    expected = 2 * (bend.x.square().sum((1, 2)) + bend.h.square().sum((1, 2))) / (8 * X0.count)
    assert torch.allclose(found, expected, rtol=1e-4)


def test_processes_without_paths_are_refused():
    with pytest.raises(ValueError, match="processes with paths, such as Neural; got Affine"):
        DriftMatching()(Affine(Cosine()), Guess(X0, 1.0), X0, NOISE)
