"""GEOM-Drugs to a store: the lowest conformers, both splits, and every fault of a file counted or refused."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coset.data import drugs, open_dataset
from coset.data.drugs_archive import build, failures_file
from coset.data.ensembles import parts
from coset.molecule import DRUGS
from ensemble_files import conformer, crude, embedded, entry, numbers_of, whole_entry, write_folder, write_msgpack

pytest.importorskip("msgpack")
SMILES = ("CCO", "C/C=C/CO", "C[C@H](O)CN", "CC(=O)[O-]", "OC1CCCC1")
LOWEST = [2, 3, 0, 1]  # of `whole_entry`'s conformers


def stream(folder: Path, entries: dict) -> Path:
    return write_msgpack(folder / "drugs_crude.msgpack", entries)


def whole(smiles: str, charge: int = 0) -> dict[str, Any]:
    """An entry of the stream whose conformers are not sorted by energy."""
    return crude(whole_entry(smiles)) | {"charge": charge}


def failures(store: Path) -> dict[str, str]:
    with failures_file(store).open(newline="") as file:
        return {row["smiles"]: row["reason"] for row in csv.DictReader(file)}


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions, axis=-1)


def published_parts(order: np.ndarray) -> np.ndarray:
    """The public code's split, as it writes it: a shuffled table is cut twice."""
    shuffled = np.arange(len(order))[order]
    first = int(len(order) * 0.1)
    valid, test, train = np.split(shuffled, [first, first + int(len(order) * 0.1)])
    part = np.full(len(order), 9)
    part[train], part[valid], part[test] = 0, 1, 2
    return part


