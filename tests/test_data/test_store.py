"""A store gives back what was written, whole or not at all."""

from __future__ import annotations

import json
import pickle
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.data import Store, StoreWriter
from coset.data.columns import decode, encode
from coset.data.writer import copy


def molecules(count: int, seed: int = 0, largest: int = 9):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, count)
    numbers = rng.choice([1, 6, 8, 17], sizes.sum())
    return numbers, rng.normal(size=(sizes.sum(), 3)).astype(np.float32), sizes


def write(path: Path, count: int = 20, seed: int = 0, packed: bool = False, chunks: int = 1, **extra) -> Store:
    with StoreWriter(path, packed=packed, source="a test", licence="CC0-1.0") as writer:
        for chunk in range(chunks):
            writer.append(*molecules(count, seed + chunk), **extra)
    return Store.open(path)


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 6), min_size=1, max_size=4), packed=st.booleans(), data=st.data())
def test_reading_inverts_writing(counts, packed, data):
    counts.append(1)
    parts = [molecules(count, seed) for seed, count in enumerate(counts)]
    split = data.draw(st.lists(st.integers(0, 2), min_size=sum(counts), max_size=sum(counts)))
    ids = data.draw(st.lists(st.integers(-5, 10**12), min_size=sum(counts), max_size=sum(counts)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")
        with StoreWriter(path, packed=packed) as writer:
            start = 0
            for (numbers, positions, sizes), count in zip(parts, counts, strict=True):
                rows = slice(start, start + count)
                writer.append(numbers, positions, sizes, ids=ids[rows], split=split[rows])
                start += count
        store = Store.open(path)
        store.verify()
        numbers, positions, sizes = (np.concatenate(values) for values in zip(*parts, strict=True))
        assert store.sizes.tolist() == sizes.tolist()
        assert (store.ids.tolist(), store.split.tolist()) == (ids, split)
        assert store.vocabulary == tuple(np.unique(numbers))
        assert np.concatenate([store[row][0] for row in range(len(store))]).tolist() == numbers.tolist()
        found = np.concatenate([store[row][1] for row in range(len(store))])
        assert np.abs(found - positions).max() <= (0.00051 if packed else 0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length", [None, 12])
def test_collate_stacks_single_molecules_and_pads_with_zeros(tmp_path, packed, length):
    store = write(tmp_path / "store", packed=packed)
    rows = np.array([19, 3, 3, 0, 11])
    numbers, positions = store.collate(rows, length)
    width = length or store.sizes[rows].max()
    assert numbers.shape == (5, width) and numbers.dtype == np.int64
    assert positions.shape == (5, width, 3) and positions.dtype == np.float32
    for i, row in enumerate(rows):
        size = store.sizes[row]
        assert (numbers[i, :size] == store[row][0]).all() and (positions[i, :size] == store[row][1]).all()
        assert not numbers[i, size:].any() and not positions[i, size:].any()


def test_rows_outside_are_refused(tmp_path):
    store = write(tmp_path / "store")
    assert (store[-1][1] == store[19][1]).all()
    for rows in ([20], [-1]):
        with pytest.raises(IndexError, match="20 molecules"):
            store.collate(rows)
    with pytest.raises(IndexError):
        store[20]
    with pytest.raises(ValueError, match="largest molecule"):
        store.collate(np.arange(20), length=2)


def test_rows_and_select_agree(tmp_path):
    store = write(tmp_path / "store", split=np.arange(20) % 3)
    rows = store.rows("valid", max_atoms=6, min_atoms=2)
    assert rows.dtype == np.int64 and 0 < len(rows) < 7
    mask = (store.split == 1) & (store.sizes <= 6) & (store.sizes >= 2)
    assert rows.tolist() == store.select(mask).tolist() == np.flatnonzero(mask).tolist()
    assert store.select(lambda s: s.sizes > 6).tolist() == store.rows(min_atoms=7).tolist()
    with pytest.raises(ValueError, match="choose one of train, valid, test"):
        store.rows("dev")
    with pytest.raises(ValueError, match="one entry a molecule"):
        store.select(np.ones(3, dtype=bool))


def test_further_arrays_follow_their_molecules(tmp_path):
    energy, group = np.linspace(0, 1, 20), np.arange(20) // 4
    store = write(tmp_path / "store", chunks=2, energy=energy, group=group)
    assert (store.extra["energy"] == np.tile(energy, 2)).all() and store.extra["group"].dtype == np.int64
    rows = np.array([30, 2, 17])
    small = copy(store, tmp_path / "copy", rows, packed=True)
    assert (small.extra["energy"] == store.extra["energy"][rows]).all()
    assert (small.ids == store.ids[rows]).all() and small.meta["source"] == "a test"
    assert np.abs(small.collate([1])[1] - store.collate([2])[1]).max() < 0.00051
    with pytest.raises(ValueError, match="the ones before"), StoreWriter(tmp_path / "uneven") as writer:
        writer.append(*molecules(3), energy=np.zeros(3))
        writer.append(*molecules(3))


def test_a_failed_or_empty_store_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "store") as writer:
        writer.append(*molecules(5))
        assert not (tmp_path / "store").exists()
        raise RuntimeError
    with pytest.raises(ValueError, match="at least one"), StoreWriter(tmp_path / "store"):
        pass
    assert not list(tmp_path.iterdir())


def test_of_two_writers_the_slower_is_refused(tmp_path):
    slower = StoreWriter(tmp_path / "store")
    slower.append(*molecules(5, seed=1))
    faster = write(tmp_path / "store")
    with pytest.raises(FileExistsError, match="another process"), slower:
        pass
    with pytest.raises(FileExistsError, match="exists already"):
        StoreWriter(tmp_path / "store")
    faster.verify()
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_writing_takes_the_same_memory_however_long(tmp_path):
    chunk = molecules(500)

    def peak(chunks: int) -> int:
        tracemalloc.start()
        with StoreWriter(tmp_path / str(chunks)) as writer:
            for _ in range(chunks):
                writer.append(*chunk)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(1)
    assert peak(100) < 1.3 * peak(10)


@pytest.mark.parametrize("change", ["cut", "flip", "version", "meta", "lost", "array"])
def test_damage_is_told(tmp_path, change):
    path = write(tmp_path / "store").path
    file, meta = path / "positions.bin", json.loads((path / "meta.json").read_text())
    data = file.read_bytes()
    if change == "flip":
        file.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        with pytest.raises(ValueError, match=r"positions .* damaged: its sha256"):
            Store.open(path).verify()
        return
    if change == "cut":
        file.write_bytes(data[:-1])
    elif change == "lost":
        file.unlink()
    elif change == "version":
        (path / "meta.json").write_text(json.dumps(meta | {"version": 99}))
    elif change == "meta":
        (path / "meta.json").write_text("{")
    else:
        meta["arrays"]["numbers"]["dtype"] = "|O"
        (path / "meta.json").write_text(json.dumps(meta))
    sentence = {"cut": "bytes", "lost": "0 bytes", "version": "coset-store 99", "array": "not known"}
    with pytest.raises(ValueError, match=sentence.get(change, "not the description")):
        Store.open(path)


def test_a_folder_without_a_store_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no molecule store"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "positions", "sizes", "sentence"),
    [
        ([1, 1], np.zeros((3, 3)), [2], "shapes"),
        ([1, 1], np.zeros((2, 3)), [3], "add up to 3"),
        ([1, 0], np.zeros((2, 3)), [2], "between 1 and 118"),
        ([1, 1], np.full((2, 3), np.nan), [2], "finite"),
        ([1, 1], np.zeros((2, 3)), [2, 0], "1 to 65535 atoms"),
        ([1.0, 1.0], np.zeros((2, 3)), [2], "integers"),
        ([1, 1], np.full((2, 3), 40.0), [2], "within 32.767"),
    ],
)
def test_molecules_that_do_not_fit_are_told(tmp_path, numbers, positions, sizes, sentence):
    with pytest.raises(ValueError, match=sentence), StoreWriter(tmp_path / "store", packed=True) as writer:
        writer.append(numbers, positions, sizes)


def test_a_store_pickles_as_its_path(tmp_path):
    store = write(tmp_path / "store", count=2000)
    data = pickle.dumps(store)
    assert len(data) < 500
    assert (pickle.loads(data).collate([7])[1] == store.collate([7])[1]).all()


@given(st.lists(st.integers(-10, 2**40), min_size=1, max_size=50) | st.sets(st.integers(0, 99), min_size=1).map(sorted))
def test_short_columns_are_exact(values):
    values = np.array(values, dtype=np.int64)
    for name in ("ids", "split"):
        assert (decode(*encode(name, values), len(values)) == values).all()
    offsets = np.concatenate([[0], np.cumsum(np.abs(values))])
    assert (decode(*encode("offsets", offsets), len(values)) == offsets).all()
