"""Yardsticks: on denoisers whose errors are known, they are those errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coset.bonds import bond_orders
from coset.data import open_dataset
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser, Draw
from coset.metrics.evaluate import evaluate
from coset.molecule import QM9
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.groups import Rotations
from coset.symmetry.targets import OrbitMean
from coset.training.runs import prepare
from coset.training.start import carry_out
from coset.training.state import State
from coset.training.summary import summarise
from coset.training.validation import Validation
from coset.training.yardsticks import BANDS, Levels, band_errors, descend, measure_denoising
from example_clouds import alone, awake, repeated, small_molecules

BAND_NAMES = [f"x_{name}" for name in BANDS]


class Knowing(Denoiser):
    """Gives a molecule that it knows, whatever lies before it."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, z, t, noise=None):
        return replace(z, x=self.x0.x, h=self.x0.h)


class KnowingButThePose(Knowing):
    """The best that can be done by one who knows the molecule: its mean over the poses behind z."""

    def __init__(self, x0, process):
        super().__init__(x0)
        self.process = process

    def forward(self, z, t, noise=None):
        return OrbitMean(Rotations())(self.process, Draw(self.x0, self.x0, z, t))


class Believing(Denoiser):
    """Takes what it sees for clean."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, z, t, noise=None):
        return z.scale((1 / self.schedule(t)[0]).to(z.x.dtype))


def model(recipe="edm", **settings):
    found = find_recipe(recipe)
    sizes = {"width": 16, "depth": 1, "heads": 2, "kernels": 4, "pair": 8, "move": 8, "stages": 1}
    sizes = {key: value for key, value in sizes.items() if key in found.settings.model_fields}
    return build(recipe, found.resolve(sizes | settings), 5)


def with_denoiser(diffusion, denoiser):
    return Diffusion(diffusion.codec, diffusion.process, denoiser, diffusion.objective)


def noise_of(clean):
    return Noise.from_seed(0, torch.arange(len(clean)))


def measured(diffusion, clean):
    return measure_denoising(diffusion, QM9, [(clean, noise_of(clean))])


def methane(copies):
    """Five atoms that do not lie on a line."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    positions = np.concatenate([np.zeros((1, 3)), 1.09 / math.sqrt(3) * corners])
    return repeated(QM9.cloud(np.array([[6, 1, 1, 1, 1]]), positions[None]), copies)


def test_who_knows_the_molecules_has_no_error_and_the_datas_own_stability():
    store = open_dataset("qm9-sample").store
    clean = QM9.cloud(*store.collate(np.arange(40)))
    diffusion = model()
    found = measured(with_denoiser(diffusion, Knowing(diffusion.codec.encode(clean))), clean)
    assert max(found[name] for name in ("bond_rms", "bond_rms_once", "bond_median")) < 1e-5
    assert found["stable"] == evaluate(QM9.molecules(clean), reference=None).rates["molecule_stability"].value > 0.8
    assert all(found[f"h_{name}"] < 1e-10 for name in BANDS)
    wrong = replace(clean, x=1.15 * clean.x)  # no bond of these lengths is in the table
    assert measured(with_denoiser(diffusion, Knowing(diffusion.codec.encode(wrong))), clean)["stable"] < 0.1


@pytest.mark.parametrize("schedule", ["polynomial", "linear", "exploding"])
def test_who_knows_all_but_the_pose_is_at_the_floor(schedule):
    clean = small_molecules(6)
    diffusion = model(schedule=schedule, predict="velocity")
    knowing = KnowingButThePose(diffusion.codec.encode(clean), diffusion.process)
    found = measured(with_denoiser(diffusion, knowing), clean)
    assert found["bond_rms"] < 1e-3 < found["bond_rms_once"] < 0.1  # a mean of poses is too small a molecule
    assert {key for key in found if key.startswith("x_")} == set(BAND_NAMES)
    assert all(found[name] < 1e-6 for name in BAND_NAMES)


def test_the_errors_of_who_believes_what_it_sees_follow_from_the_dimensions():
    """z / alpha has 3 N - 3 independent errors, and the target took up the 3 of a small rotation."""
    clean = methane(400)
    diffusion = model()
    believing = with_denoiser(diffusion, Believing(diffusion.process.schedule))
    found = measured(believing, clean)
    assert found["x_below_0.03"] == pytest.approx(9 / 15, rel=0.05)
    x0 = diffusion.codec.encode(clean)
    errors, features = band_errors(believing, x0, (0.01, 0.01001), noise_of(clean))
    assert errors.mean().item() == pytest.approx(9 / 15, rel=0.05)
    assert features.mean().item() == pytest.approx(0.01**2, rel=0.05)
    # Who knows the pose too is off by what the pose takes up: 3 of the 3 N.
    knowing = with_denoiser(diffusion, Knowing(x0))
    assert measured(knowing, clean)["x_below_0.03"] == pytest.approx(3 / 15, rel=0.1)
    # Bonds of one call: each of two atoms is off by 0.3 Angstrom along the bond, and across it to second order.
    assert found["bond_rms_once"] == pytest.approx(0.3 * math.sqrt(2), rel=0.15)
    assert found["bond_rms"] == pytest.approx(found["bond_rms_once"], rel=1e-3)  # no step adds noise


def test_models_of_rotated_data_are_measured_on_rotated_data():
    clean = methane(20)
    diffusion = model()
    knowing = with_denoiser(diffusion, Knowing(diffusion.codec.encode(clean)))
    knowing.augment = random_rotation
    assert measured(knowing, clean)["x_below_0.03"] > 100  # it knows another pose


