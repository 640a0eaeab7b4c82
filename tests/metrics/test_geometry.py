"""Bond lengths, angles and torsions: counted right, and their distances from the data grow with what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rdkit.Chem import rdMolTransforms
from scipy.stats import wasserstein_distance

from coset.bonds import bond_orders, to_rdkit
from coset.files import read
from coset.metrics.distances import geometry_distances
from coset.metrics.geometry import ANGLES, LENGTHS, SCALES, TORSIONS, Geometry, Scale, count_geometry
from coset.metrics.measurement import measure
from coset.metrics.wasserstein import common_kinds, compare_kinds
from coset.molecule import Molecule, pad

MOLECULES = read(Path(__file__).parents[1] / "data" / "qm9_200.npz")
SHAPES = "bond_length_pm", "bond_angle_degrees", "torsion_degrees"


def counted(*molecules: Molecule) -> Geometry:
    numbers, positions = pad(molecules)
    return count_geometry(numbers, positions, bond_orders(numbers, positions))


def values(counts: Counter[int], scale: Scale) -> list[float]:
    """The lower ends of the bins, sorted, as often as they were counted."""
    return sorted(scale.width * (key % scale.bins) for key in counts.elements())


def peroxide(dihedral: float) -> Molecule:
    """H-O-O-H with bonds of 97.05 and 145.05 pm, angles of 100.5 degrees and a dihedral angle."""
    bend, turn = np.radians([100.5, dihedral])
    out = 0.9705 * np.array([-np.cos(bend), np.sin(bend)])
    turned = out[1] * np.array([np.cos(turn), np.sin(turn)])
    far = [1.4505 + out[0], *turned]
    return Molecule(np.array([8, 8, 1, 1]), np.array([[0, 0, 0], [1.4505, 0, 0], [-out[0], out[1], 0], far]))


def moved(noise: float, scale: float = 1.0) -> list[Molecule]:
    rng = np.random.default_rng(0)
    return [Molecule(m.numbers, scale * m.positions + noise * rng.normal(size=(len(m), 3))) for m in MOLECULES]


def test_a_molecule_counted_by_hand():
    for dihedral in (0.5, 60.5, -60.5, 111.5, 179.5, 180.5):
        found = counted(peroxide(dihedral))
        assert values(found.lengths, LENGTHS) == pytest.approx([97.0, 97.0, 145.0])
        assert values(found.angles, ANGLES) == [100, 100]
        assert values(found.torsions, TORSIONS) == [int(min(abs(dihedral), 360 - dihedral))]
    assert len(found.lengths) == 2 and len(found.angles) == 1  # O-H and O-O; both angles are H-O-O


def test_torsions_and_angles_are_those_of_rdkit():
    """Every path of three and four bonded atoms, but for torsions beside straight angles."""
    for molecule in MOLECULES[5:60:5]:
        graph, found = to_rdkit(molecule), counted(molecule)
        shape, angles, torsions = graph.GetConformer(), [], []
        around = [[neighbour.GetIdx() for neighbour in atom.GetNeighbors()] for atom in graph.GetAtoms()]
        for b, near in enumerate(around):
            bends = {(a, c): rdMolTransforms.GetAngleDeg(shape, a, b, c) for a in near for c in near if a != c}
            angles += [bends[a, c] for a, c in bends if a < c]
            for c in near:
                for a, d in [(a, d) for a in near for d in around[c] if b < c and len({a, b, c, d}) == 4]:
                    if max(bends[a, c], rdMolTransforms.GetAngleDeg(shape, b, c, d)) < 165:
                        torsions.append(abs(rdMolTransforms.GetDihedralDeg(shape, a, b, c, d)))
        for listed, counts in ((angles, found.angles), (torsions, found.torsions)):
            ours = values(counts, Scale(180, 1.0))
            assert len(ours) == len(listed)
            assert np.allclose(np.sort(listed), np.array(ours) + 0.5, atol=0.5 + 1e-3)


def test_kinds_tell_neighbours_apart_and_not_orders():
    """C-C of ethane and of ethylene are two kinds; a C-C of ethane so short that the rule calls it double is not."""
    carbons = np.array([6, 6])

    def kinds(length: float, hydrogens: int) -> set[int]:
        turn = 2 * np.pi / hydrogens * np.arange(hydrogens)
        around = np.stack([0 * turn - 0.4, np.cos(turn), np.sin(turn)], 1)
        ends = [[0, 0, 0], [length, 0, 0], *around, *(around * [-1, 1, 1] + [length, 0, 0])]
        molecule = Molecule(np.append(carbons, np.ones(2 * hydrogens, dtype=int)), np.array(ends))
        return {key // LENGTHS.bins for key in counted(molecule).lengths}

    assert len(kinds(1.5, 3) | kinds(1.5, 2)) == 4 and kinds(1.5, 3) == kinds(1.34, 3)


def test_a_ring_of_three_has_no_torsion_and_a_straight_chain_neither():
    corner = 0.75 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
    ring, line = Molecule(np.full(3, 6), corner), np.arange(4)[:, None] * [1.2, 0, 0]
    assert [part.total() for part in counted(ring)] == [3, 3, 0]
    assert [part.total() for part in counted(Molecule(np.full(4, 6), line))] == [3, 2, 0]


def test_pose_order_company_and_mirror_image_change_nothing():
    rng = np.random.default_rng(1)
    turned = []
    for molecule in MOLECULES[:80]:
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # half of them mirror it
        order = rng.permutation(len(molecule))
        turned.append(Molecule(molecule.numbers[order], (molecule.positions @ rotation.T + 3.0)[order]))
    before, after = measure(MOLECULES[:80]).geometry, measure(turned[::-1]).geometry
    alone = Geometry(Counter(), Counter(), Counter())
    for molecule in MOLECULES[:80]:  # without padding
        for total, part in zip(alone, counted(molecule), strict=True):
            total.update(part)
    for first, second, third, scale in zip(before, after, alone, SCALES, strict=True):
        assert first == third
        apart = compare_kinds(first, second, scale)
        # values at the border of two bins may fall to either side
        assert apart.mean_distance() < 0.01 * scale.width + 0.02 and apart.missing() == 0


def test_the_data_lie_at_no_distance_from_themselves():
    known = measure(MOLECULES).geometry
    found = geometry_distances(known, known)
    assert all(found[name] == 0 for name in (*SHAPES, "bond_shift_pm", "missing_bonds", "missing_torsions"))
    common = [sum(common_kinds(part, scale).values()) for part, scale in zip(known, SCALES, strict=True)]
    rare = [1 - kept / part.total() for kept, part in zip(common, known, strict=True)]
    assert [found[f"rare_{name}"] for name in ("bonds", "angles", "torsions")] == pytest.approx(rare)


def test_the_distance_of_a_kind_is_that_of_scipy():
    rng = np.random.default_rng(0)
    scale = Scale(50, 0.5)
    data, sample = (Counter(rng.integers(0, 50, 300).tolist()) for _ in range(2))
    known, drawn = (sorted(scale.width * key for key in part.elements()) for part in (data, sample))
    found = compare_kinds(sample, data, scale)
    assert found.weight.tolist() == [1]
    assert found.distance[0] == pytest.approx(wasserstein_distance(drawn, known))
    assert found.shift[0] == pytest.approx(np.mean(drawn) - np.mean(known))


def test_kinds_are_weighed_by_the_data_and_rare_or_absent_ones_are_told():
    scale = Scale(10, 1.0)
    data = {3: 3000, 12: 1000, 25: 3}  # three kinds: 75 %, 25 %, and one below 0.1 %, too rare
    one = compare_kinds({5: 7, 12: 2, 25: 1}, data, scale)
    assert one.distance.tolist() == [2, 0] and one.mean_distance() == pytest.approx(1.5)
    assert one.mean_shift() == pytest.approx(1.5) and one.missing() == 0 and one.other == pytest.approx(0.1)
    two = compare_kinds({5: 7}, data, scale)
    assert two.mean_distance() == 2 and two.missing() == pytest.approx(0.25)
    none = compare_kinds({}, data, scale)
    assert np.isnan(none.mean_distance()) and np.isnan(none.other) and none.missing() == pytest.approx(1)
    empty = compare_kinds({5: 7}, {}, scale)
    assert np.isnan(empty.mean_shift()) and empty.other == 1 and empty.missing() == 0


def test_scaled_molecules_have_shifted_bonds_and_the_same_angles():
    """The whole shift is seen, since kinds do not depend on the order that the rule reads off the length."""
    known = measure(MOLECULES).geometry
    mean = np.average(values(common_kinds(known.lengths, LENGTHS), LENGTHS))
    for scale in (0.99, 0.9975, 1.005):
        found = geometry_distances(measure(moved(0.0, scale)).geometry, known)
        assert found["bond_shift_pm"] == pytest.approx((scale - 1) * mean, rel=0.02)
        assert found["bond_length_pm"] == pytest.approx(abs(scale - 1) * mean, rel=0.05)
        assert found["bond_angle_degrees"] < 0.05 and found["torsion_degrees"] < 0.5


def test_noise_raises_all_of_them():
    known = measure(MOLECULES).geometry
    rows = [geometry_distances(measure(moved(noise)).geometry, known) for noise in (0, 0.005, 0.01, 0.02, 0.04)]
    for name in SHAPES:
        found = [row[name] for row in rows]
        assert found == sorted(found) and found[0] == 0 and found[1] > 0.05


def test_a_heap_of_atoms_is_counted_at_once():
    """Its pairs are bonds; it has no angle or torsion, whose number would grow as the third and fourth power."""
    heap = Molecule(np.full(300, 6), np.random.default_rng(0).normal(scale=0.1, size=(300, 3)))
    found = counted(heap)
    assert found.lengths.total() == 300 * 299 // 2 and not found.angles and not found.torsions
    assert [part.total() for part in counted(Molecule(np.full(2, 6), np.zeros((2, 3))))] == [0, 0, 0]
