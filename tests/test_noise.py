"""Laws of the random numbers: a function of seed, step and stream alone, uniform, normal, independent, portable."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from coset.noise import Noise, mix

PINNED_SEEDS = [721373886964523290, -8179170072099212451]
PINNED_UNIFORM = [0.7113725017635697, 0.12154967451961263, 0.5717861424622973, 0.5178199042400433]
PINNED_NORMAL = [-0.16007854800443339, -0.5608492142954594, -0.21609492182447018, 0.4417468118087216]
PINNED_MIX = [6238072747940578789, -2606959012126976886, -5417735806833148549]  # splitmix64 of 1, 2, 2^64 - 1
SEEDS = Noise.from_seed(0, torch.arange(400))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) * a.numel() ** 0.5


def test_the_numbers_never_change():
    """Seeds are published with results: these values are the library's promise to repeat them."""
    noise = Noise.from_seed(7, torch.tensor([0, 1]))
    assert noise.seeds.tolist() == PINNED_SEEDS
    assert noise.at(3).fork(1).uniform(2, dtype=torch.float64).flatten().tolist() == PINNED_UNIFORM
    assert noise.normal(2, dtype=torch.float64).flatten().tolist() == pytest.approx(PINNED_NORMAL, abs=1e-14)
    assert mix(torch.tensor([1, 2, -1])).tolist() == PINNED_MIX


def test_a_molecule_s_numbers_ignore_batch_order_and_padding():
    noise = Noise(torch.tensor([5, 11, 3])).at(4).fork(2)
    everyone = noise.normal(7, 3)
    swapped = Noise(torch.tensor([3, 5])).at(4).fork(2).normal(12, 3)
    assert torch.equal(swapped[:, :7], everyone[[2, 0]])


def test_from_seed_depends_on_the_molecule_s_number_alone():
    assert torch.equal(
        Noise.from_seed(3, torch.tensor([8, 2])).seeds, Noise.from_seed(3, torch.arange(9)).seeds[[8, 2]]
    )


def test_integer_and_tensor_steps_agree():
    assert torch.equal(SEEDS.at(9).normal(3), SEEDS.at(torch.tensor(9)).normal(3))


def test_seeds_of_a_hundred_runs_are_distinct():
    """Neighbouring runs and molecules, the worst case for a hash."""
    seeds = torch.cat([Noise.from_seed(seed, torch.arange(5000)).seeds for seed in range(-2, 100)])
    assert len(seeds.unique()) == len(seeds)


def test_streams_of_forks_are_distinct():
    """Three levels of sixteen forks beside their parents never meet."""
    root = Noise(torch.zeros(1, dtype=torch.long))
    levels = [[root]]
    for _ in range(3):
        levels.append([parent.fork(k) for parent in levels[-1] for k in range(16)])
    streams = [noise.stream for level in levels for noise in level]
    assert len(set(streams)) == len(streams) == 1 + 16 + 16**2 + 16**3


def test_steps_streams_seeds_and_positions_are_uncorrelated():
    first = SEEDS.normal(50)
    others = [
        SEEDS.at(1).normal(50),
        SEEDS.fork(0).normal(50),
        SEEDS.fork(1).normal(50),
        SEEDS.fork(0).fork(0).normal(50),
    ]
    others += [Noise.from_seed(1, torch.arange(400)).normal(50), first.roll(1, 0), first.roll(1, 1)]
    for other in others:
        assert abs(correlation(first, other)) < 4
        assert abs(correlation(first.square(), other.square())) < 4


@pytest.mark.parametrize("shape", [(1,), (29, 3), (4, 5, 6)])
def test_draws_of_every_shape_are_normal_and_uniform(shape):
    """Kolmogorov-Smirnov over the first numbers of many seeds, and over many numbers of a seed."""
    noise = Noise.from_seed(2, torch.arange(20_000 // torch.tensor(shape).prod()))
    assert stats.kstest(noise.normal(*shape, dtype=torch.float64).flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(noise.fork(0).uniform(*shape, dtype=torch.float64).flatten().numpy(), "uniform").pvalue > 1e-3


def test_one_seed_gives_normal_draws_too():
    draws = Noise(torch.tensor([12345])).normal(200_000, dtype=torch.float64).flatten()
    assert stats.kstest(draws.numpy(), "norm").pvalue > 1e-3
    moments = [draws.pow(k).mean().item() for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.05)
    assert abs(correlation(draws[:-1], draws[1:])) < 4


def test_uniform_numbers_stay_below_one():
    """This one lies so close to 1 that plain rounding to float32 makes it 1."""
    noise = Noise(torch.tensor([43]))
    assert noise.uniform(796_058, dtype=torch.float64)[0, -1] > 1 - 2**-25
    assert noise.uniform(796_058)[0, -1] < 1
    assert noise.uniform(796_058, dtype=torch.bfloat16).max() < 1


def test_compiled_noise_is_the_same(request):
    """Counters as tensors: one compiled graph serves every step."""
    if request.config.getoption("--typecheck"):
        pytest.skip("checked signatures cannot be compiled")
    compiled = torch.compile(
        lambda seeds, step: Noise(seeds, step).fork(1).normal(4, 3), backend="eager", fullgraph=True
    )
    for step in (1, 2, 3):
        expected = Noise(SEEDS.seeds, step).fork(1).normal(4, 3)
        assert torch.equal(compiled(SEEDS.seeds, torch.tensor(step)), expected)


def test_numbered_noises_are_independent_and_keep_step_and_stream():
    noise = Noise(torch.arange(20_000)).at(3).fork(2)
    first, second = noise.number(0).normal(), noise.number(1).normal()
    assert abs(float((first * second).mean())) < 4 / 20_000**0.5
    assert torch.equal(noise.number(1).normal(), second)
    assert not torch.equal(noise.at(4).number(1).normal(), second) and not torch.equal(noise.normal(), first)
    assert noise.number(100).step == 3 and noise.number(100).stream == noise.stream
