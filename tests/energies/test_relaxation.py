"""Laws of potentials, relaxations and of failures that are named."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from molecules import ATOM, BORANE, HEAP, METHANE, METHODS, METHYL, URANIUM, WATER, moved, needs_tblite, shaken, some

from coset.energies import Atoms, Limits, annotated, potential, relax
from coset.energies import potentials as potentials_module
from coset.energies.alignment import rmsd, superimposed
from coset.molecule import Molecule


@pytest.mark.parametrize("method", METHODS)
def test_forces_are_the_slope_of_the_energy(method):
    molecule = shaken(some())
    field, step = potential(method, Atoms.of(molecule)), 1e-4
    along = np.random.default_rng(3).normal(size=molecule.positions.shape)
    higher, lower = (field(molecule.positions + sign * step * along)[0] for sign in (1, -1))
    forces = field(molecule.positions)[1]
    assert (lower - higher) / (2 * step) == pytest.approx((forces * along).sum(), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_energy_falls_to_a_minimum_and_relaxing_again_does_nothing(method):
    molecule = shaken(some())
    found = relax(molecule, method)
    assert found.converged and found.strain > 1 and found.rmsd > 0.01 and found.evaluations > 2
    forces = potential(method, Atoms.of(Molecule(molecule.numbers, found.positions)))(found.positions)[1]
    assert np.linalg.norm(forces, axis=1).max() <= 1.05 * Limits().force
    again = relax(Molecule(molecule.numbers, found.positions), method, Limits(force=0.15))
    assert again.evaluations == 1 and again.strain == 0 and again.rmsd < 1e-12
    assert again.energy_after == pytest.approx(found.energy_after, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_pose_and_order_of_atoms_change_nothing(method):
    molecule = shaken(some())
    other, order = moved(molecule)
    first, second = relax(molecule, method, Limits(force=0.02)), relax(other, method, Limits(force=0.02))
    assert second.energy_before == pytest.approx(first.energy_before, abs=1e-4)
    assert second.strain == pytest.approx(first.strain, abs=2e-3)
    assert second.rmsd == pytest.approx(first.rmsd, abs=0.02)
    assert rmsd(first.positions[order], second.positions) < 0.02


def test_the_shift_is_apart_from_the_pose_but_not_from_the_hand():
    positions = some().positions
    turned, order = moved(some())
    assert rmsd(positions, positions) < 1e-12 and rmsd(turned.positions, positions[order]) < 1e-12
    assert np.allclose(superimposed(turned.positions, positions[order]), positions[order])
    assert rmsd(positions * [1, 1, -1], positions) > 0.1
    assert np.isnan(rmsd(positions[:0], positions[:0]))


def test_energies_of_pieces_far_apart_add_up():
    """Water beside methane: force fields and GFN2-xTB are additive where nothing overlaps."""
    both = Molecule(
        np.concatenate([WATER.numbers, METHANE.numbers]), np.concatenate([WATER.positions, METHANE.positions + 80.0])
    )
    for method in ["mmff", "xtb"][: 1 + (importlib.util.find_spec("tblite") is not None)]:
        parts = [potential(method, Atoms.of(each))(each.positions)[0] for each in (WATER, METHANE)]
        assert potential(method, Atoms.of(both))(both.positions)[0] == pytest.approx(sum(parts), abs=1e-3)
        near = Molecule(both.numbers, np.vstack([WATER.positions, METHANE.positions + np.array([0, 0, 3.5])]))
        assert abs(potential(method, Atoms.of(near))(near.positions)[0] - sum(parts)) > 0.02  # pieces act on each other


@pytest.mark.parametrize(
    ("molecule", "method", "reason", "words"),
    [
        (METHYL, "mmff", "no bonds", "bonds were perceived only with the charge"),
        (BORANE, "mmff", "no parameters", "MMFF94 has no parameters for B"),
        (HEAP, "mmff", "too close", "atoms 1 and 2 are 0.020 Å apart"),
        (ATOM, "mmff", "open shell", "lack a bond"),
        pytest.param(HEAP, "xtb", "too close", "atoms 1 and 2 are", marks=needs_tblite),
        pytest.param(URANIUM, "xtb", "no parameters", "no parameters for U", marks=needs_tblite),
    ],
)
def test_what_cannot_be_relaxed_is_named_and_left_as_it_was(molecule, method, reason, words):
    found = relax(molecule, method)
    assert not found.converged and np.isnan(found.strain)
    assert reason in str(found.failure) and words in found.sentence
    written = annotated(molecule, found)
    assert (written.positions == molecule.positions).all() and words in str(written.properties[f"{method}_failed"])


@needs_tblite
def test_single_atoms_and_radicals_are_relaxed():
    alone = relax(ATOM, "xtb")
    assert alone.converged and alone.strain == 0 and alone.evaluations == 1
    assert relax(METHYL, "xtb").converged and relax(METHYL, "xtb", charge=1).converged


def test_limits_are_reasons():
    molecule = shaken(some())
    steps = relax(molecule, "mmff", Limits(evaluations=5))
    assert steps.failure == "step limit" and "after 5 evaluations" in steps.sentence
    assert steps.energy_after <= steps.energy_before and np.isnan(steps.strain)
    assert relax(molecule, "mmff", Limits(seconds=1e-9)).failure == "time limit"
    with pytest.raises(ValueError, match="above 0"):
        Limits(force=0)


def test_relaxed_molecules_say_what_was_done():
    told = annotated(shaken(some()), relax(shaken(some()))).properties
    before, after = float(told["mmff_energy_before_kcal_mol"]), float(told["mmff_energy_kcal_mol"])
    assert float(told["mmff_strain_kcal_mol"]) == pytest.approx(before - after, abs=1e-3) and "mmff_failed" not in told


def test_an_absent_library_is_one_sentence(monkeypatch):
    monkeypatch.setattr(potentials_module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'coset\[eval\]'$"):
        relax(WATER, "xtb")
    with pytest.raises(ValueError, match="choose one of mmff, xtb"):
        relax(WATER, "uff")
    assert relax(WATER, "mmff").converged