@pytest.mark.parametrize("most", [30, 4, 3, 1])
def test_the_lowest_conformers_of_each_molecule_come_lowest_first(tmp_path, most):
    store, made = build(stream(tmp_path, {each: whole(each) for each in SMILES}), tmp_path / "store", most=most)
    store.verify()
    kept = min(most, 4)
    assert len(store) == kept * len(SMILES) == made.conformers and made.molecules == len(SMILES)
    for row in range(len(store)):
        mol = embedded(SMILES[row // kept])
        numbers, positions = store[row]
        assert sorted(numbers.tolist()) == sorted(numbers_of(mol).tolist())  # hydrogens, too
        assert np.abs(positions.mean(0)).max() < 1e-5
        there = mol.GetConformer(LOWEST[row % kept]).GetPositions()
        assert np.sort(distances(positions), None) == pytest.approx(np.sort(distances(there), None), abs=1e-4)
    energies = np.tile([0.0, 0.4, 1.1, 3.0][:kept], len(SMILES))
    assert store.extra["relative_energy"] == pytest.approx(energies, abs=1e-4)
    assert store.units == {"relative_energy": "kcal/mol"} and store.ids.tolist() == list(range(len(store)))
    assert not failures_file(tmp_path / "store").exists()


def test_both_files_of_geom_give_the_same_store(tmp_path):
    entries = {each: whole_entry(each) for each in SMILES}
    folder = write_folder(tmp_path / "rdkit_folder", entries)
    write_folder(tmp_path / "rdkit_folder", {"CCCC": whole_entry("CCCC")}, subset="qm9")  # which is passed over
    first, _ = build(stream(tmp_path, {key: crude(each) for key, each in entries.items()}), tmp_path / "a")
    told: list[float] = []
    second, _ = build(folder, tmp_path / "b", progress=lambda share, note: told.append(share))
    rows = np.arange(len(first))
    for one, other in zip(first.collate(rows), second.collate(rows), strict=True):
        assert np.abs(one - other).max() < 1e-5
    assert (first.split == second.split).all() and told == pytest.approx(np.arange(1, 6) / 5)


def test_what_is_lowest_is_said_by_total_energies_else_by_relative_ones(tmp_path):
    relative, neither, some = (whole(each) for each in SMILES[:3])
    for each in (*relative["conformers"], *neither["conformers"]):
        del each["totalenergy"]
    for each in neither["conformers"]:
        each["relativeenergy"] = None
    for each in some["conformers"]:
        del each["relativeenergy"]
    some["conformers"][2]["totalenergy"] = float("nan")  # the lowest; unknown ones come last
    entries = {"CCO": relative, "C/C=C/CO": neither, "C[C@H](O)CN": some}
    store, _ = build(stream(tmp_path, entries), tmp_path / "store")
    assert "relative_energy" not in store.extra  # since not every conformer has one
    for molecule, order in enumerate([LOWEST, [0, 1, 2, 3], [3, 0, 1, 2]]):
        mol = embedded(SMILES[molecule])
        for place, row in enumerate(order):
            own, there = store[4 * molecule + place][1], mol.GetConformer(row).GetPositions()
            assert np.sort(distances(own), None) == pytest.approx(np.sort(distances(there), None), abs=1e-4)


def test_stereoisomers_share_a_group_and_a_part(tmp_path):
    isomers = ("C[C@H](O)CN", "C[C@@H](O)CN", "CC(O)CN")
    store, _ = build(stream(tmp_path, {each: whole(each) for each in (*isomers, "CCO", "CCCC")}), tmp_path / "store")
    group, split = store.extra["group"], np.array(store.split)
    assert len(set(group[:12].tolist())) == 1 and len(set(group.tolist())) == 3
    assert (split[::4] == parts([*isomers, "CCO", "CCCC"])).all()
    assert len(set(zip(group.tolist(), split.tolist(), strict=True))) == 3


def test_the_published_split_cuts_a_shuffled_table_of_conformers(tmp_path):
    faulty = whole("CCN", 1)
    faulty["conformers"][3]["xyz"] = "nonsense"
    entries = {
        "CCO": whole("CCO"),
        "CCN": faulty,
        "CC(=O)[O-]": whole("CC(=O)[O-]", -1),
        "CCF": {},
        "CCCC": whole("CCCC"),
    }
    source = stream(tmp_path, entries)
    order = np.random.default_rng(0).permutation(16).astype(np.int32)  # CCF has no conformers to count
    np.save(tmp_path / "geom_permutation.npy", order)
    for neutral, left in ((False, [*range(5), *range(6, 16)]), (True, [*range(4), *range(12, 16)])):
        store, made = build(
            source, tmp_path / f"{neutral}", neutral=neutral, permutation=tmp_path / "geom_permutation.npy"
        )
        assert store.ids.tolist() == left and made.listed == 16  # what is left out leaves the others where they were
        assert (store.split == published_parts(order)[left]).all()
    assert "leaks molecules from train" in store.meta["source"]
    assert "some in several parts" in open_dataset(tmp_path / "False").describe()


@pytest.mark.parametrize("count", [1, 9, 10, 29, 12_345])
def test_shares_of_the_published_split_are_the_public_codes(tmp_path, count):
    order = np.random.default_rng(count).permutation(count)
    np.save(tmp_path / "p.npy", order)
    assert (drugs.ConformerSplit.read(tmp_path / "p.npy").part == published_parts(order)).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.arange(19), "is a permutation of 19 conformers, and there are at least 20"),
        (np.arange(21), "is a permutation of 21 conformers, and there are 20"),
        (np.arange(20) // 2, "no permutation"),
        (np.arange(1, 21), "no permutation"),
        (np.arange(20) - 1, "no permutation"),
        (np.arange(20.0), "holds float64"),
        (np.arange(20).reshape(4, 5), "no permutation"),
        (np.arange(0), "no permutation"),
        (np.array([len] * 20, dtype=object), "no whole .npy file of plain numbers"),
        (b"\x93NUMPY\x01\x00nonsense", "no whole .npy file"),
        (None, "no file"),
    ],
)  # fmt: skip
def test_a_permutation_that_does_not_fit_is_one_sentence_and_leaves_nothing(tmp_path, values, words):
    source, path = stream(tmp_path, {each: whole(each) for each in SMILES}), tmp_path / "p.npy"
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif values is not None:
        np.save(path, values, allow_pickle=True)
    there = sorted(each.name for each in tmp_path.iterdir())
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        build(source, tmp_path / "store", permutation=path)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == there
    with pytest.raises(ValueError, match="is a folder"):
        build(write_folder(tmp_path / "geom", {}), tmp_path / "store", permutation=path)


