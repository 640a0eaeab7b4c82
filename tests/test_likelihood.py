"""Laws of measured likelihoods: repeatable, resumable, whole; poses drawn more often tighten them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from coset import likelihood as module
from coset.data import open_dataset
from coset.likelihood import PARTS, Settings, likelihood
from coset.model import Model, load
from coset.molecule import QM9
from coset.recipes.registry import build, find_recipe
from coset.samplers.sizes import SizeDistribution
from example_clouds import awake

DATA = open_dataset("qm9-sample")
ROWS = DATA.valid[:60]


@pytest.fixture(scope="module")
def packaged() -> Model:
    return load("qm9")


@pytest.fixture(scope="module")
def symmetrised() -> Model:
    sizes = {"width": 16, "depth": 1, "heads": 2, "kernels": 4}
    poses = {"pose_width": 8, "pose_depth": 1, "pose_heads": 2, "pose_kernels": 4}
    settings = find_recipe("symdiff").resolve(sizes | poses)
    diffusion = build("symdiff", settings, 5)
    awake(diffusion.denoiser)
    card = {"name": "tiny", "recipe": "symdiff", "settings": settings.model_dump(mode="json")}
    return Model(diffusion.eval(), QM9, SizeDistribution(DATA.size_histogram()), card)


def test_the_terms_add_up_and_repeat(packaged):
    found = likelihood(packaged, DATA, ROWS, Settings(repeats=2))
    assert found.parts.shape == (2, len(ROWS), len(PARTS)) and np.isfinite(found.parts).all()
    assert found.nll == pytest.approx(sum(found.means().values()))
    again = likelihood(packaged, DATA, ROWS, Settings(repeats=2))
    assert np.array_equal(again.parts, found.parts)
    other = likelihood(packaged, DATA, ROWS, Settings(repeats=2, seed=1))
    assert other.nll != found.nll and abs(other.nll - found.nll) < 6 * math.hypot(
        other.noise_error, found.noise_error, 10
    )
    log_size = packaged.sizes.log_prob(module.torch.as_tensor(DATA.store.sizes[ROWS].astype(np.int64)))
    assert np.allclose(found.parts[0, :, 3], -log_size)


def test_passes_differ_and_a_pass_covers_the_chain():
    places = module._places(np.arange(1000), 0, 0, module.torch.device("cpu")).sort().values
    assert places[0] < 0.005 and places[-1] > 0.995 and places.diff().max() < 0.003
    assert module._places(np.arange(1), 1, 0, module.torch.device("cpu")) != places[0]


def test_a_trained_model_finds_molecules_more_likely_than_distorted_ones(packaged):
    """Positions blown up by a tenth cost many nats."""
    whole = likelihood(packaged, DATA, ROWS, Settings(steps=None, repeats=3))
    store = dataclasses.replace(DATA, store=_Stretched(DATA.store))  # type: ignore[arg-type]
    assert likelihood(packaged, store, ROWS, Settings(steps=None, repeats=3)).nll > whole.nll + 50


class _Stretched:
    """A store whose positions are a tenth too long."""

    def __init__(self, store) -> None:
        self.ids, self.sizes, self._store = store.ids, store.sizes, store

    def collate(self, rows):
        numbers, positions = self._store.collate(rows)
        return numbers, 1.1 * positions


def test_more_draws_of_the_pose_tighten_the_bound(symmetrised):
    """On the same noise, molecule by molecule in the mean."""
    few, many = (
        likelihood(symmetrised, DATA, ROWS, Settings(None, draws, 2)).parts[..., 1:3].sum(-1) for draws in (1, 10)
    )
    gain = (few - many).mean(0)
    assert gain.mean() > 3 * gain.std() / math.sqrt(len(gain)) > 0


def test_draws_of_a_deterministic_model_are_refused(packaged):
    with pytest.raises(ValueError, match="deterministic"):
        likelihood(packaged, DATA, ROWS, Settings(draws=2))


def test_a_measurement_broken_off_keeps_what_it_has_and_goes_on(packaged, tmp_path):
    out, whole = tmp_path / "terms.npz", likelihood(packaged, DATA, ROWS, Settings(repeats=2))

    def stop(share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        likelihood(packaged, DATA, ROWS, Settings(repeats=2), out, stop)
    done = np.isfinite(np.load(out)["parts"][..., 0]).mean()
    assert 0.3 < done < 1
    shares: list[float] = []
    found = likelihood(packaged, DATA, ROWS, Settings(repeats=2), out, shares.append)
    assert np.array_equal(found.parts, whole.parts) and shares[0] >= done


def test_molecules_of_the_same_numbers_elsewhere_are_others(packaged, tmp_path):
    """Ids and sizes are not enough: another store may have them too."""
    out = tmp_path / "terms.npz"
    likelihood(packaged, DATA, ROWS[:5], Settings(repeats=1), out)
    other = dataclasses.replace(DATA, store=_Stretched(DATA.store))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another model, data or settings"):
        likelihood(packaged, other, ROWS[:5], Settings(repeats=1), out)


@pytest.mark.parametrize("change", ["seed", "text", "cut"])
def test_files_of_something_else_are_refused_and_kept(packaged, tmp_path, change):
    out = tmp_path / "terms.npz"
    likelihood(packaged, DATA, ROWS[:5], Settings(repeats=1), out)
    content = {"seed": out.read_bytes(), "text": b"no archive", "cut": out.read_bytes()[:-40]}[change]
    out.write_bytes(content)
    with pytest.raises(ValueError, match="another name"):
        likelihood(packaged, DATA, ROWS[:5], Settings(repeats=1, seed=int(change == "seed")), out)
    assert out.read_bytes() == content


def test_sizes_that_were_never_seen_are_left_out_and_counted(packaged):
    small = Model(packaged.diffusion, QM9, SizeDistribution({18: 1}), packaged.card)
    found = likelihood(small, DATA, ROWS, Settings(repeats=1))
    assert found.unseen == int((DATA.store.sizes[ROWS] != 18).sum()) > 0
    assert len(found.ids) == len(ROWS) - found.unseen and (found.parts[..., 3] == 0).all()
    with pytest.raises(ValueError, match="none of these molecules' sizes"):
        likelihood(Model(packaged.diffusion, QM9, SizeDistribution({2: 1}), packaged.card), DATA, ROWS)


@pytest.mark.parametrize("name", ["steps", "draws", "repeats"])
def test_settings_that_cannot_be(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        Settings(**{name: 0})
