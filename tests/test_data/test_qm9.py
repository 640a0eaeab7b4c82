"""The standard QM9 split to the letter, and stores of QM9 tables."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from coset.data import Store, qm9

FIXTURE = Path(__file__).parents[1] / "data" / "qm9_200.npz"


@pytest.fixture
def table() -> dict[str, np.ndarray]:
    with np.load(FIXTURE, allow_pickle=False) as archive:
        return dict(archive)


def digest(ids: np.ndarray) -> str:
    return hashlib.sha256(",".join(map(str, np.sort(ids))).encode()).hexdigest()[:16]


def test_the_split_is_the_published_one():
    train, valid, test = qm9.split()
    assert (len(train), len(valid), len(test)) == (100_000, 17_748, 13_083)
    assert train[:5].tolist() == [133160, 70466, 8225, 26623, 20503]
    assert valid[:3].tolist() == [70433, 125891, 29476] and test[:3].tolist() == [117979, 92050, 68085]
    parts = (train, valid, test, qm9.excluded_ids())
    assert [digest(part) for part in parts] == [
        "39dc08ba953fd5fc",
        "4601b51056961e52",
        "889f35a66f0b22ac",
        "30aa30ee33b641b2",
    ]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(qm9.TOTAL))


def test_other_numbers_split_alike():
    train, valid, test = qm9.split(total=120, excluded=[3, 7], train=90)
    assert (len(train), len(valid), len(test)) == (90, 17, 11)
    assert sorted(np.concatenate([train, valid, test])) == sorted(set(range(120)) - {3, 7})
    with pytest.raises(ValueError, match="too few"):
        qm9.split(total=120, excluded=[], train=110)


@pytest.mark.parametrize("packed", [False, True])
def test_a_store_holds_the_table(tmp_path, table, packed):
    store = qm9.build(FIXTURE, tmp_path / "store", packed=packed, standard=True)
    store.verify()
    assert (store.ids == table["gdb_id"]).all() and (store.split == table["split"]).all()
    start = 0
    for row, size in enumerate(table["n_atoms"].astype(int)):
        numbers, positions = store[row]
        assert (numbers == table["atomic_numbers"][start : start + size]).all()
        assert np.abs(positions - table["positions"][start : start + size]).max() <= (0.00051 if packed else 0)
        start += size
    assert store.meta["licence"] == "CC0-1.0"


def test_only_the_parts_asked_for_are_kept(tmp_path, table):
    whole = qm9.build(FIXTURE, tmp_path / "whole")
    part = qm9.build(FIXTURE, tmp_path / "part", splits=["train", "test"], packed=True)
    rows = whole.select(whole.split != 1)
    assert (part.ids == whole.ids[rows]).all() and set(part.split) == {0, 2}
    assert np.abs(part.collate(np.arange(len(part)))[1] - whole.collate(rows)[1]).max() < 0.00051
    payload, every = 7 * table["n_atoms"][table["split"] != 1].sum(), part.path.iterdir()
    assert payload < sum(file.stat().st_size for file in every) < payload + 2500
    with pytest.raises(ValueError, match="choose among"):
        qm9.build(FIXTURE, tmp_path / "none", splits=["dev"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"split": None, "n_atoms": None}, "lacks n_atoms, split"),
        ({"gdb_id": np.arange(3)}, "different lengths: gdb_id 3, n_atoms 200"),
        ({"positions": np.zeros((5, 3))}, "shapes"),
        ({"atomic_numbers": np.zeros(1)}, "shapes"),
        ({"n_atoms": np.full(200, 3)}, "add up to 600 atoms"),
        ({"split": np.array([{}] * 200)}, "plain arrays"),
    ],
)
def test_a_bad_table_is_told(tmp_path, table, change, sentence):
    changed = {name: values for name, values in (table | change).items() if values is not None}
    np.savez(tmp_path / "bad.npz", **changed)
    with pytest.raises(ValueError, match=sentence):
        qm9.build(tmp_path / "bad.npz", tmp_path / "store")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.npz"]


def test_a_missing_or_foreign_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no molecule table"):
        qm9.build(tmp_path / "none.npz", tmp_path / "store")
    for content in (b"not a zip", b""):
        (tmp_path / "text.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            qm9.read(tmp_path / "text.npz")


def test_another_split_is_told(table):
    with pytest.raises(ValueError, match=r"1 molecules are not where .* is (train|valid|test) there"):
        qm9.check_split(table["gdb_id"], np.where(np.arange(200) == 5, 2 - table["split"][5] // 2, table["split"]))
    excluded = qm9.excluded_ids()[:1] + 1
    with pytest.raises(ValueError, match="is excluded there"):
        qm9.check_split(excluded, [0])
    with pytest.raises(ValueError, match="gdb_id"):
        qm9.check_split([0], [0])


def test_the_whole_table_follows_the_recipe(tmp_path):
    if "COSET_DATA" not in os.environ:
        pytest.skip("COSET_DATA is unset, and this checks the full qm9.npz there.")
    source = Path(os.environ["COSET_DATA"]) / "qm9.npz"
    table = qm9.read(source)
    absent = qm9.check_split(table.gdb_id, table.split)
    assert sum(absent.values()) == 1638 and absent["test"] == 0
    packed = qm9.build(source, tmp_path / "packed", splits=["train"], packed=True, standard=True)
    total = sum(file.stat().st_size for file in packed.path.iterdir())
    assert abs(total - 12.6e6) < 0.05e6
    assert len(packed) == 98_600 and (packed.ids == table.gdb_id[table.split == 0]).all()
    # The sample that coset carries is the one this table gives.
    store = qm9.build(source, tmp_path / "qm9", standard=True)
    carried = Store.open(Path(qm9.__file__).parent / "qm9_sample")
    assert qm9.sample(store, tmp_path / "sample").meta == carried.meta