def test_every_fault_of_a_molecule_is_a_row_and_the_others_are_unharmed(tmp_path):
    metal, far, empty = (whole("CCO") for _ in range(3))
    for each in metal["conformers"]:
        each["xyz"][0][0] = 30.0
    for each in far["conformers"]:
        each["xyz"][0][1] = 1e300
    empty["conformers"] = []
    entries = {
        "CCO": whole("CCO"), "[Zn]CCO": metal, "CCO.Cl": whole("CCO"), "CCS": far, "CCC": empty, "CCF": [1],
        "CCCl": {"conformers": {"0": 1}}, "CCCC": whole("CCCC"), "not a SMILES": whole("CCN"),
    }  # fmt: skip
    store, made = build(stream(tmp_path, entries), tmp_path / "store")
    assert len(store) == 12 and made.molecules == 3  # what a SMILES that cannot be read stands for is kept
    assert failures(tmp_path / "store") == {
        "[Zn]CCO": "elements outside the 16",
        "CCO.Cl": "several fragments",
        "CCS": "no conformers",
        "CCC": "no conformers",
        "CCF": "no conformers",
        "CCCl": "no conformers",
    }
    assert made.left_out == {"no conformers": 4, "elements outside the 16": 1, "several fragments": 1}
    assert "molecules left out: 4 (no conformers)" in made.lines()


def test_every_fault_of_a_conformer_is_counted(tmp_path):
    entries = {f"{smiles}": whole(smiles) for smiles in SMILES}
    first, second, third, _, last = (each["conformers"] for each in entries.values())
    first[0]["xyz"] = "nonsense"
    first[1] = None
    first[2]["xyz"][0][1] = float("nan")
    second[0]["xyz"][1][1:] = second[0]["xyz"][0][1:]
    second[1]["xyz"] = []
    second[2]["xyz"][0][3] = 5000.0
    third[2]["xyz"].pop()  # the lowest, and one against three
    third[0]["xyz"][0][0] = 6.5
    last[3]["xyz"] = last[3]["xyz"] * 70
    store, made = build(stream(tmp_path, entries), tmp_path / "store")
    assert made.conformers_left_out == {
        "no structure": 2,
        "positions that are not finite": 1,
        "two atoms at one place": 1,
        "no atoms": 1,
        "atoms farther than 1,000 Angstrom from the centre": 1,
        "other atoms than most of its conformers": 1,
        "no atomic numbers": 1,
        "more than 1,000 atoms": 1,
    }
    assert store.ids.tolist() == [1, 5, 9, 11, 12, 13, 14, 15, 16, 18, 19]
    assert len(set(store.sizes[2:4].tolist())) == 1


def test_charged_molecules_are_kept_and_counted_or_left_out(tmp_path):
    unsaid = whole("CC(=O)[O-]")
    del unsaid["charge"]  # its SMILES says it
    source = stream(tmp_path, {"CCO": whole("CCO"), "CC(=O)[O-]": unsaid, "CCN": whole("CCN", 1)})
    _, made = build(source, tmp_path / "all")
    assert (
        made.molecules == 3 and made.charged == 2 and any("charged: 2 molecules (kept" in each for each in made.lines())
    )
    store, made = build(source, tmp_path / "neutral", neutral=True)
    assert len(store) == 4 and made.left_out == {"charged": 2} and "neutral molecules alone" in store.meta["source"]


