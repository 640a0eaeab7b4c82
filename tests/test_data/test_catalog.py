"""Data sets by name or path, built once, with something to validate on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coset.data import StoreWriter, open_dataset, qm9
from coset.data.catalog import held_out

FIXTURE = Path(__file__).parents[1] / "data" / "qm9_200.npz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_qm9(tmp_path, monkeypatch) -> None:
    """Lets the fixture of 200 molecules stand for QM9's table."""
    (tmp_path / "tables").mkdir()
    shutil.copy(FIXTURE, tmp_path / "tables" / "qm9.npz")
    monkeypatch.setenv("COSET_DATA", str(tmp_path / "tables"))


def test_the_sample_needs_nothing_else(monkeypatch, cache):
    monkeypatch.delenv("COSET_DATA", raising=False)
    data = open_dataset("qm9-sample")
    data.store.verify()
    assert (len(data.train), len(data.valid), len(data.test)) == (1900, 100, 0)
    assert sum(file.stat().st_size for file in data.store.path.iterdir()) < 300_000
    assert np.isin(data.store.ids - 1, qm9.split().train).all()
    assert data.store.vocabulary == (1, 6, 7, 8, 9) and not cache.exists()
    assert data.describe().startswith("qm9-sample: 2,000 molecules (1,900 train, 100 valid, 0 test)")


def test_qm9_is_built_once_and_then_found(small_qm9, cache, monkeypatch):
    data = open_dataset("qm9")
    parts = [set(rows) for rows in (data.train, data.valid, data.test)]
    assert set.union(*parts) == set(range(200)) and sum(map(len, parts)) == 200
    assert [set(data.store.split[list(rows)]) for rows in parts] == [{0}, {1}, {2}]
    monkeypatch.delenv("COSET_DATA")
    assert (open_dataset("qm9").train == data.train).all()
    assert [entry.name for entry in cache.iterdir()] == ["qm9"]


def test_a_table_in_another_split_is_not_qm9(small_qm9, tmp_path):
    with np.load(FIXTURE, allow_pickle=False) as archive:
        np.savez(tmp_path / "tables" / "qm9.npz", **{**archive, "split": archive["split"] ^ 1})
    with pytest.raises(ValueError, match="not where the standard QM9 split"):
        open_dataset("qm9")


def test_absent_data_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("COSET_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="COSET_DATA is not set; run `coset data build qm9`"):
        open_dataset("qm9-small")
    monkeypatch.setenv("COSET_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .*qm9\.npz"):
        open_dataset("qm9")
    with pytest.raises(FileNotFoundError, match="'qm10' is no data set: expected one of qm9, qm9-small"):
        open_dataset("qm10")


def test_processes_at_once_build_one_store(cache):
    code = f"from coset.data import open_dataset; print(len(open_dataset({str(FIXTURE)!r}).store))"
    jobs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert [int(job.communicate()[0]) for job in jobs] == [200] * 3
    (entry,) = cache.iterdir()
    assert entry.name.startswith("qm9_200-")


def test_a_cache_that_cannot_be_written_is_told(small_qm9, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(qm9, "build", refuse)
    with pytest.raises(PermissionError, match="set COSET_CACHE"):
        open_dataset("qm9")


def test_a_store_without_valid_molecules_holds_some_out(tmp_path):
    path = qm9.build(FIXTURE, tmp_path / "store", splits=["train"], packed=True).path
    data, again = open_dataset(path), open_dataset(str(path))
    assert len(data.valid) == round(0.05 * len(data.store)) and not set(data.valid) & set(data.train)
    assert (data.valid == again.valid).all() and len(data.train) + len(data.valid) == len(data.store)
    whole = open_dataset(path, hold_out=0)
    assert len(whole.valid) == 0 and len(whole.train) == len(data.store)
    with pytest.raises(ValueError, match="fraction"):
        open_dataset(path, hold_out=1.5)


def test_conformers_of_a_molecule_stay_together(tmp_path):
    group = np.arange(300) // 7
    with StoreWriter(tmp_path / "store") as writer:
        writer.append(np.ones(300, int), np.zeros((300, 3)), np.ones(300, int), group=group)
    data = open_dataset(tmp_path / "store", hold_out=0.2)
    assert not set(group[data.train]) & set(group[data.valid])
    assert 40 <= len(data.valid) <= 60


def test_what_is_held_out_follows_the_molecule_not_its_row():
    keys = np.random.default_rng(0).permutation(10_000)
    held = held_out(keys, 500)
    assert held.sum() == 500
    assert set(keys[held]) == set(np.arange(10_000)[held_out(np.arange(10_000), 500)])
    assert abs(keys[held].mean() - 5000) < 500  # all over the range, not its beginning


def test_the_histogram_counts_training_molecules(small_qm9):
    data, small = open_dataset("qm9"), open_dataset("qm9-small")
    histogram = data.size_histogram()
    assert sum(histogram.values()) == len(data.train) and list(histogram) == sorted(histogram)
    assert all((data.store.sizes[data.train] == n).sum() == count for n, count in histogram.items())
    assert small.size_histogram() == {n: count for n, count in histogram.items() if n <= 14}
    assert all((small.store.sizes[rows] <= 14).all() for rows in (small.train, small.valid, small.test))


def test_the_full_small_set_has_its_published_size():
    if "COSET_DATA" not in os.environ:
        pytest.skip("COSET_DATA is unset, and this counts the molecules of the full qm9.npz there.")
    small = open_dataset("qm9-small")
    assert len(small.train) == 10_389
    # QM9's test part is complete, and its sizes are published for the training part only.
    assert len(open_dataset("qm9").test) == 13_083
