"""Drug-likeness and rings: known molecules have known numbers, equal sets lie at no distance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from coset.files import read
from coset.metrics.distribution import wasserstein
from coset.metrics.druglikeness import QUANTITIES, Druglikeness, describe, described, distances
from coset.metrics.measurement import measure
from coset.molecule import Molecule

MOLECULES = read(Path(__file__).parents[1] / "data" / "qm9_200.npz")


def test_aspirin_naphthalene_and_a_spiro_cage():
    aspirin = describe("CC(=O)Oc1ccccc1C(=O)O")
    assert aspirin is not None and set(aspirin) == set(QUANTITIES)
    assert aspirin["weight"] == pytest.approx(180.16, abs=0.01) and aspirin["lipinski"] == 0
    assert aspirin["qed"] == pytest.approx(0.55, abs=0.01)  # Bickerton et al. 2012 print 0.55
    assert aspirin["sa_score"] == pytest.approx(1.58, abs=0.1) and aspirin["logp"] == pytest.approx(1.31, abs=0.01)
    assert aspirin["rings_6"] == aspirin["aromatic_rings"] == 1 and aspirin["fused_rings"] == 0
    naphthalene = describe("c1ccc2ccccc2c1")
    assert naphthalene is not None and naphthalene["fused_rings"] == naphthalene["rings"] == 2
    spiro = describe("C1CC12CCC2")
    assert spiro is not None and (spiro["rings_3"], spiro["rings_4"], spiro["fused_rings"]) == (1, 1, 0)
    large = describe("C1CCCCCCC1")
    assert large is not None and large["rings_7"] == 1
    heavy = describe("C" * 60)
    assert heavy is not None and heavy["lipinski"] == 2  # weight and logP


def test_cages_are_harder_to_make_than_chains():
    chain, cage = describe("CCCCCCO"), describe("C12C3C4C1C5C2C3C45")
    assert chain is not None and cage is not None and chain["sa_score"] < 3 < cage["sa_score"]


def test_explicit_hydrogens_and_the_molecule_itself_give_the_same():
    for molecule, smiles in zip(MOLECULES[::40], measure(MOLECULES[::40]).smiles, strict=True):
        assert described(molecule) == (describe(smiles) or {})


def test_what_has_no_graph_is_left_out():
    assert describe(None) is None and describe("nonsense") is None
    assert described(Molecule(np.array([6] * 12), np.zeros((12, 3)))) == {}
    report = Druglikeness.of([{}, {"crashed": True}][:1], "qm9")
    assert report.described == 0 and report.molecules == 1 and math.isnan(report.means["qed"])
    assert report.distances is not None and all(map(math.isnan, report.distances.values()))
    assert report.section().rows[0][1] == "-"


def test_a_set_lies_at_no_distance_from_itself_and_distances_are_symmetric():
    rows = [described(molecule) for molecule in MOLECULES[::4]]
    first, second = (Druglikeness.of(part).histograms for part in (rows[:25], rows[25:]))
    assert set(distances(first, first).values()) == {0.0}
    assert distances(first, second) == pytest.approx(distances(second, first))
    assert all(value >= 0 for value in distances(first, second).values())
    shuffled = Druglikeness.of([rows[i] for i in np.random.default_rng(0).permutation(25)]).histograms
    assert shuffled == first


def test_the_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.integers(-5, 9, 50), rng.integers(0, 20, 80)
    counts = [dict(zip(*np.unique(each, return_counts=True), strict=True)) for each in (first, second)]
    counts = [{int(key): int(count) for key, count in each.items()} for each in counts]
    assert wasserstein(*counts, 0.5) == pytest.approx(wasserstein_distance(0.5 * first, 0.5 * second))
    assert math.isnan(wasserstein({}, counts[0]))


def test_the_data_stand_beside():
    rows = [described(molecule) for molecule in MOLECULES[::4]]
    report = Druglikeness.of(rows, "qm9")
    assert report.distances is not None and report.data_distances is not None and report.data_means is not None
    assert report.described >= 45 and set(report.data_distances) == set(QUANTITIES)
    assert report.means["sa_score"] == pytest.approx(report.data_means["sa_score"], abs=0.6)
    assert report.distances["rings"] < 0.3
    benzenes = Druglikeness.of([describe("c1ccccc1")] * 50, "qm9")
    assert benzenes.distances is not None and benzenes.distances["aromatic_rings"] > 0.5
    assert Druglikeness.of(rows, "own").distances is None
