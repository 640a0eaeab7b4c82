"""Ensembles as stores: every conformer a row, in the part of its molecule; the set that is named drug-like."""

from __future__ import annotations

import numpy as np
import pytest

from coset.data import drugs, open_dataset
from coset.data.catalog import NAMES
from coset.data.ensemble_file import Ensembles, parts
from coset.data.ensemble_store import build, from_ensembles
from ensemble_files import SMILES, ensemble, small_ensembles_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_conformer_is_a_row_in_the_part_of_its_molecule(tmp_path):
    found = Ensembles.load(small_ensembles_file(tmp_path / "a.npz"))
    store, left_out = build(tmp_path / "a.npz", tmp_path / "store")
    store.verify()
    assert len(store) == 16 and not left_out and store.name == "store" and "a.npz" in store.meta["source"]
    assert (store.split == np.repeat(found.split, found.counts)).all()
    for row in range(16):
        own, (numbers, positions) = found[row // 2], store[row]
        there = own.positions[row % 2]
        assert (numbers == own.numbers).all() and np.abs(positions - (there - there.mean(0))).max() < 1e-5
    assert store.extra["relative_energy"] == pytest.approx([0.0, 0.5] * 8)
    assert len(np.unique(store.extra["group"])) == 8
    by_path = open_dataset(tmp_path / "a.npz")  # the same, kept in the cache
    assert (by_path.store.ids == store.ids).all() and len(by_path.train) == 8 and len(by_path.test) == 4


def test_charged_molecules_and_other_elements_are_left_out_and_counted(tmp_path):
    ensembles = Ensembles.of([ensemble(smiles, 2, known=smiles != "CCO") for smiles in SMILES])
    store, left_out = from_ensembles(ensembles, tmp_path / "store", elements=(1, 6, 7, 8, 9), neutral=True)
    assert left_out == {"charged": 1, "elements outside the 5": 1} and len(store) == 12
    assert "left out: 1 (charged)" in store.meta["source"] and "relative_energy" not in store.extra
    assert store.vocabulary == (1, 6, 7, 8, 9)
    with pytest.raises(ValueError, match=r"no molecule of the ensembles is left .*8 \(elements outside the 1\)"):
        from_ensembles(ensembles, tmp_path / "none", elements=(1,))
    assert not (tmp_path / "none").exists()


def test_drug_like_is_built_once_of_both_files(tmp_path, cache, monkeypatch):
    monkeypatch.delenv("COSET_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="COSET_DATA is not set"):
        open_dataset("drug-like")
    files = {"conformer_benchmark": SMILES[:5], "flexisol_gas": SMILES[4:]}  # one molecule is in both
    for name, smiles in files.items():
        Ensembles.of([ensemble(each, 2, known=False) for each in smiles]).save(tmp_path / f"{name}.npz")
        with np.load(tmp_path / f"{name}.npz") as whole:  # as these files come: without a split
            np.savez(tmp_path / f"{name}.npz", **{key: each for key, each in whole.items() if key != "split"})
    monkeypatch.setenv("COSET_DATA", str(tmp_path))
    found = open_dataset("drug-like")
    kept = [each for each in (*files["conformer_benchmark"], *files["flexisol_gas"]) if each != "CC(=O)[O-]"]
    assert (found.store.split == np.repeat(parts(kept), 2)).all()
    assert len(np.unique(found.store.extra["group"])) == 7 and found.vocabulary == drugs.ELEMENTS
    assert "1 (charged)" in found.store.meta["source"] and "drug-like" in NAMES
    monkeypatch.delenv("COSET_DATA")
    assert (open_dataset("drug-like").store.ids == found.store.ids).all()
    assert [each.name for each in cache.iterdir()] == ["drug-like"]
