"""What each metric must do on cases where the answer is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coset.bonds import bond_orders
from coset.files import read
from coset.metrics.connectivity import connected
from coset.metrics.distances import DISTANCES
from coset.metrics.distribution import (
    BondKind,
    bond_lengths_by_kind,
    count_bond_lengths,
    count_valences,
    total_variation,
    valences_by_element,
)
from coset.metrics.evaluate import evaluate
from coset.metrics.intervals import wilson, wilson_of_clusters
from coset.metrics.measurement import _chunks, measure
from coset.metrics.novelty import novel_count, smiles_hashes
from coset.metrics.reference import VERSION, load_reference, save_reference
from coset.metrics.reference_building import build_reference
from coset.metrics.stability import stable_atoms, stable_molecules
from coset.metrics.uniqueness import unique_smiles
from coset.metrics.validity import valid_smiles
from coset.molecule import Molecule, pad

DATA = Path(__file__).parents[1] / "data"
WATER = Molecule(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
FAR = Molecule(np.array([8, 1, 1, 9, 1]), np.concatenate([WATER.positions, [[9, 9, 9], [9, 9, 9.92]]]))
HYDROXYL = Molecule(WATER.numbers[:2], WATER.positions[:2])


def rows(*molecules: Molecule):
    numbers, positions = pad(molecules)
    return numbers, positions, bond_orders(numbers, positions)


def test_stability_and_connectivity_of_water_and_its_parts():
    numbers, _, orders = rows(WATER, FAR, HYDROXYL)
    assert stable_atoms(numbers, orders).sum(1).tolist() == [3, 5, 1]
    assert stable_molecules(numbers, orders).tolist() == [True, True, False]
    assert connected(numbers, orders).tolist() == [True, False, True]


def test_validity_keeps_the_largest_fragment_and_fills_open_valences():
    numbers, _, orders = rows(WATER, FAR, HYDROXYL)
    found = [valid_smiles(z[z > 0], o[z > 0][:, z > 0]) for z, o in zip(numbers, orders, strict=True)]
    assert found == ["[H]O[H]", "[H]O[H]", "[H]O"]
    assert valid_smiles(np.array([1, 1, 1]), np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])) is None


def test_connectivity_of_a_long_chain():
    orders = np.eye(40, k=1, dtype=np.int8)
    orders = orders + orders.T
    shorter, broken = orders.copy(), orders.copy()
    shorter[29, 30:] = shorter[30:] = 0
    broken[10, 11] = broken[11, 10] = 0
    numbers = np.full((3, 40), 6)
    numbers[1, 30:] = 0
    assert connected(numbers, np.stack([orders, shorter, broken])).tolist() == [True, True, False]


def test_unique_and_novel():
    assert unique_smiles(["C", None, "C", "O"]) == {"C", "O"}
    assert novel_count({"C", "O", "N"}, smiles_hashes(["O", "F"])) == 2
    assert smiles_hashes(["x"] * 3).tolist() == smiles_hashes(["x"]).tolist()
    assert smiles_hashes(str(i) for i in range(1000)).max() < 2**48


def test_wilson_known_values():
    low, high = wilson(8, 10)  # Newcombe 1998's kind of example, by the closed form
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0 and wilson(10, 10)[0] < 1


@given(trials=st.integers(1, 500), data=st.data())
def test_wilson_holds_its_share_and_mirrors(trials: int, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_atoms_that_fail_together_count_as_one_trial():
    # all ten atoms of a molecule share their fate: as wide as molecules alone
    fate = np.array([0] * 20 + [1] * 80)
    together = wilson_of_clusters(10 * fate, np.full(100, 10))
    assert together == pytest.approx(wilson(80, 100), abs=2e-3)
    spread = wilson_of_clusters(np.full(100, 8), np.full(100, 10))
    assert spread == pytest.approx(wilson(800, 1000))


def test_total_variation():
    assert total_variation({1: 3, 2: 1}, {1: 6, 2: 2}) == 0
    assert total_variation({1: 1}, {2: 5}) == 1
    assert total_variation({1: 1, 2: 1}, {1: 1}) == 0.5
    assert math.isnan(total_variation({}, {1: 1}))


def test_bond_lengths_tell_elements_order_and_length():
    numbers, positions, orders = rows(WATER, HYDROXYL)
    assert sum(count_bond_lengths(numbers, positions, orders).values()) == 3
    swapped = rows(Molecule(HYDROXYL.numbers[::-1], HYDROXYL.positions[::-1]))
    assert count_bond_lengths(*swapped) == count_bond_lengths(*rows(HYDROXYL))
    longer = rows(Molecule(HYDROXYL.numbers, 1.04 * HYDROXYL.positions))
    assert count_bond_lengths(*longer) != count_bond_lengths(*rows(HYDROXYL))


def test_the_training_set_is_not_novel_and_lies_at_no_distance(tmp_path: Path):
    molecules = read(DATA / "qm9_200.npz")
    reference = build_reference("own", molecules[:150], molecules[150:])
    report = evaluate(molecules[:150], reference)
    assert report.counts["novel"] == 0
    assert report.distances is not None and set(report.distances) == set(DISTANCES)
    far = {name: value for name, value in report.distances.items() if not name.startswith("rare")}
    assert far == pytest.approx(dict.fromkeys(far, 0), abs=1e-6)
    save_reference(tmp_path / "own.npz", reference)
    loaded = load_reference(tmp_path / "own.npz")
    assert loaded.hashes.tolist() == reference.hashes.tolist()
    for field in ("name", "sizes", "types", "bonds", "counts", "distances", "valences", "geometry", "own"):
        assert getattr(loaded, field) == getattr(reference, field)
    assert set(reference.own) == {50} and set(build_reference("own", molecules[:20], molecules[20:]).own) == {100, 180}
    own = evaluate(molecules[150:], loaded)
    assert own.counts == reference.counts
    assert own.distances == pytest.approx(reference.distances) and own.data_distances == own.distances


def test_the_datas_own_distances_are_those_of_as_many_molecules():
    reference = replace(
        load_reference("qm9"),
        distances={"sizes": 0.1},
        own={100: {"sizes": 0.5}, 400: {"sizes": 0.3}, 900: {"sizes": 0.1}},
    )
    for molecules, expected in ((1, 0.5), (100, 0.5), (225, 0.3 + 0.2 / 3), (400, 0.3), (900, 0.1), (5000, 0.1)):
        assert reference.own_distances(molecules) == pytest.approx({"sizes": expected})
    measured = load_reference("qm9").own
    assert set(measured) == {100, 300, 1000, 3000, 13083}
    for name in ("bond_length_pm", "bond_angle_degrees", "torsion_degrees", "frechet", "sizes"):
        found = [measured[molecules][name] for molecules in sorted(measured)]
        assert found == sorted(found, reverse=True), name


@pytest.mark.parametrize(("name", "train", "test"), [("qm9", 98600, 13083), ("qm9-small", 10389, 1531)])
def test_packaged_references(name: str, train: int, test: int):
    reference = load_reference(name)
    assert sum(reference.sizes.values()) == train
    assert reference.counts["molecules"] == test
    assert (np.diff(reference.hashes.astype(np.int64)) > 0).all()
    assert sum(reference.types.values()) == sum(size * count for size, count in reference.sizes.items())
    assert sum(reference.valences.values()) == sum(reference.types.values())
    assert set(reference.distances) == set(DISTANCES)
    assert all(set(found) == set(DISTANCES) for found in reference.own.values())
    assert reference.own[test] == reference.distances


# What files of each version lack.
LATER = {2: ["lengths", "angles", "torsions", "mean", "covariance"], VERSION: [], 99: []}
LATER[1] = ["valences", *LATER[2]]


def stored(path: Path, **changes) -> Path:
    """A reference file whose header has been changed; None takes a key away."""
    molecules = read(DATA / "qm9_200.npz")[:20]
    save_reference(path, build_reference("own", molecules[:15], molecules[15:]))
    with np.load(path) as file:
        arrays = dict(file)
    header = {**json.loads(arrays["header"].tobytes()), **changes}
    kept = {key: value for key, value in header.items() if value is not None}
    arrays["header"] = np.frombuffer(json.dumps(kept).encode(), dtype=np.uint8)
    for name in LATER[kept.get("version", 1)]:
        del arrays[name]
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("version", [None, 2])
def test_a_reference_of_an_earlier_version_still_works(tmp_path: Path, version: int | None):
    known = {"sizes", "atom_types", "bond_lengths", *(["valences"] if version else [])}
    distances = dict.fromkeys(known, 0.1)
    path = stored(tmp_path / "old.npz", version=version, distances=distances, own=None, descriptors=None)
    reference = load_reference(path)
    assert (reference.geometry, reference.descriptors) == (None, None) and bool(reference.valences) == bool(version)
    report = evaluate(read(DATA / "qm9_200.npz")[:5], reference)
    assert report.distances is not None and set(report.distances) == known
    assert report.data_distances == distances


def test_descriptors_of_another_list_are_left_out(tmp_path: Path):
    reference = load_reference(stored(tmp_path / "other.npz", descriptors=["heavy atoms"]))
    report = evaluate(read(DATA / "qm9_200.npz")[:5], reference)
    assert report.distances is not None and set(DISTANCES) - set(report.distances) == {"frechet"}


def test_a_later_or_broken_reference_is_refused(tmp_path: Path):
    path = stored(tmp_path / "new.npz", version=99)
    with pytest.raises(ValueError, match="version 99; this coset reads up to"):
        load_reference(path)
    whole = stored(tmp_path / "own.npz").read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="not a whole reference file"):
            load_reference(path)
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(ValueError, match="not a whole reference file"):
        load_reference(tmp_path / "array.npy")


def test_the_packaged_valences_are_those_of_the_data():
    """Nearly all of QM9's atoms have the valence that their element is known for."""
    found = valences_by_element(load_reference("qm9").valences)
    assert {number: counts.most_common(1)[0][0] for number, counts in found.items()} == {1: 1, 6: 4, 7: 3, 8: 2, 9: 1}


