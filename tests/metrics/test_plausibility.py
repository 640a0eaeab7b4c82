"""PoseBusters: real molecules pass, each planted fault fails the test that is named after it, nothing else matters."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rdkit import rdBase
from rdkit.Geometry import Point3D

from coset.bonds import to_rdkit
from coset.energies import Atoms
from coset.energies.batch import run
from coset.files import read
from coset.metrics import plausibility
from coset.metrics.own import of_data
from coset.metrics.plausibility import FAST, TESTS, Plausibility, label, plausible
from coset.molecule import Molecule

pytest.importorskip("posebusters", reason="PoseBusters is not installed: pip install 'coset[eval]'")
MOLECULES = read(Path(__file__).parents[1] / "data" / "qm9_200.npz")
ALKANE = next(m for m in MOLECULES if m.formula == "C6H14" or (sorted(set(m.symbols)) == ["C", "H"] and len(m) > 20))
fast = partial(plausible, energy=False)


def rotated(molecule: Molecule, seed: int = 0) -> Molecule:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(molecule))
    return Molecule(molecule.numbers[order], (molecule.positions @ turn)[order] + 2.0)


def propane(bond: float = 1.526, angle: float = 112.0) -> Molecule:
    """C-C-C with ideal CH3 and CH2 groups, one bond and the angle as asked for."""
    half = np.radians(angle) / 2
    ends = [np.array([s * np.sin(half), -np.cos(half), 0]) for s in (-1, 1)]
    carbons = [np.zeros(3), 1.526 * ends[0], bond * ends[1]]
    hydrogens = [1.09 * np.array([0, np.cos(0.95), s * np.sin(0.95)]) for s in (-1, 1)]
    for carbon, axis in zip(carbons[1:], ends, strict=True):
        side = np.array([0, 0, 1.0])
        other = np.cross(axis, side)
        for turn in np.pi / 3 + 2 * np.pi / 3 * np.arange(3):
            across = np.cos(turn) * other + np.sin(turn) * side
            hydrogens.append(carbon + 1.09 * (axis / 3 + across * 8**0.5 / 3))
    return Molecule(np.array([6] * 3 + [1] * 8), np.array([*carbons, *hydrogens]))


def failed(found) -> set[str]:
    return {name for name, passes in found["tests"].items() if passes is not True}


def test_real_molecules_pass_every_test():
    found = [plausible(molecule) for molecule in (MOLECULES[20], propane(), ALKANE)]
    assert [set(each["tests"]) for each in found] == [set(TESTS)] * 3
    report = Plausibility.of(found, "qm9")
    assert report.passed_all == 3 and not report.reasons and set(report.passed.values()) == {3}
    share, low, high = report.summary()["rates"]["all"]
    assert share == 1 and 0.3 < low < high == 1


def with_bonds_of(other: Molecule, molecule: Molecule) -> dict:
    """The fast tests of a molecule where the bonds are those of another one of the same atoms."""
    graph = to_rdkit(other, "rdkit")
    for place, position in enumerate(molecule.positions.tolist()):
        graph.GetConformer().SetAtomPosition(place, Point3D(*position))
    with plausibility._quiet():
        return {"tests": plausibility._answers(plausibility._tests("mol_fast"), graph)}


def two(first: Molecule, second: Molecule, apart: float) -> Molecule:
    numbers = np.concatenate([first.numbers, second.numbers])
    return Molecule(numbers, np.concatenate([first.positions, second.positions + np.array([0, 0, apart])]))


def test_a_bad_bond_length_a_bad_angle_and_a_clash_fail_the_tests_of_that_name():
    assert failed(fast(propane(bond=1.12))) == {"bond_lengths"}
    assert failed(with_bonds_of(propane(), propane(angle=66.0))) == {"bond_angles"}
    for apart, expected in ((30.0, set()), (1.8, {"internal_steric_clash"})):
        pair = two(propane(), propane(), apart)
        assert failed(with_bonds_of(two(propane(), propane(), 30.0), pair)) == {"all_atoms_connected"} | expected


def test_a_radical_and_two_pieces_are_told():
    """A missing hydrogen is a radical, not an ion: molecules are neutral here."""
    assert failed(fast(two(MOLECULES[20], MOLECULES[30], 30.0))) == {"all_atoms_connected"}
    hydrogen = np.flatnonzero(ALKANE.numbers == 1)[0]
    radical = Molecule(np.delete(ALKANE.numbers, hydrogen), np.delete(ALKANE.positions, hydrogen, 0))
    assert failed(fast(radical)) == {"no_radicals"}


@pytest.mark.parametrize(
    ("molecule", "reason"),
    [
        (Molecule(np.array([6]), np.zeros((1, 3))), "single atom"),
        (Molecule(np.array([6] * 12), np.zeros((12, 3))), "not sanitised"),
        (Molecule(np.array([6, 1]), np.array([[0, 0, 0], [9.0, 0, 0]])), "no bonds"),
        (Molecule(np.array([6, *[6] * 5]), np.vstack([np.zeros(3), 1.3 * np.eye(3), -1.3 * np.eye(3)[:2]])), None),
    ],
)
def test_what_is_no_molecule_is_counted_by_its_reason(molecule, reason):
    found = plausible(molecule)
    assert set(found["tests"]) == set(TESTS)
    if reason:
        assert found["reason"] == reason and not found["tests"]["sanitization"]
    report = Plausibility.of([found, {"crashed": True}, fast(propane())])
    assert report.molecules == 3 and report.reasons["crashed"] == 1 and report.passed_all == 0
    assert sum(report.unanswered.values()) >= len(TESTS)


def test_a_limit_leaves_the_energy_without_an_answer():
    found = plausible(ALKANE, seconds=1e-9)
    assert found["reason"] == "time limit" and found["tests"]["internal_energy"] is None
    assert all(found["tests"][name] for name in FAST)


def test_pose_order_and_workers_change_nothing(tmp_path):
    chosen = [MOLECULES[i] for i in (10, 50, 90, 130)] + [propane(bond=1.12)]
    once = run(fast, label(False), [Atoms.of(m) for m in chosen], kept=tmp_path / "kept.jsonl")
    turned = run(fast, label(False), [Atoms.of(rotated(m)) for m in chosen[::-1]], workers=2)
    assert once == turned[::-1]
    again = run(fast, label(False), [Atoms.of(m) for m in chosen], kept=tmp_path / "kept.jsonl")
    assert Plausibility.of(again).summary() == Plausibility.of(once).summary()


def test_rdkits_messages_are_as_they_were(capfd):
    before = rdBase.LogStatus(), logging.getLogger("rdkit").level
    plausible(Molecule(np.array([6, *[6] * 5]), np.vstack([np.zeros(3), 1.3 * np.eye(3), -1.3 * np.eye(3)[:2]])))
    assert (rdBase.LogStatus(), logging.getLogger("rdkit").level) == before
    assert capfd.readouterr() == ("", "")


def test_a_closed_error_stream_changes_no_answer():
    """As a notebook's cell, a test or a redirection leaves it."""
    for _ in range(2):
        with io.StringIO() as stream, redirect_stderr(stream):
            assert not failed(fast(propane()))


@pytest.mark.parametrize("name", ["qm9", "qm9-small"])
def test_the_datas_own_shares_are_packaged(name):
    data = of_data(name, "plausibility")
    assert data is not None and data["molecules"] == 300 and set(data["passed"]) == set(TESTS)
    assert 0.9 < data["rates"]["bond_lengths"][0] <= 1
    row = Plausibility.of([fast(propane())], name).section().rows[0]
    assert row[0] == "sanitization" and row[3] == f"{100 * data['rates']['sanitization'][0]:.1f}"


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(plausibility, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'coset\[eval\]'"):
        plausible(propane())
    with pytest.raises(ValueError, match="no molecule"):
        Plausibility.of([])
