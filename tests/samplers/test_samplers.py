"""Laws of the sampler: a molecule's draw is its own, known answers are reached, sizes follow their distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from coset.cloud import Cloud
from coset.codecs.features import Features
from coset.diffusion import Diffusion
from coset.interfaces import Codec, Denoiser, Output
from coset.molecule import QM9
from coset.networks.dit import DiT, PoseTransformer
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromClean, FromNoise
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Polynomial
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import power_grid
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.sizes import SizeDistribution
from coset.symmetry.frames import RecursiveFrame
from coset.symmetry.symmetrised import Symmetrised
from coset.symmetry.targets import plain
from example_clouds import ExactNormal, awake, small_molecules

PROCESS = Affine(Polynomial())
STD = 1e-5**0.5


def diffusion(denoiser: Denoiser, codec: Codec | None = None, process: Affine = PROCESS) -> Diffusion:
    return Diffusion(codec or Features(5, STD), process, denoiser, Denoising(NoiseWeight(process.schedule), plain))


def network(kind: str) -> Denoiser:
    torch.manual_seed(0)
    if kind == "equivariant":
        return FromNoise(awake(EGNN(6, 16, 2)), PROCESS.schedule)  # type: ignore[arg-type]
    transformer = DiT(6, 16, 2, 4, 8)
    awake(transformer).head.weight.data *= 20  # molecules of a few Angstrom  # type: ignore[union-attr]
    clean = FromClean(transformer)
    return clean if kind == "plain" else Symmetrised(clean, RecursiveFrame(awake(PoseTransformer(3, 16, 1, 2, 4))))


class Constant(Denoiser):
    """Knows the clean cloud."""

    def __init__(self, answer: Cloud) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, z, t, noise=None):
        return self.answer


class Raw(Codec):
    """Nothing between data and diffusion."""

    width = 2

    def encode(self, clean, noise=None):
        return clean

    def output(self, z0, estimate):
        return RawOutput(estimate)


class RawOutput(Output):
    def __init__(self, estimate: Cloud) -> None:
        self.estimate = estimate

    def log_prob(self, clean):
        raise NotImplementedError

    def sample(self, noise):
        return self.estimate

    def mode(self):
        return self.estimate


@pytest.mark.parametrize("kind", ["equivariant", "plain", "symmetrised"])
def test_a_molecule_is_the_same_alone_in_company_and_padded(kind):
    model, times, sizes = diffusion(network(kind)).double(), power_grid(12), torch.tensor([5, 9, 7])
    noise = Noise.from_seed(1, torch.arange(3))
    together = sample(model, empty_cloud(sizes, 6).to(torch.float64), noise, times)
    wide = sample(model, empty_cloud(sizes, 6, atoms=13).to(torch.float64), noise, times)
    scale = float(together.x.abs().max())
    assert scale > 0.1
    assert (wide.x[:, :9] - together.x).abs().max() < 1e-8 * max(scale, 1) and torch.equal(wide.h[:, :9], together.h)
    assert wide.x[:, 9:].abs().max() == 0
    for row, size in enumerate(sizes.tolist()):
        like = empty_cloud(sizes[row : row + 1], 6).to(torch.float64)
        single = sample(model, like, Noise(noise.seeds[row : row + 1]), times)
        assert (single.x[0] - together.x[row, :size]).abs().max() < 1e-8 * max(scale, 1)
        assert torch.equal(single.h[0], together.h[row, :size])


@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_who_knows_the_answer_samples_it(steps, eta):
    clean = small_molecules()
    codec = Features(5, STD)
    model = diffusion(Constant(codec.encode(clean)), codec).with_eta(eta)
    found = sample(model, Cloud(clean.x * 0, clean.h * 0, clean.mask), Noise(torch.arange(4)), power_grid(steps))
    assert torch.equal(found.x, clean.center().x) and torch.equal(found.h, clean.h)
    noisy = sample(model, clean.scale(0.0), Noise(torch.arange(4)), power_grid(steps), final_noise=True)
    away = (noisy.x - clean.center().x).square().sum() / (3 * (clean.count - 1).sum())
    assert away.sqrt().item() == pytest.approx(STD, rel=0.4)


@pytest.mark.parametrize(("eta", "bias"), [(0.0, 0.005), (1.0, 0.02)])
def test_exact_denoisers_reach_the_variance_of_the_data(eta, bias):
    """Normal data: 500 steps from pure noise end with their spread, in positions and in features."""
    spread, molecules, atoms = 0.7, 3000, 4
    like = empty_cloud(torch.full((molecules,), atoms), 2).to(torch.float64)
    model = diffusion(ExactNormal(PROCESS.schedule, spread), Raw(), PROCESS.with_eta(eta))
    found = sample(model, like, Noise.from_seed(0, torch.arange(molecules)), power_grid(500))
    for values, freedom in ((found.x, 3 * (atoms - 1)), (found.h, 2 * atoms)):
        count = freedom * molecules
        ratio = float(values.square().sum() / count / spread**2)
        assert ratio == pytest.approx(1, abs=bias + 4 * (2 / count) ** 0.5)
    assert found.x.sum(1).abs().max() < 1e-10


def test_conditions_ride_through_the_chain():
    from coset.cloud import Condition

    like = replace(empty_cloud(torch.tensor([3]), 6), condition=Condition(scalars=torch.ones(1, 2)))
    seen = []

    class Looks(Denoiser):
        def forward(self, z, t, noise=None):
            seen.append(z.condition)
            return Cloud(z.x * 0, z.h * 0, z.mask)  # an answer without the condition

    sample(diffusion(Looks()), like, Noise(torch.arange(1)), power_grid(3))
    assert len(seen) == 4 and all(condition.scalars is like.condition.scalars for condition in seen)


def test_the_grid_runs_from_noise_to_data():
    assert power_grid(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert power_grid(4, 2.0).tolist() == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    with pytest.raises(ValueError, match="at least 1"):
        power_grid(0)
    with pytest.raises(ValueError, match="must be positive"):
        power_grid(4, 0.0)


def test_sizes_follow_their_distribution():
    counts = {3: 10, 9: 60, 18: 25, 29: 5}
    sizes = SizeDistribution(counts)
    drawn = sizes.sample(Noise.from_seed(0, torch.arange(20_000))).tolist()
    observed = [drawn.count(atoms) for atoms in counts]
    assert stats.chisquare(observed, [200 * count for count in counts.values()]).pvalue > 1e-3
    assert torch.allclose(sizes.log_prob(torch.tensor([9, 29])), torch.tensor([0.6, 0.05]).double().log())
    assert sizes.log_prob(torch.tensor([4])).item() == -np.inf
    assert sizes.log_prob(torch.tensor(list(counts))).exp().sum().item() == pytest.approx(1)
    assert sizes.largest == 29
    for wrong in ({}, {3: 0}, {0: 5}, {3: -1}):
        with pytest.raises(ValueError, match="size counts"):
            SizeDistribution(wrong)


SIZES = SizeDistribution({3: 5, 6: 10, 11: 5})


class Sometimes(Denoiser):
    """Gives NaN for a share of the noises it is handed."""

    def __init__(self, inner: Denoiser, share: float) -> None:
        super().__init__()
        self.inner, self.share = inner, share

    def forward(self, z, t, noise=None):
        estimate = self.inner(z, t, noise)
        bad = noise.at(0).fork(9).uniform() < self.share
        return replace(estimate, x=estimate.x.masked_fill(bad[:, None, None], float("nan")))


def generator(denoiser: Denoiser | None = None, **options) -> Generator:
    return Generator(diffusion(denoiser or network("plain")), QM9, SIZES, Sampling(steps=3, **options))


def drawn(source: Generator, count: int, seed: int = 0) -> dict:
    return dict(source.draw(seed, torch.arange(count)))


def test_molecule_i_is_the_same_whatever_else_is_drawn():
    """How many, in which order, in how large batches: nothing changes it but the seed."""
    few, many = drawn(generator(), 4), drawn(generator(), 20)
    small, backwards = drawn(generator(tokens=1), 20), dict(generator().draw(0, torch.arange(19, -1, -1)))
    few_pairs = drawn(generator(pairs=250), 20)
    assert sorted(many) == sorted(small) == sorted(few_pairs) == list(range(20))
    for number, molecule in many.items():
        others = [small[number], backwards[number], few_pairs[number], *([few[number]] if number in few else [])]
        for other in others:
            assert np.array_equal(other.numbers, molecule.numbers)
            assert np.abs(other.positions - molecule.positions).max() < 1e-4
    other_seed = drawn(generator(), 20, seed=1)
    assert any(len(other_seed[i]) != len(many[i]) for i in many)
    assert not np.allclose(drawn(generator(atoms=6), 1)[0].positions, drawn(generator(atoms=6), 1, 1)[0].positions)


def test_sizes_follow_the_request_and_the_seed_is_told():
    molecules = drawn(generator(atoms=7), 5, seed=3)
    assert {len(molecule) for molecule in molecules.values()} == {7}
    assert molecules[2].properties == {"seed": 3, "number": 2}
    assert {len(molecule) for molecule in drawn(generator(), 30).values()} == {3, 6, 11}


def test_batches_keep_to_the_budgets_of_atoms_and_of_pairs():
    seen = []

    class Counts(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network("plain")

        def forward(self, z, t, noise=None):
            seen.append(z.x.shape[:2])
            return self.inner(z, t, noise)

    drawn(generator(Counts(), tokens=40), 30)
    assert all(b * n <= 40 for b, n in seen) and max(b for b, n in seen) > 3
    seen.clear()
    drawn(generator(Counts(), pairs=120), 30)  # two molecules of 11 atoms have 242
    assert {b for b, n in seen if n == 11} == {1} and {b for b, n in seen if n == 6} >= {3}
    assert all(b * n * n <= 121 for b, n in seen)


def test_molecules_that_are_not_finite_are_counted_named_and_drawn_again_and_the_others_unharmed():
    source = generator(Sometimes(network("plain"), 0.4))
    molecules, healthy = drawn(source, 40), drawn(generator(), 40)
    assert sorted(molecules) == list(range(40)) and 8 < len(source.redrawn) < 60
    same = [np.allclose(molecules[i].positions, healthy[i].positions, atol=1e-4) for i in molecules]
    assert 10 < sum(same) < 40  # the first draw was kept where it was finite
    assert set(source.redrawn) == {i for i, kept in zip(molecules, same, strict=True) if not kept}
    assert all(len(molecules[i]) == len(healthy[i]) for i in molecules)  # a redraw keeps the size


def test_a_broken_model_is_an_error_not_a_loop():
    source = generator(Sometimes(network("plain"), 2.0))
    with pytest.raises(
        FloatingPointError, match="molecules 0, 1, 2, 3, 4 came out with undefined positions in each of 10"
    ):
        drawn(source, 5)


@pytest.mark.parametrize("name", ["steps", "atoms", "tokens", "pairs"])
def test_sampling_refuses_what_cannot_be(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        Sampling(**{name: 0})


def test_sampling_refuses_impossible_eta():
    with pytest.raises(ValueError, match="eta must lie"):
        generator(eta=1.5)