def test_histograms_come_apart_into_what_was_counted():
    numbers, positions, orders = rows(WATER, FAR, HYDROXYL)
    lengths = bond_lengths_by_kind(count_bond_lengths(numbers, positions, orders))
    assert {kind: sum(bins.values()) for kind, bins in lengths.items()} == {BondKind(1, 8, 1): 5, BondKind(1, 9, 1): 1}
    assert set(lengths[BondKind(1, 9, 1)]) == {46}  # 0.92 Angstrom in bins of 2 pm
    assert valences_by_element(count_valences(numbers, orders)) == {8: {2: 2, 1: 1}, 1: {1: 6}, 9: {1: 1}}


def test_company_changes_no_measurement():
    """Chunks hold few pairs of atoms: every molecule once, alone as among others, large ones in small chunks."""
    chain = np.zeros((400, 3))
    chain[:, 0] = 1.5 * np.arange(400)
    crowd = [WATER, Molecule(np.full(400, 6), chain), HYDROXYL, *[WATER] * 700, FAR]
    sizes = np.array([len(molecule) for molecule in crowd])
    chunks = list(_chunks(sizes))
    assert np.array_equal(np.concatenate([sizes[chunk] for chunk in chunks]), sizes)
    assert all(len(sizes[c]) == 1 or len(sizes[c]) * sizes[c].max() ** 2 <= 100_000 for c in chunks)
    together = measure(crowd)
    for place in (0, 1, 2, 5, len(crowd) - 1):
        alone = measure(crowd[place : place + 1])
        assert alone.stable[0] == together.stable[place] and alone.smiles[0] == together.smiles[place]
        assert alone.connected[0] == together.connected[place]


