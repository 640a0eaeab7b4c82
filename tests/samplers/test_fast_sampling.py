"""Fast sampling draws the same molecules: few padded shapes, compiled steps, bf16 inside."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

import coset
from coset.codecs.features import Features
from coset.diffusion import Diffusion
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.outputs import FromClean
from coset.networks.precision import precision_of
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Polynomial
from coset.samplers import compiled
from coset.samplers.batches import by_size, rounded, shape_of
from coset.samplers.generate import Generator
from coset.samplers.guidance import GuidedStep
from coset.samplers.resampled import Resampled
from coset.samplers.sample import empty_cloud
from coset.samplers.sampling import Sampling
from coset.samplers.sizes import SizeDistribution
from coset.samplers.solvers import Ancestral, Heun, Phases
from coset.symmetry.targets import plain
from example_clouds import awake

SIZES = SizeDistribution({3: 5, 6: 10, 11: 5})


def generator(**options) -> Generator:
    torch.manual_seed(0)
    transformer = DiT(6, 16, 1, 4, 8)
    awake(transformer).head.weight.data *= 20  # molecules of a few Angstrom  # type: ignore[union-attr]
    process = Affine(Polynomial())
    loss = Denoising(NoiseWeight(process.schedule), plain)
    diffusion = Diffusion(Features(5, 1e-5**0.5), process, FromClean(transformer), loss)
    return Generator(diffusion, QM9, SIZES, Sampling(steps=3, **options))


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for number, molecule in expected.items():
        assert np.array_equal(found[number].numbers, molecule.numbers)
        assert np.abs(found[number].positions - molecule.positions).max() < 1e-4
        assert found[number].properties == molecule.properties


@pytest.fixture
def backend(monkeypatch):
    """Graphs are traced and run as they are: what is compiled is tested, and not the compiler."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    yield
    torch._dynamo.reset()


@pytest.fixture
def uncompiled(monkeypatch):
    """`torch.compile` gives the function back."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    compiled._compiled.cache_clear()
    yield
    compiled._compiled.cache_clear()


@pytest.mark.parametrize(("tokens", "pairs"), [(64, None), (256, 2000), (1, None), (16_384, 2**19)])
def test_shapes_are_few_and_every_batch_fits_into_one(tokens, pairs):
    grain, largest = 4, 29
    shapes = set()
    for count in (1, 3, 40, 700):
        sizes = torch.randint(3, largest + 1, (count,), generator=torch.Generator().manual_seed(count))
        for places in by_size(rounded(sizes, grain), tokens, pairs):
            room, atoms = shape_of(len(places), int(sizes[places].max()), tokens, pairs, grain)
            assert room >= len(places) and atoms >= sizes[places].max() and atoms % grain == 0
            assert room == 1 or (room * atoms <= tokens and (pairs is None or room * atoms**2 <= pairs))
            shapes.add((room, atoms))
    assert len(shapes) <= 4 * math.ceil(largest / grain)


def test_a_grain_of_one_pads_nothing():
    assert shape_of(3, 7, 1000, None, grain=1) == (3, 7)


@pytest.mark.parametrize("grain", [2, 5])
def test_padded_shapes_change_no_molecule(grain):
    expected = dict(generator(tokens=64).draw(1, torch.arange(20)))
    assert_same(dict(generator(tokens=64, grain=grain).draw(1, torch.arange(20))), expected)


def test_all_that_fills_a_shape_is_finite():
    source = generator(tokens=64, grain=4)
    numbers, like = source._like(torch.tensor([5, 7]), torch.tensor([3, 6]))
    assert numbers.tolist() == [5, 7] and like.x.shape == (2, 8, 3)
    numbers, like = source._like(torch.tensor([5, 7, 9]), torch.tensor([3, 6, 6]))
    assert numbers.tolist() == [5, 7, 9, 9] and like.count.tolist() == [3, 6, 6, 6]


def test_compiled_steps_draw_the_same_molecules_and_are_compiled_once(backend):
    expected = dict(generator(tokens=64).draw(1, torch.arange(30)))
    source = generator(tokens=64, grain=4, compile=True)
    assert_same(dict(source.draw(1, torch.arange(30))), expected)
    first = counters["stats"]["unique_graphs"]
    dict(source.draw(2, torch.arange(30, 90)))  # batches of other shapes, more of them
    assert counters["stats"]["unique_graphs"] == first <= 4 and not counters["graph_break"]


def test_progress_is_told_of_every_call_compiled_or_not(uncompiled):
    for options in ({}, {"compile": True}):
        done: list[float] = []
        source = generator(**options, solver="heun")
        list(Generator(source.diffusion, QM9, SIZES, source.sampling, done.append).draw(0, torch.arange(4)))
        assert len(done) == 7 and sum(done) == pytest.approx(4)


def test_what_leaves_a_graph_is_a_copy():
    cloud, time = empty_cloud(torch.tensor([2, 3]), 1), torch.ones(2)
    there, (then, nothing) = compiled.copied((cloud, (time, None)))
    assert nothing is None and torch.equal(there.x, cloud.x) and torch.equal(then, time)
    assert there.x.data_ptr() != cloud.x.data_ptr() and then.data_ptr() != time.data_ptr()


def test_phases_are_told_apart_by_the_grid_within_other_solvers():
    """And not by the times on the device, which would have to be waited for."""
    phases = Phases(Heun(), Ancestral(), 0.5)
    for outer in (Resampled(phases, 2), GuidedStep(phases, 3.0)):
        assert outer.at(0.6).solver is phases.early and outer.at(0.4).solver is phases.late
        assert outer.at(0.4).calls == 2 and outer.at(0.6).calls == 4


def test_bf16_rounds_molecules_and_changes_nothing_else():
    model = coset.load("qm9")
    told = {"seed": 5, "steps": 20, "solver": "multistep"}
    plain, fast, again = (model.sample(4, **told, precision=p) for p in (None, "bf16", "fp32"))
    for a, b, c in zip(plain, fast, again, strict=True):
        assert len(a) == len(b) and np.array_equal(a.positions, c.positions)
        assert 0 < np.abs(a.positions - b.positions).max() < 1
        assert b.properties == {**a.properties, "precision": "bf16"} and c.properties == a.properties
    assert precision_of(model.diffusion) == "fp32"
    with pytest.raises(ValueError, match="precision must be 'bf16' or 'fp32'; got 'fp8'"):
        model.sample(1, precision="fp8")


def test_that_molecules_were_drawn_by_compiled_steps_is_told(uncompiled):
    (molecule,) = coset.load("qm9").sample(1, steps=1, compile=True)
    assert molecule.properties["compiled"] == "yes"
