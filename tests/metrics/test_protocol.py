"""The two published protocols differ in what RDKit is asked, and a reference carries its own along."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coset.bonds import bond_orders, thresholds
from coset.data import StoreWriter
from coset.data.catalog import open_dataset
from coset.files import read
from coset.metrics.dataset_reference import Stored, reference_of
from coset.metrics.evaluate import evaluate
from coset.metrics.failures import failures
from coset.metrics.flags import flags
from coset.metrics.measurement import measure
from coset.metrics.novelty import smiles_hashes
from coset.metrics.protocol import PROTOCOLS, find_protocol, protocol_of
from coset.metrics.reference import load_reference, save_reference
from coset.metrics.reference_building import build_reference
from coset.molecule import DRUGS, QM9, Molecule

DATA = Path(__file__).parents[1] / "data"
NAMES = [block.split("\n")[0] for block in (DATA / "charged.sdf").read_text().split("$$$$\n") if block]
CHARGED = dict(zip(NAMES, read(DATA / "charged.sdf"), strict=True))
_ANGLE = np.arange(6) * np.pi / 3
BENZENE = Molecule(  # every bond of the ring a double one by the distance rule
    np.array([6] * 6 + [1] * 6),
    np.concatenate([np.stack([r * np.cos(_ANGLE), r * np.sin(_ANGLE), 0 * _ANGLE], 1) for r in (1.385, 2.472)]),
)


def order(first: int, second: int, angstrom: float) -> int:
    return int(bond_orders(np.array([[first, second]]), np.array([[[0, 0, 0], [angstrom, 0, 0]]]))[0, 0, 1])


def test_bonds_of_the_heavier_elements_are_those_of_the_published_table():
    assert [order(15, 8, d) for d in (1.54, 1.56, 1.72, 1.74)] == [2, 1, 1, 0]
    assert [order(15, 16, d) for d in (1.90, 1.92, 2.19, 2.21)] == [2, 1, 1, 0]
    assert [order(16, 8, d) for d in (1.30, 1.60, 1.62)] == [1, 1, 0]  # S=O stands in no table
    assert [order(16, 6, d) for d in (1.64, 1.66, 1.91, 1.93)] == [2, 1, 1, 0]
    assert order(33, 1, 1.61) == 1
    assert [order(33, 6, 1.9), order(83, 6, 2.2), order(80, 6, 2.1), order(13, 8, 1.7), order(5, 6, 1.5)] == [0] * 5
    single = np.isfinite(thresholds()[0])[np.ix_(DRUGS.numbers, DRUGS.numbers)]
    known = dict(zip(DRUGS.symbols, single.sum(1).tolist(), strict=True))
    assert known == {
        "H": 13, "B": 2, "C": 11, "N": 10, "O": 11, "F": 11, "Al": 0, "Si": 9, "P": 9, "S": 11, "Cl": 11, "As": 1,
        "Br": 10, "I": 8, "Hg": 0, "Bi": 0,
    }  # fmt: skip


def test_thio_sulfur_is_unstable_and_that_of_a_sulfone_stable():
    sums = {"thiophene": 2, "methanethiol": 2, "dimethyl sulfoxide": 3}
    for name in (*sums, "dimethyl sulfone"):
        told = [each.split(": ")[1] for each in failures(CHARGED[name], "drugs") if each.startswith("S")]
        assert told == ([f"valence {sums[name]}, expected 4"] if name in sums else []), name


def test_drugs_are_valid_with_every_bond_single_and_stable_by_real_orders():
    molecules = [BENZENE, CHARGED["nitrobenzene"], CHARGED["trimethyl phosphate"]]
    real, drugs = measure(molecules), measure(molecules, "drugs")
    assert real.stable.tolist() == drugs.stable.tolist() == [6, 7, 17]
    assert real.smiles[0] is None and drugs.smiles[0] == "[H]C1C([H])C([H])C([H])C([H])C1[H]"
    assert all(each is not None and not set("=#:") & set(each) for each in drugs.smiles)
    assert (real.bonds, real.valences) == (drugs.bonds, drugs.valences)
    assert any("RDKit" in reason for reason in failures(BENZENE))
    assert not any("RDKit" in reason for reason in failures(BENZENE, "drugs"))
    assert flags([BENZENE])[0]["valid"] is False and flags([BENZENE], "drugs")[0]["valid"] is True


def test_too_many_bonds_are_invalid_by_either_protocol():
    """Single or not, RDKit refuses a carbon with five neighbours."""
    crossed = Molecule(np.array([6, 1, 1, 1, 1, 1]), 1.05 * np.array(
        [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]]
    ))  # fmt: skip
    for name in PROTOCOLS:
        assert measure([crossed], name).smiles == (None,)


def test_the_last_class_is_counted_like_any_other():
    """Bismuth has valences 3 and 5 but no tabulated bond: the atom is there, and unstable."""
    bismuthane = Molecule(np.array([83, 1, 1, 1]), 1.78 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    found = measure([bismuthane], "drugs")
    assert found.types == {83: 1, 1: 3} and found.stable.tolist() == [0] and not found.connected[0]
    assert failures(bismuthane, "drugs")[0] == "Bi1: no bonds, expected 3 or 5"
    assert DRUGS.index([83]).tolist() == [15]


def test_protocols_by_name_and_by_elements():
    assert protocol_of(DRUGS.numbers) == "drugs" and protocol_of(QM9.numbers) == protocol_of((1, 6, 16)) == "qm9"
    assert find_protocol("drugs").highest == 1 and find_protocol("qm9").highest == 3
    with pytest.raises(ValueError, match="Unknown protocol 'edm'; choose one of qm9, drugs"):
        measure([BENZENE], "edm")


def test_the_protocol_travels_in_the_reference(tmp_path: Path):
    molecules = list(CHARGED.values())
    reference = build_reference("own", molecules[:10], molecules[10:], "drugs")
    save_reference(tmp_path / "own.npz", reference)
    loaded = load_reference(tmp_path / "own.npz")
    assert loaded.protocol == "drugs" and loaded.corrected == reference.corrected
    report = evaluate(molecules[10:], loaded)
    assert report.protocol == "drugs" and report.counts == loaded.counts
    assert report.corrected is not None and report.corrected.counts == loaded.corrected
    assert report.corrected.data is not None
    assert all(row.difference == 0 for row in report.corrected.rows() if row.data == row.data)
    assert evaluate(molecules[:10], loaded).counts["novel"] == 0
    with pytest.raises(ValueError, match="is by the protocol drugs, and qm9 was asked for"):
        evaluate(molecules, loaded, protocol="qm9")


def test_references_of_version_3_are_by_the_protocol_of_qm9(tmp_path: Path):
    path = tmp_path / "old.npz"
    molecules = read(DATA / "qm9_200.npz")[:20]
    save_reference(path, build_reference("own", molecules[:15], molecules[15:]))
    with np.load(path) as file:
        arrays = dict(file)
    header = {**json.loads(arrays["header"].tobytes()), "version": 3}
    del header["protocol"], header["corrected"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez_compressed(path, **arrays)
    for reference in (load_reference(path), load_reference("qm9")):
        assert reference.protocol == "qm9" and reference.corrected == {}
        report = evaluate(molecules, reference)
        assert report.protocol == "qm9" and report.corrected is None
    assert evaluate(molecules, None, protocol="drugs").corrected is not None


def test_the_packaged_reference_of_drugs_scores_as_the_published_data():
    """86.5 % of the atoms stable and 99.9 % of the molecules valid, of GEOM-Drugs (RADM, Table 1)."""
    reference = load_reference("drug-like")
    assert reference.protocol == "drugs"
    counts, corrected = reference.counts, reference.corrected
    assert 0.83 < counts["stable_atoms"] / counts["atoms"] < 0.88
    assert counts["valid"] > 0.998 * counts["molecules"] == 0.998 * corrected["molecules"]
    assert corrected["stable_atoms"] > 0.998 * corrected["atoms"]
    assert (Path(load_reference.__code__.co_filename).parent / "reference_drug_like.npz").stat().st_size < 400_000


@pytest.fixture
def store(tmp_path: Path):
    """Twelve conformers of four molecules, the last two of which are held out."""
    molecules = read(DATA / "qm9_200.npz")[20:24]
    with StoreWriter(tmp_path / "own", vocabulary=DRUGS.numbers) as writer:
        for group, molecule in enumerate(molecules):
            writer.append(
                np.tile(molecule.numbers, 3), np.tile(molecule.positions, (3, 1)), np.full(3, len(molecule)),
                split=2 if group > 1 else 0, group=np.full(3, group),
            )  # fmt: skip
    return open_dataset(tmp_path / "own", hold_out=0), molecules


def test_a_sample_of_a_data_set_still_knows_all_its_smiles(store):
    dataset, molecules = store
    whole, sampled = reference_of(dataset), reference_of(dataset, most=(1, 2))
    assert whole.protocol == sampled.protocol == "drugs"
    assert sum(whole.sizes.values()) == 6 and sum(sampled.sizes.values()) == 1
    assert whole.counts["molecules"] == 6 and sampled.counts["molecules"] == 2
    assert whole.hashes.tolist() == sampled.hashes.tolist() == smiles_hashes(
        each for each in measure(molecules[:2], "drugs").smiles if each
    ).tolist()  # fmt: skip
    assert reference_of(dataset, "qm9").corrected == {}


def test_stored_molecules_are_read_when_they_are_asked_for(store):
    dataset, molecules = store
    stored = Stored(dataset.store, dataset.train)
    assert len(stored) == 6 and [each.formula for each in stored] == [each.formula for each in stored[0:6]]
    assert np.allclose(stored[3].positions, molecules[1].positions, atol=1e-6)
    assert measure(stored, "drugs").smiles == measure(list(stored), "drugs").smiles