def test_rates_are_shares_of_the_counts():
    report = evaluate([WATER, WATER, FAR, HYDROXYL])
    counts = dict(report.counts)
    novel = counts.pop("novel")
    assert counts == {
        "molecules": 4,
        "atoms": 13,
        "stable_atoms": 12,
        "stable_molecules": 3,
        "valid": 4,
        "unique": 2,
        "connected": 3,
        "valid_connected": 3,
    }
    assert report.rates["uniqueness"].value == report.rates["valid_and_unique"].value == 0.5
    assert report.rates["novelty"].value == novel / 2
    assert report.rates["connectivity"].value == 0.75
    assert json.loads(report.to_json())["rates"]["validity"]["value"] == 1
    for row in report.rows():
        assert row.low <= row.value <= row.high
        assert row.data is not None and row.difference == row.value - row.data


def test_without_reference_or_molecules():
    alone = Molecule(np.array([1, 1, 1]), np.array([[0, 0, 0], [0.7, 0, 0], [-0.7, 0, 0]]))
    report = evaluate([alone], reference=None)
    assert "novel" not in report.counts and report.data is None
    assert math.isnan(report.rates["uniqueness"].value)  # nothing is valid
    assert json.loads(report.to_json())["rates"]["uniqueness"]["value"] is None
    with pytest.raises(ValueError, match="no molecule"):
        evaluate([])
    with pytest.raises(FileNotFoundError, match="qm9, qm9-small"):
        load_reference("qm10")
