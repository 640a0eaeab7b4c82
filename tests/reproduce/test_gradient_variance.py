"""Laws of the bias and variance experiment: what it holds fixed, what it takes apart, and that it resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coset.cloud import Cloud, squared_norm
from coset.interfaces import Denoiser, Target
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromNoise
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine
from coset.reproduce import gradient_cost, gradient_variance
from coset.reproduce.gradient_moments import Redrawn, gradients, moments, redrawn, repeated, targets
from coset.reproduce.gradient_variance import Settings, run
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.groups import Group, LikeAtoms, Rotations
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import awake, random_cloud

PROCESS = Affine(Cosine())
NOISE = Noise.from_seed(3, torch.arange(6))


def held(group: Group, time: float, repeats: int = 100, dtype: torch.dtype = torch.float64) -> Redrawn:
    x0 = random_cloud([4], features=2, dtype=dtype)
    x0 = repeated(replace(x0, h=torch.ones_like(x0.h)), 6)
    t = torch.full((6,), time, dtype=torch.float64)
    return redrawn(group, PROCESS, OrbitMean(group), x0, t, repeats, NOISE)


def error_of(target: Target, found: Redrawn):
    return moments(targets(target, PROCESS, found), found.exact.x.flatten(1).double())


@pytest.mark.parametrize("group", [Rotations(), Rotations() * LikeAtoms()], ids=str)
def test_every_draw_gives_the_same_noisy_cloud(group):
    found = held(group, 0.5, 7)
    draws = found.draws
    z = PROCESS.noised(draws.x0, draws.t).at(draws.eps)
    assert torch.allclose(z.x, draws.z.x) and torch.allclose(draws.z.x, repeated(found.fixed.z, 7).x)
    assert found.repeats == 7 and draws.x0.x.std(0).max() > 0.1


@pytest.mark.parametrize("group", [Rotations(), Rotations() * LikeAtoms()], ids=str)
@pytest.mark.parametrize("time", [0.1, 0.5, 0.8])
def test_the_plain_target_is_all_variance_and_the_exact_one_nothing(group, time):
    """Theorem 1's first half: the plain target's variance at z is |x0|^2 - |E x0|^2; the exact one has none."""
    found = held(group, time)
    spread = squared_norm(found.fixed.x0) - squared_norm(found.exact)
    once = error_of(plain, found)
    assert abs(once.bias2) < 0.1 * once.variance
    assert once.variance == pytest.approx(float(spread.mean()), rel=0.2)
    exact = error_of(OrbitMean(group), found)
    assert exact.error < 1e-12


def test_the_published_estimator_helps_at_high_noise_and_harms_at_low():
    algorithm = OrbitMean(Rotations(), HaarDraws(100))
    for time, better in ((0.9, True), (0.05, False)):
        found = held(Rotations(), time, 50)
        assert (error_of(algorithm, found).error < error_of(plain, found).error) == better


def test_with_the_drawn_pose_it_is_the_plain_target_at_low_noise():
    found = held(Rotations(), 0.05, 50)
    leaning = error_of(OrbitMean(Rotations(), HaarDraws(100, with_drawn=True)), found)
    assert leaning.variance == pytest.approx(error_of(plain, found).variance, rel=0.05)


def test_bias_and_variance_are_told_apart():
    """Of numbers with known moments, in the Euclidean and in another inner product; negative only by chance."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    values = exact[:, None] + 0.5 + 2 * torch.randn(40, 300, 3, generator=generator, dtype=torch.float64)
    found = moments(values, exact)
    assert found.bias2 == pytest.approx(0.75, rel=0.1) and found.variance == pytest.approx(12, rel=0.05)
    metric = torch.diag(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)).expand(40, 3, 3)
    found = moments(values, exact, metric)
    assert found.bias2 == pytest.approx(0.75, rel=0.15) and found.variance == pytest.approx(12, rel=0.05)
    none = moments(values[:, :2] - 0.5, exact)
    assert abs(none.bias2) < 2 and found.error == found.bias2 + found.variance