@pytest.mark.parametrize("recipe", ["dit_aug", "coset"])
def test_one_molecule_or_many_in_a_batch_is_the_same(recipe):
    clean = small_molecules(5)
    diffusion = model(recipe)
    awake(diffusion.denoiser)
    together = measured(diffusion, clean)
    noise = noise_of(clean)
    apart = [(alone(clean, row), Noise(noise.seeds[row : row + 1])) for row in range(len(clean))]
    found = measure_denoising(diffusion, QM9, apart)
    assert found.keys() == together.keys()
    for key, value in together.items():
        assert found[key] == pytest.approx(value, rel=1e-3), key
    assert measured(diffusion, clean) == together


def test_bands_reach_as_far_as_the_schedule():
    levels = Levels.of(model(schedule="exploding"))
    assert levels.bands()["below_0.03"][0] == pytest.approx(1e-3)
    assert levels.bands()["above_3"] == (3.0, pytest.approx(10.0))
    assert set(levels.bands()) == set(BANDS)
    grid = levels.grid(0.3, 10)
    assert len(grid) == 11 and grid[-1] == 0 and (grid.diff() < 0).all()
    assert levels.schedule(grid[:1])[1].item() == pytest.approx(0.3)
    doubled = replace(levels, unit=2.0)  # encoded positions half as large: the same noise is half as much of them
    assert levels.schedule(doubled.time(torch.tensor([0.3]).double()))[1].item() == pytest.approx(0.15)
    assert set(replace(levels, unit=0.25).bands()) == {"below_0.03", "0.03_to_0.3", "0.3_to_3"}


def test_denoisers_that_look_at_their_last_estimate_get_it():
    clean, seen = small_molecules(3), []
    diffusion = model()

    class Looking(Knowing):
        def forward(self, z, t, noise=None):
            seen.append(z.condition and z.condition.previous)
            return super().forward(z, t, noise)

    x0 = diffusion.codec.encode(clean)
    looking = with_denoiser(diffusion, Looking(x0)).with_eta(0)
    descend(looking, x0, torch.tensor([0.2, 0.1, 0.0]).double(), noise_of(clean))
    assert seen[0] is None and len(seen) == 3
    assert all(torch.equal(each.x, x0.x) for each in seen[1:])


def test_what_is_undefined_is_not_stable_and_what_has_no_level_is_refused():
    clean = QM9.cloud(np.array([[1, 1]]), np.array([[[0.0, 0.0, 0.0], [0.74, 0.0, 0.0]]]))
    diffusion = model()
    x0 = diffusion.codec.encode(clean)
    assert measured(with_denoiser(diffusion, Knowing(x0)), clean)["stable"] == 1
    nothing = replace(x0, x=x0.x * math.nan)
    found = measured(with_denoiser(diffusion, Knowing(nothing)), clean)
    assert found["stable"] == 0 and math.isnan(found["bond_rms"])
    process = diffusion.process
    del process.schedule
    with pytest.raises(ValueError, match="has no noise level in Angstrom; train it with yardstick_molecules=0"):
        measured(with_denoiser(diffusion, Knowing(x0)), clean)


def test_bonds_are_those_of_the_clean_molecules():
    """One atom moved by 0.1 Angstrom away from its only bond partner: the error of that bond alone."""
    clean = methane(1)
    diffusion = model()
    x0 = diffusion.codec.encode(clean)
    numbers = clean.h[0, :, 5].numpy().astype(int)
    orders = bond_orders(numbers[None], clean.x.numpy())[0]
    hydrogen = int(np.flatnonzero(numbers == 1)[0])
    assert orders.sum() == 8 and numbers[orders[hydrogen] > 0].tolist() == [6]
    carbon = int(np.flatnonzero(numbers == 6)[0])
    moved = x0.x.clone()
    bond = moved[0, hydrogen] - moved[0, carbon]
    moved[0, hydrogen] += 0.1 * bond / bond.norm()
    found = measured(with_denoiser(diffusion, Knowing(replace(x0, x=moved))), clean)
    assert found["bond_rms"] == pytest.approx(math.sqrt(0.1**2 / 4), rel=1e-3)
    assert found["bond_median"] < 1e-5


def test_molecules_without_bonds_have_no_error_of_bonds():
    single = QM9.cloud(np.array([[10 - 4]]), np.zeros((1, 1, 3)))
    found = measured(model(), single)
    assert found["stable"] == 0 and not [key for key in found if key.startswith("bond")]


def test_a_run_logs_those_of_its_averaged_weights(tmp_path):
    settings = find_recipe("edm").resolve(
        {"data": "qm9-sample", "width": 8, "depth": 1, "yardstick_molecules": 5, "sample_molecules": 0, "seed": 7}
    )
    run = prepare("edm", settings, tmp_path, "cpu")
    state = State.start(build("edm", settings, 5), settings)
    rows = run.dataset.valid[:5]
    batch = run.cloud(rows), Noise.from_seed(0, torch.as_tensor(rows))
    expected = measure_denoising(state.diffusion, QM9, [batch])
    for parameter in state.diffusion.parameters():
        parameter.data.fill_(math.nan)
    found = {key: value for key, value in Validation(run)(state).items() if key.startswith("yardstick_")}
    assert found.keys() == {f"yardstick_{name}" for name in expected}
    for name, value in expected.items():
        assert found[f"yardstick_{name}"] == pytest.approx(value, rel=1e-4), name
    carry_out(replace(run, settings=settings.model_copy(update={"molecules": 64})), tmp_path, resume=False)
    assert summarise(tmp_path).validation.keys() >= found.keys()
