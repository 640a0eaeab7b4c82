"""Molecules of 1 and of 500 atoms, and atoms at one place: every part of the library has an answer, none crashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coset.bonds import CROWD, bond_orders, crowded, smiles, to_rdkit
from coset.files import read, write_sdf, write_smiles, write_xyz
from coset.metrics.depiction import depict
from coset.metrics.evaluate import evaluate
from coset.molecule import FARTHEST, Molecule, Vocabulary, pad


def alkane(carbons: int) -> Molecule:
    """A zigzag chain, all its bonds within the distance rule."""
    up = (-1.0) ** np.arange(carbons)
    chain = np.stack([1.27 * np.arange(carbons), 0.43 * up, 0 * up], -1)
    sides = [chain + np.stack([0 * up, 0.63 * up, side * 0.89 + 0 * up], -1) for side in (1, -1)]
    ends = [chain[0] + [-0.95, -0.5, 0], chain[-1] + [0.95, -0.5 * up[-1], 0]]
    numbers = np.repeat([6, 1], [carbons, 2 * carbons + 2])
    return Molecule(numbers, np.concatenate([chain, *sides, ends]), {"name": f"C{carbons}"})


def heap(n: int, width: float, seed: int = 0) -> Molecule:
    """Atoms thrown together, as an untrained model does it."""
    rng = np.random.default_rng(seed)
    return Molecule(rng.choice([1, 6, 7, 8], n), width * rng.normal(size=(n, 3)))


ONE = [Molecule(np.array([z]), np.zeros((1, 3)), {"name": "alone"}) for z in (1, 6, 92, 118)]
EXTREMES = {
    **{each.formula: each for each in ONE},
    "500 atoms": alkane(166),
    "a heap of 500": heap(500, 1.0),
    "a loose heap of 500": heap(500, 4.0),
    "500 at one place": Molecule(np.full(500, 6), np.zeros((500, 3))),
    "29 at one place": Molecule(np.full(29, 6), np.ones((29, 3))),
    "two carbons at one place": Molecule(np.array([6, 6]), np.zeros((2, 3))),
    "two hydrogens at one place": Molecule(np.array([1, 1]), np.zeros((2, 3))),
    "as far apart as can be": Molecule(np.array([6, 1]), np.array([[-FARTHEST, 0, 0], [FARTHEST, 0, 0]])),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_every_part_takes_it(tmp_path: Path, name: str):
    molecule = EXTREMES[name]
    write_sdf(tmp_path / "a.sdf", [molecule])
    write_xyz(tmp_path / "a.xyz", [molecule])
    for file in ("a.sdf", "a.xyz"):
        (again,) = read(tmp_path / file)
        assert again.numbers.tolist() == molecule.numbers.tolist()
        np.testing.assert_allclose(again.positions, molecule.positions, rtol=0, atol=1e-9)
    for perception in ("distance", "rdkit"):
        assert to_rdkit(molecule, perception).GetNumAtoms() == len(molecule)
    assert depict(molecule).startswith("<svg")
    report = evaluate([molecule], reference=None)
    assert report.counts["atoms"] == len(molecule)
    assert all(np.isfinite([rate.low, rate.high]).all() for rate in report.rates.values() if rate.value == rate.value)
    assert write_smiles(tmp_path / "a.smi", [molecule]) == report.counts["valid"]


@pytest.mark.parametrize("name", EXTREMES)
def test_batches_hold_no_nan(name: str):
    molecule = EXTREMES[name]
    vocabulary = Vocabulary(tuple(sorted(set(molecule.numbers.tolist()))))
    cloud = vocabulary.cloud(*pad([molecule]))
    assert bool(cloud.x.isfinite().all()) and len(vocabulary.molecules(cloud)[0]) == len(molecule)


def test_a_long_chain_is_one_stable_molecule():
    molecule = alkane(166)
    assert len(molecule) == 500 and smiles(to_rdkit(molecule)) == "C" * 166
    counts = evaluate([molecule], reference=None).counts
    assert counts["stable_atoms"] == 500 and counts["valid"] == counts["connected"] == 1


def test_atoms_at_one_place_get_the_highest_bond_that_is_tabulated():
    same = np.zeros((1, 2, 3))
    orders = [bond_orders(np.array([pair]), same)[0, 0, 1] for pair in ((6, 6), (6, 8), (6, 9), (1, 1), (5, 5))]
    assert orders == [3, 3, 1, 1, 0]


def test_a_direction_between_atoms_at_one_place_only_costs_the_stereochemistry():
    """Silicon and fluorine on carbon, of which two lie at one place, have no direction to each other."""
    found = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        numbers = rng.choice([1, 5, 6, 7, 9, 14, 15, 17, 53], 6)
        molecule = Molecule(numbers, np.round(rng.normal(size=(6, 3)) * rng.choice([0, 1.2], size=3)))
        graph = to_rdkit(molecule)
        found += graph.GetProp("sanitized") == "true"
        assert len(smiles(graph)) > 0
    assert found > 10


def test_a_heap_comes_without_bonds_and_is_never_valid():
    molecule = Molecule(np.full(CROWD + 2, 6), np.zeros((CROWD + 2, 3)))
    assert crowded(bond_orders(molecule.numbers[None], molecule.positions[None])[0])
    graph = to_rdkit(molecule)
    assert graph.GetNumBonds() == 0 and graph.GetProp("sanitized") == "false"
    less = Molecule(molecule.numbers[1:], molecule.positions[1:])
    assert to_rdkit(less).GetNumBonds() == (CROWD + 1) * CROWD // 2
    assert evaluate([molecule, less], reference=None).counts["valid"] == 0


@pytest.mark.parametrize("position", [np.nan, np.inf, -np.inf, 1.01 * FARTHEST])
def test_positions_nowhere_are_refused(position: float):
    with pytest.raises(ValueError, match=r"not finite|within"):
        Molecule(np.array([6]), np.array([[0.0, position, 0.0]]))
