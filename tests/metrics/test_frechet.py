"""The Fréchet distance of descriptors: closed forms, what it sees and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from scipy.linalg import sqrtm

from coset.files import read
from coset.metrics.descriptors import DESCRIPTORS, descriptors
from coset.metrics.frechet import Moments, descriptor_distance, frechet_distance
from coset.metrics.measurement import measure

SMILES = measure(read(Path(__file__).parents[1] / "data" / "gschnet_samples.npz")[:1000]).smiles
COLUMN = {name: place for place, name in enumerate(DESCRIPTORS)}


def moments(size: int, seed: int) -> Moments:
    rng = np.random.default_rng(seed)
    return Moments.of(rng.normal(size=(3 * size, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size))


def test_gaussians_on_a_line_and_along_axes():
    """(m1 - m2)^2 + (s1 - s2)^2, summed where covariances are diagonal."""
    first = Moments(np.array([1.0, 0.0]), np.diag([4.0, 9.0]))
    second = Moments(np.array([4.0, 0.0]), np.diag([1.0, 25.0]))
    assert frechet_distance(first, second) == pytest.approx(9 + 1 + 4)


@pytest.mark.parametrize("seed", range(3))
def test_any_two_gaussians(seed: int):
    first, second = moments(5, seed), moments(5, seed + 10)
    root = sqrtm(first.covariance @ second.covariance).real
    apart = np.square(first.mean - second.mean).sum()
    expected = apart + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_standardised_data_have_unit_deviations_and_constants_do_no_harm():
    table = np.random.default_rng(0).normal(size=(50, 3)) * [1, 100, 0] + [0, 5, 2]
    known = Moments.of(table)
    unit = known.standardised(known)
    assert np.allclose(unit.mean, 0) and np.allclose(np.diagonal(unit.covariance), [1, 1, 0])
    assert descriptor_distance(table + np.array([0, 100, 0]), known) == pytest.approx(100**2 / known.covariance[1, 1])
    assert np.isnan(descriptor_distance(table[:1], known))
    with pytest.raises(ValueError, match="two rows"):
        Moments.of(table[:1])


def test_descriptors_counted_by_hand():
    (found,) = descriptors(["[H]C([H])([H])C([H])([H])C([H])=O"])
    own = {name: float(found[place]) for name, place in COLUMN.items()}
    counts = {"heavy atoms": 4, "carbon": 3, "hydrogen": 6, "nitrogen": 0, "oxygen": 1, "double bonds": 1, "rings": 0}
    assert {name: own[name] for name in counts} == counts
    assert own["TPSA"] == pytest.approx(17.07) and own["fraction sp3"] == pytest.approx(2 / 3)
    (ring,) = descriptors(["c1ccccc1"])
    names = "aromatic atoms", "rings of 6", "rings of 5", "double bonds", "hydrogen"
    assert [ring[COLUMN[name]] for name in names] == [6, 1, 0, 0, 6]


def test_descriptors_are_those_of_the_graph_and_finite():
    valid = [each for each in SMILES if each]
    table = descriptors(SMILES)
    assert table.shape == (len(valid), len(DESCRIPTORS)) and np.isfinite(table).all()
    for row, text in zip(table, valid, strict=True):
        graph = Chem.AddHs(Chem.MolFromSmiles(text))
        kinds = [bond.GetBondType() for bond in graph.GetBonds()]
        sizes = [len(ring) for ring in graph.GetRingInfo().AtomRings()]
        expected = {
            "double bonds": kinds.count(Chem.BondType.DOUBLE),
            "triple bonds": kinds.count(Chem.BondType.TRIPLE),
            "hydrogen": sum(atom.GetAtomicNum() == 1 for atom in graph.GetAtoms()),
            "aromatic atoms": sum(atom.GetIsAromatic() for atom in graph.GetAtoms()),
            "rings of 3": sizes.count(3),
            "rings": len(sizes),
        }
        assert {name: row[COLUMN[name]] for name in expected} == expected
    odd = descriptors(["[H]", "[H][H]", "[He]", "F[H]", None, "nonsense", "C" * 300])
    assert odd.shape == (5, len(DESCRIPTORS)) and np.isfinite(odd).all()
    assert descriptors([None]).shape == (0, len(DESCRIPTORS))


def test_fewer_rings_and_fewer_molecules_lie_farther_away():
    table = descriptors(SMILES)
    known = Moments.of(table)
    assert descriptor_distance(table, known) == pytest.approx(0, abs=1e-6)
    rings = table[:, COLUMN["rings"]]
    without = table[rings < np.median(rings)]
    order = np.random.default_rng(0).permutation(len(table))
    same, few = table[order[: len(without)]], table[order[:60]]
    assert descriptor_distance(without, known) > 10 * descriptor_distance(same, known)
    assert descriptor_distance(few, known) > 2 * descriptor_distance(same, known)