def networks() -> dict[str, Denoiser]:
    torch.manual_seed(0)
    built = {"EGNN": EGNN(2, width=8, depth=2), "DiT": DiT(2, width=8, depth=1, heads=2, kernels=4)}
    return {name: FromNoise(awake(network), PROCESS.schedule) for name, network in built.items()}  # type: ignore


@pytest.mark.parametrize("name", ["EGNN", "DiT"])
def test_gradients_are_those_of_the_training_loss(name):
    """The same z, t, eps in the loss that recipes train with; and a target moved by d moves them by A d."""
    denoiser, found = networks()[name], held(Rotations(), 0.5, 2, torch.float32)
    weight = NoiseWeight(PROCESS.schedule)
    answer = gradients(denoiser, weight, found)
    parameters = list(denoiser.parameters())

    def of(target: Target) -> torch.Tensor:
        objective = Denoising(weight, target, times=lambda noise: found.fixed.t)
        losses = objective(PROCESS, denoiser, found.fixed.x0, NOISE)
        rows = [torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True) for loss in losses]
        return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])

    exact = of(OrbitMean(Rotations()))
    assert torch.allclose(exact, answer.exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    away = (found.fixed.x0.x - found.exact.x).flatten(1).double()
    moved = (of(plain) - exact).double().square().sum(1)
    expected = torch.einsum("zk,zkl,zl->z", away, answer.metric, away)
    assert torch.allclose(moved, expected, rtol=1e-2)


TINY = Settings(clouds=2, repeats=3, steps=1, batch=2, sizes=(9,), levels=(0.3, 0.99), rounds=1)


def test_a_run_writes_its_report_and_resumes(tmp_path: Path, monkeypatch):
    for module in (gradient_cost, gradient_variance):
        monkeypatch.setattr(module, "DRAWS", (2, 200))
    monkeypatch.setattr(gradient_cost, "BATCH", 2)
    monkeypatch.setattr(gradient_cost, "TRANSFORMER", {"width": 8, "depth": 1, "heads": 2, "kernels": 4})
    seen: list[tuple[float, str]] = []
    run(tmp_path, TINY, lambda done, text: seen.append((done, text)))
    rows = ["plane 0.3", "plane 0.99", "qm9 0.3", "qm9 0.99", "cost"]
    assert seen == list(enumerate(rows)) and TINY.rows == len(rows)
    record = json.loads((tmp_path / "rows.json").read_text())
    assert list(record["rows"]) == rows and set(record["rows"]["qm9 0.3"]["gradients"]) == {"EGNN", "DiT"}
    for row in rows[:-1]:
        exact = record["rows"][row]["targets"]["exact"]
        assert abs(exact["bias2"]) + exact["variance"] < 1e-6
    report = (tmp_path / "report.md").read_text()
    for text in ("seeds: 0", "sha256", "budget", "of a training step", "0.99, 0.141", "public variant", "DiT"):
        assert text in report
    known = record["rows"].pop("qm9 0.99")
    (tmp_path / "rows.json").write_text(json.dumps(record))
    seen.clear()
    run(tmp_path, TINY, lambda done, text: seen.append((done, text)))
    assert [text for _, text in seen] == ["qm9 0.99"]
    again = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert again == record["rows"] | {"qm9 0.99": known}  # the seed decides: the same numbers once more
    with pytest.raises(ValueError, match="other settings"):
        run(tmp_path, replace(TINY, seed=1))
    with pytest.raises(ValueError, match="no molecule of 2 atoms; it has sizes"):
        run(tmp_path, replace(TINY, sizes=(2,)))


def test_clouds_repeat_one_after_the_other():
    clouds = random_cloud([3, 2])
    many = repeated(clouds, 3)
    assert isinstance(many, Cloud) and torch.equal(many.x[2], clouds.x[0]) and torch.equal(many.mask[3], clouds.mask[1])
