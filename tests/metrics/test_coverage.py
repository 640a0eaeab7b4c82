"""Coverage by hand, failures and distances that are missing, and properties of ensembles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from scipy.spatial.transform import Rotation

from coset.metrics.coverage import ceiling, coverage
from coset.metrics.ensemble_properties import (
    GAS_CONSTANT,
    PROPERTIES,
    ROOM,
    boltzmann_weights,
    ensemble_averages,
    ensemble_errors,
    median_errors,
)
from coset.metrics.rmsd import RMSDs, rmsd_matrix

NAN = math.nan
# Nearest generated: .1, .5, .9; nearest reference: .3, .1, .5, 2.
TABLE = np.array([[0.3, 0.1, 0.8, 2.0], [1.0, 0.6, 0.5, 3.0], [1.2, 0.9, 1.1, 4.0]])


def test_a_table_of_three_by_four_by_hand():
    found = coverage([TABLE], [0.5, 0.75, 0.05])
    np.testing.assert_allclose(found.recall, [[1 / 3, 2 / 3, 0]])  # 0.5 is not below 0.5
    np.testing.assert_allclose(found.precision, [[2 / 4, 3 / 4, 0]])
    np.testing.assert_allclose(found.amr_recall, [0.5])
    np.testing.assert_allclose(found.amr_precision, [2.9 / 4])


def test_recall_of_one_direction_is_precision_of_the_other():
    one, other = coverage([TABLE, TABLE[:2]], [0.5, 0.7]), coverage([TABLE.T, TABLE[:2].T], [0.5, 0.7])
    np.testing.assert_array_equal(one.recall, other.precision)
    np.testing.assert_array_equal(one.precision, other.recall)
    np.testing.assert_array_equal(one.amr_recall, other.amr_precision)


def test_missing_distances_are_ignored_in_minima():
    table = TABLE.copy()
    table[0, 1] = NAN  # the next best of reference 0 is .3, of generated 1 .6
    found = coverage([table], [0.5])
    np.testing.assert_allclose(found.recall, [[1 / 3]])
    np.testing.assert_allclose(found.precision, [[1 / 4]])
    np.testing.assert_allclose(found.amr_recall, [(0.3 + 0.5 + 0.9) / 3])
    np.testing.assert_allclose(found.amr_precision, [(0.3 + 0.6 + 0.5 + 2) / 4])


def test_a_conformer_without_distances_is_missed_and_left_out_of_amr():
    table = TABLE.copy()
    table[:, 3] = NAN
    found = coverage([table], [0.75])
    np.testing.assert_allclose(found.precision, [[3 / 4]])
    np.testing.assert_allclose(found.amr_precision, [0.3])
    np.testing.assert_allclose(found.recall, [[2 / 3]])
    assert not found.failed.any()


def test_failures_cover_nothing_and_leave_amr_alone():
    found = coverage([TABLE, None, np.zeros((3, 0)), np.full((2, 2), NAN)], [0.5, 100])
    np.testing.assert_allclose(found.recall, [[1 / 3, 1], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(found.precision, [[1 / 2, 1], [0, 0], [0, 0], [0, 0]])
    assert found.failed.tolist() == [False, True, True, True]
    summary = found.summary()
    assert (summary["molecules"], summary["scored"], summary["failed"]) == (4, 1, 3)
    assert summary["cov_recall_mean_100"] == 0.25 and summary["cov_recall_median_100"] == 0
    assert summary["amr_recall_mean"] == pytest.approx(0.5)
    assert summary["amr_precision_median"] == pytest.approx(2.9 / 4)


def test_summaries_are_means_and_medians_over_molecules():
    tables = [RMSDs(TABLE, 2, False), RMSDs(TABLE - 0.09, 1000, True), TABLE + 1]
    found = coverage(tables, [0.5]).summary()
    assert all(type(value) is float for value in found.values())
    assert found["cov_recall_mean_0.5"] == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert found["cov_recall_median_0.5"] == pytest.approx(1 / 3)
    assert found["amr_recall_mean"] == pytest.approx((0.5 + 0.41 + 1.5) / 3)
    assert found["amr_recall_median"] == pytest.approx(0.5)
    assert found["capped"] == 1 and found["failed"] == 0


def test_no_molecules_give_nan_and_no_warning():
    summary = coverage([], [0.5]).summary()
    assert summary["molecules"] == 0 and math.isnan(summary["cov_recall_mean_0.5"])
    assert math.isnan(coverage([None], [0.5]).summary()["amr_recall_mean"])


def test_a_molecule_without_reference_conformers_is_refused():
    with pytest.raises(ValueError, match=r"matrix 1 has shape \(0, 4\)"):
        coverage([TABLE, TABLE[:0]], [0.5])


def conformers(count: int) -> tuple[Chem.Mol, np.ndarray]:
    mol = Chem.AddHs(Chem.MolFromSmiles("OCC(C)CO"))
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=5)
    return mol, np.array([conformer.GetPositions() for conformer in mol.GetConformers()])


def test_halves_that_are_equal_cover_each_other():
    mol, (first,) = conformers(1)
    poses = first @ Rotation.random(7, np.random.default_rng(0)).as_matrix()
    found = coverage([ceiling(mol, poses)], [1e-3])
    assert found.recall == 1 and found.precision == 1
    assert found.amr_recall[0] < 1e-5


def test_halves_hold_every_conformer_once_and_follow_the_seed():
    mol, positions = conformers(7)
    whole = rmsd_matrix(mol, positions, positions).matrix
    halves = [ceiling(mol, positions, seed).matrix for seed in (0, 0, 1, 2, 3)]
    assert {half.shape for half in halves} == {(3, 4)}
    np.testing.assert_array_equal(halves[0], halves[1])
    assert any(not np.allclose(half, halves[0]) for half in halves[2:])
    between = np.sort(whole[~np.eye(7, dtype=bool)])
    for half in halves:  # no conformer meets itself
        assert half.min() > between[0] - 1e-6
    with pytest.raises(ValueError, match="ensemble of 1"):
        ceiling(mol, positions[:1])


def test_boltzmann_weights_are_the_ratios_that_the_energies_say():
    assert pytest.approx(0.5925, rel=1e-3) == GAS_CONSTANT * ROOM  # RT in kcal/mol
    weights = boltzmann_weights([3.0, 1.0, NAN, 1.0], 300.0)
    assert weights.sum() == pytest.approx(1) and weights[2] == 0
    assert weights[0] / weights[1] == pytest.approx(math.exp(-2 / (GAS_CONSTANT * 300)))
    np.testing.assert_allclose(boltzmann_weights([1e5 + 3, 1e5 + 1, NAN, 1e5 + 1], 300.0), weights)
    np.testing.assert_allclose(boltzmann_weights([5.0, 0.0, 1.0], math.inf), 1 / 3)
    np.testing.assert_allclose(boltzmann_weights([1e6, 0.0], 1.0), [0, 1])
    np.testing.assert_allclose(boltzmann_weights([0.0, 0.0], degeneracies=[1, 3]), [0.25, 0.75])
    with pytest.raises(ValueError, match="above 0"):
        boltzmann_weights([1.0], 0.0)
    with pytest.raises(ValueError, match="none of 2 energies"):
        boltzmann_weights([NAN, NAN])


def test_averages_of_an_ensemble_by_hand():
    """Two conformers apart by RT log 3 weigh 3 to 1."""
    energies = [-10 + GAS_CONSTANT * 300 * math.log(3), -10, 5]
    found = ensemble_averages({"energy": energies, "dipole": [4.0, 0.0, NAN], "gap": [6.0, 10.0, 1.0]}, 300)
    assert found["average_dipole"] == pytest.approx(1) and found["average_gap"] == pytest.approx(9)
    assert found["lowest_gap"] == 6 and found["lowest_energy"] == -10
    assert found["average_energy"] == pytest.approx(-10 + GAS_CONSTANT * 300 * math.log(3) / 4)


def test_equal_ensembles_have_no_errors_and_conformers_that_do_not_matter_none_either():
    one = {"energy": [0.0, 1.0, 2.0], "dipole": [1.0, 2.0, 3.0], "gap": [7.0, 8.0, 6.0]}
    assert set(ensemble_errors(one, one).values()) == {0.0}
    more = {"energy": [*one["energy"], 500.0], "dipole": [*one["dipole"], 90.0], "gap": [*one["gap"], 90.0]}
    np.testing.assert_allclose(list(ensemble_errors(one, more).values()), 0, atol=1e-9)
    shifted = ensemble_errors(one, {**one, "energy": [3.0, 4.0, 5.0]})
    assert shifted["average_energy"] == pytest.approx(3) and shifted["lowest_energy"] == pytest.approx(3)
    assert shifted["average_dipole"] == pytest.approx(0)
    assert set(shifted) == set(PROPERTIES)


def test_medians_over_molecules_count_failures_apart():
    reference = {"energy": [0.0], "gap": [5.0]}
    errors = [ensemble_errors(reference, {"energy": [e], "gap": [5.0]}) for e in (-1.0, 2.0, 9.0)]
    lost = ensemble_errors(reference, {"energy": [NAN], "gap": [5.0]})
    found = median_errors([*errors, None, lost])
    assert (found["molecules"], found["scored"], found["failed"]) == (5, 3, 2)
    assert found["average_energy"] == 2 and found["average_gap"] == 0 and math.isnan(found["average_dipole"])
    assert math.isnan(median_errors([None])["average_energy"])


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="give energy"):
        ensemble_averages({"dipole": [1.0]})
    with pytest.raises(ValueError, match="energies"):
        ensemble_averages({"energy": [1.0], "energies": [1.0]})
    with pytest.raises(ValueError, match="one number for each conformer"):
        ensemble_averages({"energy": [1.0], "gap": [1.0, 2.0]})
