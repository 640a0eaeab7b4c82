"""Laws of drawing around fixed atoms: they stay to the last bit, turn the answer with them, and are grown from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from coset.codecs.features import Features
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser, Draw
from coset.metrics.flags import flags, passes
from coset.model import load
from coset.molecule import QM9, Molecule
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromNoise
from coset.noise import Noise
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.processes.affine import Affine
from coset.processes.schedules import Linear, Polynomial
from coset.samplers.fixed import Anchored, Fixed
from coset.samplers.generate import Generator, Sampling
from coset.samplers.grids import power_grid
from coset.samplers.growth import Growth
from coset.samplers.motion import Motion
from coset.samplers.resampled import Resampled
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.sizes import SizeDistribution
from coset.samplers.solvers import SOLVERS, Ancestral, Churned, Heun
from coset.symmetry.groups import Rotations
from coset.symmetry.rotations import haar
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import awake, random_cloud

STD = 1e-5**0.5
# Ethanol, C C O and then the hydrogens; the last one is that of the OH.
ETHANOL = Molecule(
    np.array([6, 6, 8, 1, 1, 1, 1, 1, 1]),
    np.array(
        [
            [-1.23, -0.25, 0.02], [0.05, 0.58, -0.05], [1.18, -0.28, 0.06], [-1.27, -0.99, -0.79], [-2.11, 0.4, -0.07],
            [-1.29, -0.79, 0.97], [0.09, 1.13, -1.0], [0.09, 1.31, 0.77], [1.96, 0.29, 0.01],
        ]
    ),
)  # fmt: skip


def part(atoms: list[int], molecule: Molecule = ETHANOL) -> Molecule:
    return Molecule(molecule.numbers[atoms], molecule.positions[atoms])


def turned(molecule: Molecule, rotation: np.ndarray, shift: float = 0.0) -> Molecule:
    return Molecule(molecule.numbers, molecule.positions @ rotation.T + shift)


def composed(denoiser: Denoiser, schedule=None, eta: float = 1.0) -> Diffusion:
    process = Affine(schedule or Polynomial(), eta)
    return Diffusion(Features(5, STD), process, denoiser, Denoising(NoiseWeight(process.schedule), plain))


class KnowingButThePose(Denoiser):
    """The mean of a molecule over the poses behind z, with the features it has."""

    def __init__(self, x0, process) -> None:
        super().__init__()
        self.x0, self.process, self.weight = x0, process, torch.nn.Parameter(torch.zeros(1))

    def forward(self, z, t, noise=None):
        rows = torch.zeros(len(z), dtype=torch.long)
        x0 = self.x0.take(rows).to(z.x.dtype)
        return OrbitMean(Rotations(reflections=False))(self.process, Draw(x0, x0, z, t))


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions, axis=-1)


@pytest.mark.parametrize("kept", [[0], [0, 1], [0, 1, 2], [1, 2, 6, 7, 0], [0, 3, 4, 5, 2, 8]], ids=len)
@pytest.mark.parametrize("solver", [Ancestral(), Heun(), Churned(Ancestral(), 1.2), Resampled(Ancestral(), 3)], ids=str)
def test_who_knows_the_molecule_completes_it(kept, solver):
    """One atom, two, a plane, a chain, and two pieces that are linked."""
    order = kept + [i for i in range(9) if i not in kept]
    whole, fragment = part(order), turned(part(kept), haar(Noise(torch.arange(1)), False)[0].numpy(), 3.0)
    process = Affine(Polynomial())
    clean = Features(5, STD).encode(QM9.cloud(whole.numbers[None], whole.positions[None]))
    fixed = Fixed.of(fragment, QM9, 6)
    diffusion = fixed.anchored(composed(KnowingButThePose(clean, process)), QM9)
    like, noise = empty_cloud(torch.tensor([9, 9]), 6), Noise(torch.arange(2))
    found = QM9.molecules(fixed.restored(sample(diffusion, like, noise, power_grid(60, 2.0), solver=solver)))
    for molecule in found:
        assert np.array_equal(molecule.positions[: len(kept)], fragment.positions)
        assert np.array_equal(molecule.numbers, whole.numbers)
        assert np.abs(distances(molecule.positions) - distances(whole.positions)).max() < 0.05


def equivariant() -> Denoiser:
    torch.manual_seed(0)
    return FromNoise(awake(EGNN(6, 16, 2)), Polynomial())  # type: ignore[arg-type]


def test_turning_the_fragment_and_the_noise_turns_the_answer():
    rotation = haar(Noise(torch.arange(1)), False)[0]
    fragment = part([0, 3, 4, 5, 1])
    z = random_cloud([9, 7], features=6)
    t = torch.tensor([0.9, 0.3], dtype=torch.float64)
    answers = []
    for own, seen in ((fragment, z), (turned(fragment, rotation.numpy()), z.rotate(rotation.expand(2, 3, 3)))):
        anchored = Fixed.of(own, QM9, 6).anchored(composed(equivariant()).double(), QM9)
        answers.append(anchored.denoiser(seen, t))
    one, other = answers
    assert (one.rotate(rotation.expand(2, 3, 3)).x - other.x).abs().max() < 1e-5  # the codec's float32
    assert torch.allclose(one.h, other.h, atol=1e-5) and one.x.sum(1).abs().max() < 1e-9


def test_no_fixed_atom_is_the_denoiser_itself():
    plain_one, z, t = equivariant().double(), random_cloud([9, 7], features=6), torch.tensor([0.9, 0.3]).double()
    none = torch.zeros(0, 3), torch.zeros(0, 6)
    anchored = Anchored(plain_one, *none, Growth(none[0], none[0]), Polynomial())
    assert torch.equal(anchored(z, t).x, plain_one(z, t).x)


def test_the_motion_is_the_best_one_never_a_reflection_and_nan_harms_its_own_row_alone():
    body = random_cloud([6, 6, 6]).x
    motion = haar(Noise(torch.arange(3)), False)
    target = body @ motion.mT + torch.tensor([1.0, 2.0, 3.0])
    found = Motion.between(body, target)
    assert torch.allclose(found.rotation, motion) and torch.allclose(found(body), target)
    mirrored = Motion.between(body, -body)
    assert torch.allclose(torch.linalg.det(mirrored.rotation), torch.ones(3, dtype=torch.float64))
    for few in (1, 2):
        assert torch.allclose(Motion.between(body[:, :few], body[:, :few] + 5)(body[:, :few]), body[:, :few] + 5)
    target[1] = float("nan")
    harmed = Motion.between(body, target)(body)
    assert torch.allclose(harmed[[0, 2]], target[[0, 2]]) and harmed[1].isnan().all()


def test_new_atoms_are_drawn_to_where_a_hydrogen_is_missing_and_only_while_there_is_noise():
    methyl = part([0, 3, 4, 5])
    growth = Growth.of(methyl)
    missing = ETHANOL.positions[1] - ETHANOL.positions[0]
    assert len(growth.sites) == 1
    assert float(growth.outward[0] @ torch.as_tensor(missing / np.linalg.norm(missing))) > 0.98
    new, mask = torch.zeros(1, 4, 3), torch.ones(1, 4, 1)
    still = Motion.between(new, new)
    none, one = (torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0))
    moved = growth(new, mask, still, growth.variance(none, one))
    assert float((moved[0] @ growth.outward[0].float()).min()) > 1
    assert torch.equal(growth(new, mask, still, growth.variance(one, none)), new)
    in_nm = Growth.of(methyl, unit=10.0)
    assert torch.allclose(10 * in_nm(new, mask, still, in_nm.variance(none, one)), moved, atol=1e-5)
    ring = np.array([[np.cos(a), np.sin(a), 0] for a in np.arange(6) * np.pi / 3])
    benzene = Molecule(np.array([6] * 6 + [1] * 6), np.concatenate([1.395 * ring, 2.48 * ring]))
    assert len(Growth.of(benzene).sites) == 0 and len(Growth.of(part(list(range(10)), benzene)).sites) == 2
    assert len(Growth.of(part([0])).sites) == 1


def generator(fix: Molecule | None, **options) -> Generator:
    sizes = SizeDistribution({3: 5, 6: 10, 11: 5})
    return Generator(composed(equivariant()), QM9, sizes, Sampling(steps=3, **options), fix=fix)


def drawn(source: Generator, count: int) -> dict:
    return dict(source.draw(0, torch.arange(count)))


def test_molecule_i_is_the_same_in_any_company_and_larger_than_the_fragment():
    fragment = part([0, 3, 4, 5])
    model = load("qm9")
    sizes = SizeDistribution({3: 5, 6: 10, 11: 5})
    source = [
        Generator(model.diffusion, QM9, sizes, Sampling(steps=10, tokens=tokens), fix=fragment) for tokens in (256, 1)
    ]
    many, alone = drawn(source[0], 12), drawn(source[1], 5)
    assert {len(molecule) for molecule in many.values()} == {6, 11}
    for number, molecule in alone.items():
        assert np.abs(molecule.positions - many[number].positions).max() < 1e-3
        assert molecule.properties == {"seed": 0, "number": number, "fixed": 4}
        assert np.array_equal(molecule.positions[:4], fragment.positions)
        assert np.array_equal(molecule.numbers[:4], fragment.numbers)


@pytest.mark.parametrize(("atoms", "size"), [(4, "of 4"), (2, "of 2"), (None, "11")])
def test_a_size_without_room_for_new_atoms_is_refused(atoms, size):
    fragment = part([0, 3, 4, 5]) if atoms else Molecule(np.full(12, 6), 1.5 * np.eye(12, 3) + np.arange(12)[:, None])
    with pytest.raises(ValueError, match=size):
        generator(fragment, atoms=atoms)


def test_resampling_once_is_the_solver_itself_and_needs_a_forward_kernel():
    like, noise = empty_cloud(torch.tensor([5]), 6), Noise(torch.arange(1))
    diffusion = composed(equivariant())
    once, twice = (sample(diffusion, like, noise, power_grid(4), solver=Resampled(Ancestral(), n)).x for n in (1, 2))
    assert torch.equal(once, sample(diffusion, like, noise, power_grid(4)).x) and not torch.allclose(once, twice)
    assert Resampled(SOLVERS["heun"], 3).calls == 6
    for times in (0, 101):
        with pytest.raises(ValueError, match="resample must lie between 1"):
            Resampled(Ancestral(), times)


def test_joined_is_told_of_molecules_with_fixed_atoms_alone():
    whole = replace(ETHANOL, properties={"fixed": 4})
    apart = replace(whole, positions=ETHANOL.positions + np.eye(9, 1, -8) * 5)
    assert [each.get("joined") for each in flags([whole, apart, ETHANOL])] == [True, False, None]
    assert passes(["joined"])(whole) and not passes(["joined"])(apart) and not passes(["joined"])(ETHANOL)


@pytest.mark.parametrize("schedule", [Linear(sigma_min=0.01), Polynomial()], ids=str)
def test_the_packaged_model_and_other_schedules_keep_the_atoms(schedule):
    fragment = turned(part([0, 3, 4, 5]), np.eye(3), 100.0)
    found = load("qm9").sample(2, steps=3, fix=fragment, resample=2)
    found += list(drawn(Generator(composed(equivariant(), schedule), QM9, SizeDistribution({6: 1}),
                                  Sampling(steps=3), fix=fragment), 2).values())  # fmt: skip
    assert all(np.array_equal(molecule.positions[:4], fragment.positions) for molecule in found)