def test_a_packed_store_leaves_out_what_it_cannot_hold(tmp_path):
    wide = {
        "conformers": [
            {"xyz": [[1.0, 0.0, 0.0, 0.0], [1.0, reach, 0.0, 0.0]], "totalenergy": reach} for reach in (60, 70)
        ]
    }
    source = stream(tmp_path, {"CCO": whole("CCO"), "[H][H]": wide})
    assert len(build(source, tmp_path / "plain")[0]) == 6
    store, made = build(source, tmp_path / "packed", packed=True)
    assert len(store) == 5 and sum(made.conformers_left_out.values()) == 1
    assert store[4][1][:, 0].tolist() == [-30.0, 30.0]


def test_a_stream_cut_anywhere_or_stopped_leaves_nothing(tmp_path):
    source = stream(tmp_path, {each: whole(each) for each in SMILES})
    data, cut = source.read_bytes(), tmp_path / "cut.msgpack"
    for keep in (*np.linspace(1, len(data) - 1, 5).astype(int).tolist(), len(data) - 1):
        cut.write_bytes(data[:keep])
        with pytest.raises(ValueError, match=r"cut\.msgpack ends in the middle of a molecule") as caught:
            build(cut, tmp_path / "store")
        assert len(str(caught.value).splitlines()) == 1
    cut.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no molecule of .*cut\.msgpack is left for a store \(it holds none\)"):
        build(cut, tmp_path / "store")

    def stop(share: float, note: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path / "store", progress=stop)
    with pytest.raises(FileNotFoundError, match="give GEOM's drugs_crude"):
        build(tmp_path / "none", tmp_path / "store")
    with pytest.raises(ValueError, match="at least 1 conformer"):
        build(source, tmp_path / "store", most=0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cut.msgpack", "drugs_crude.msgpack"]


class Malicious:
    """Its pickle makes a folder when it is loaded by the ordinary way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"mkdir {self.folder}",)


def test_faults_of_a_folder_are_rows_and_no_pickle_runs_anything(tmp_path):
    several = entry("CCN", [conformer(embedded("CCN"), 1.0, 0.0)])  # four structures in one
    large = whole_entry("CCBr")
    large["conformers"][1]["totalenergy"] = 10**400
    bad = whole_entry("CCS") | {"datasets": [Malicious(tmp_path / "made")]}
    entries = {
        "CCO": whole_entry("CCO"),
        "CCN": several,
        "CCS": pickle.dumps(bad),
        "CCC": None,
        "CCF": b"broken",
        "CCBr": large,
        "\ud800": None,
    }
    entries["CCCl"] = pickle.dumps(whole_entry("CCCl"))[:-100]
    store, _ = build(write_folder(tmp_path / "geom", entries), tmp_path / "store")
    assert len(store) == 4 and not (tmp_path / "made").exists()
    assert failures(tmp_path / "store") == {
        "CCN": "no conformers",
        "CCS": "pickle of a class that is not allowed",
        "CCC": "no file",
        "CCF": "damaged pickle",
        "CCBr": "cannot be read",
        "?": "no file",
        "CCCl": "damaged pickle",
    }


def test_a_model_of_it_knows_the_sixteen_whatever_occurs(tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="run `coset data build geom-drugs --from PATH`"):
        open_dataset("geom-drugs")
    source = stream(tmp_path, {each: whole(each) for each in SMILES})
    build(source, tmp_path / "cache" / "geom-drugs")
    found = open_dataset("geom-drugs")
    assert found.name == "geom-drugs" and found.vocabulary == found.store.vocabulary == DRUGS.numbers == drugs.ELEMENTS
    assert len(found.train) + len(found.valid) + len(found.test) == 20
    build(source, tmp_path / "store")
    assert open_dataset(tmp_path / "store").vocabulary == DRUGS.numbers


def test_published_counts_agree_with_each_other():
    assert tuple(drugs.ATOMS) == DRUGS.numbers
    assert f"{sum(drugs.ATOMS.values()) / drugs.CONFORMERS:.2f} on average" in drugs.SIZES
