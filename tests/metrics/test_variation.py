"""Variation by kind: nothing to itself, symmetric, and it names what was moved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coset.files import read
from coset.metrics.distribution import total_variation
from coset.metrics.evaluate import evaluate
from coset.metrics.geometry import angle_elements, torsion_elements
from coset.metrics.measurement import measure
from coset.metrics.own import interpolated, own_scores
from coset.metrics.reference import load_reference
from coset.metrics.reference_building import build_reference
from coset.metrics.variation import FAMILIES, VARIATIONS, Kind, Variation, by_kind, variations
from coset.molecule import Molecule

MOLECULES = read(Path(__file__).parents[1] / "data" / "qm9_200.npz")
KNOWN = build_reference("part", MOLECULES, MOLECULES[:4])


def kind(molecules: list[Molecule], family: str, name: str) -> Kind:
    (found,) = [k for k in by_kind(measure(molecules), KNOWN) if (k.family, k.name) == (family, name)]
    return found


def test_a_set_does_not_vary_from_itself():
    found = variations(measure(MOLECULES), KNOWN)
    assert set(found) == set(VARIATIONS) and found == pytest.approx(dict.fromkeys(VARIATIONS, 0.0), abs=1e-12)
    assert all(abs(k.variation) + abs(k.distance) + abs(k.shift) < 1e-9 for k in by_kind(measure(MOLECULES), KNOWN))


def test_total_variation_is_symmetric_and_order_does_not_matter():
    first, second = measure(MOLECULES[:100]), measure(MOLECULES[100:])
    for name in ("types", "bonds", "valences"):
        there, back = getattr(first, name), getattr(second, name)
        assert total_variation(there, back) == pytest.approx(total_variation(back, there)) and there != back
    assert variations(measure(MOLECULES[:100][::-1]), KNOWN) == pytest.approx(variations(first, KNOWN))


def test_kinds_are_named_as_chemists_do():
    names = {family: [k.name for k in by_kind(measure(MOLECULES), KNOWN) if k.family == family] for family in FAMILIES}
    assert {"C–C", "C–H", "C=O", "C–O", "O–H"} <= set(names["bonds"]) and "H–C–C–H" in names["torsions"]
    assert {"C–C–C", "C–C–O", "H–C–H"} <= set(names["angles"])
    for family in FAMILIES:
        assert len(names[family]) == len(set(names[family]))
        shares = [k.data_share for k in by_kind(measure(MOLECULES), KNOWN) if k.family == family]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1 + 1e-9
    water = measure([Molecule(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))])
    (key,) = water.geometry.angles
    assert angle_elements(key // 180) == (1, 8, 1)


def test_the_elements_of_a_chain_read_the_same_from_both_ends():
    site = [number * 8 + 3 for number in range(119)]
    half = lambda end, middle: site[middle] * 119 + end  # noqa: E731
    first, second = half(1, 6), half(8, 7)
    there, back = first * 119 * 8 * 119 + second, second * 119 * 8 * 119 + first
    assert torsion_elements(there) == torsion_elements(back) == (1, 6, 7, 8)


def test_a_shift_of_one_kind_of_bond_shows_there_alone():
    """Every O-H is made 4 pm longer, which the distance rule still bonds."""
    moved = []
    for molecule in MOLECULES:
        positions = molecule.positions.copy()
        for o in np.flatnonzero(molecule.numbers == 8):
            for h in np.flatnonzero(molecule.numbers == 1):
                step = positions[h] - positions[o]
                if (length := np.linalg.norm(step)) < 1.1:
                    positions[h] = positions[o] + step * (length + 0.04) / length
        moved.append(Molecule(molecule.numbers, positions))
    found = kind(moved, "bonds", "O–H")
    assert found.variation > 0.9 and found.distance == pytest.approx(4.0, abs=1.0)
    assert found.shift == pytest.approx(found.distance)
    assert kind(moved, "bonds", "C–C").variation == pytest.approx(0, abs=1e-9)


def test_noise_raises_every_variation_of_geometry():
    rng = np.random.default_rng(0)
    rows = []
    for noise in (0.01, 0.03):
        moved = [Molecule(m.numbers, m.positions + noise * rng.normal(size=(len(m), 3))) for m in MOLECULES]
        rows.append(variations(measure(moved), KNOWN))
    for name in ("bond_length_variation", "angle_variation", "torsion_variation", "angle_w1", "valence_w1"):
        assert 0 < rows[0][name] < rows[1][name]


def test_angles_are_weighted_by_elements_that_have_some():
    """Hydrogens, whose valence is one, do not count; of methanes the carbons alone do, 10 degrees off each."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    methane = Molecule(np.array([6, 1, 1, 1, 1]), np.vstack([np.zeros(3), 1.09 * corners]))
    known = build_reference("methane", [methane, methane], [methane])
    assert variations(measure([methane]), known)["angle_w1"] == 0
    bent = corners.copy()
    turn = np.radians(10.0)  # of one hydrogen, away from the second and in the plane of both
    normal = np.cross(bent[1], bent[0]) / np.linalg.norm(np.cross(bent[1], bent[0]))
    bent[0] = np.cos(turn) * bent[0] + np.sin(turn) * np.cross(normal, bent[0])
    angles = np.degrees(np.arccos([bent[0] @ bent[i] for i in (1, 2, 3)]))
    assert angles[0] == pytest.approx(119.47, abs=0.01)
    far = variations(measure([Molecule(methane.numbers, np.vstack([np.zeros(3), 1.09 * bent]))]), known)["angle_w1"]
    assert far == pytest.approx(np.abs(np.floor(angles) - 109).sum() / 6)


def test_nothing_to_compare_is_no_number():
    alone = measure([Molecule(np.array([2]), np.zeros((1, 3)))])
    found = variations(alone, KNOWN)
    assert all(map(math.isnan, found.values()))
    old = replace(KNOWN, geometry=None)
    assert {k.family for k in by_kind(measure(MOLECULES), old)} == {"bonds"}
    assert Variation(found, by_kind(alone, KNOWN)).sections()[0].rows[0][1:3] == ("-", "-")


def test_the_datas_own_stand_beside():
    own = own_scores("qm9", "variation", 1000)
    assert own is not None and set(own) == set(VARIATIONS) and own_scores("my own", "variation", 10) is None
    fewer, more = own_scores("qm9", "variation", 100), own_scores("qm9", "variation", 3000)
    assert fewer is not None and more is not None and fewer["torsion_variation"] > more["torsion_variation"] > 0
    assert interpolated({100: {"a": 1.0}, 400: {"a": 2.0}}, 10**6) == {"a": 2.0}


def test_molecules_beyond_the_references_sizes_are_told_apart():
    known = load_reference("qm9")
    many = [MOLECULES[20], MOLECULES[21]]
    long = Molecule(
        np.concatenate([m.numbers for m in many]), np.concatenate([m.positions + 40 * i for i, m in enumerate(many)])
    )
    report = evaluate([*MOLECULES[:9], long, long], known)
    assert report.larger is not None
    assert (report.larger.limit, report.larger.smallest, report.larger.largest) == (29, len(long), len(long))
    assert report.larger.counts["molecules"] == 2 and report.larger.rates["valid_and_connected"].value == 0
    assert report.rates["valid_and_connected"].value == report.counts["valid_connected"] / 11
    assert evaluate(MOLECULES[:9], known).larger is None
    assert report.to_dict()["larger"]["limit"] == 29
