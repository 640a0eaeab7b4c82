"""`coset data` from a folder of files to a trained, sampled, evaluated model, and how it refuses."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from conformers import library
from coset.data import Store, qm9_archive
from coset.files import read, write_sdf
from coset.model import load
from ensemble_files import crude, small_ensembles_file, whole_entry, write_msgpack
from qm9_files import FIXTURE, table, write_archive


@pytest.fixture
def folder(tmp_path) -> Path:
    """Molecules with sulfur and chlorine in two SD files."""
    (tmp_path / "own").mkdir()
    write_sdf(tmp_path / "own" / "a.sdf", library()[:48])
    write_sdf(tmp_path / "own" / "b.sdf.gz", library()[48:])
    return tmp_path / "own"


def test_from_a_folder_of_files_to_an_evaluated_model(run, tmp_path, folder):
    store, model = tmp_path / "store", tmp_path / "run"
    code, out, err = run("data", "build", folder, "-o", store, "--valid", 0.1, "--test", 0.2)
    assert code == 0, err
    assert "read from 2 files: 32 different molecules" in out and "elements: H, C, N, O, F, S, Cl" in out
    code, out, _ = run("data", "info", store)
    assert code == 0 and "columns: energy" in out and "groups: 32" in out
    settings = ["size=small", "width=16", "depth=1", "molecules=600", "batch=32"]
    settings += ["validate_molecules=8", "sample_molecules=0", f"data={store}"]
    code, _, err = run("train", "edm", *(f"--set={each}" for each in settings), "-o", model)
    assert code == 0, err
    assert load(model).vocabulary.numbers == Store.open(store).vocabulary == (1, 6, 7, 8, 9, 16, 17)
    code, _, err = run("sample", "-n", 12, "--steps", 10, "--model", model, "-o", tmp_path / "drawn.sdf")
    assert code == 0, err
    drawn = read(tmp_path / "drawn.sdf")
    assert len(drawn) == 12 and set(np.concatenate([each.numbers for each in drawn])) <= {1, 6, 7, 8, 9, 16, 17}
    code, _, err = run("data", "reference", store, "-o", tmp_path / "reference.npz")
    assert code == 0, err
    arguments = tmp_path / "drawn.sdf", "--reference", tmp_path / "reference.npz", "--json"
    code, out, err = run("evaluate", *arguments)
    assert code == 0, err
    found = json.loads(out)
    assert found["molecules"] == 12 and found["reference"] == "store" and "novelty" in found["rates"]


def test_qm9_from_its_archive(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "files").mkdir()
    write_archive(tmp_path / "files")
    code, _, err = run("data", "build", "qm9", "--from", tmp_path / "files")
    assert code == 2 and "bytes, 486,752 expected; remove it to download it again" in err
    monkeypatch.setenv("COSET_DATA", str(tmp_path / "files"))
    for name in ("ARCHIVE", "EXCLUDED"):
        remote = getattr(qm9_archive, name)
        monkeypatch.setattr(qm9_archive, name, qm9_archive.Remote(remote.name, remote.url))
    code, _, err = run("data", "build", "qm9")
    assert code == 2 and "it is not QM9's uncharacterized.txt, or not all of it" in err
    monkeypatch.setattr(qm9_archive, "build", functools.partial(qm9_archive.build, partial=True))
    code, out, err = run("data", "build", "qm9")
    assert code == 0, err
    assert "qm9: 200 molecules" in out and "homo (hartree)" in out
    code, out, _ = run("data", "info", "qm9")
    assert code == 0 and "qm9: 200 molecules" in out
    code, _, err = run("data", "build", "qm9")
    assert code == 2 and "exists already" in err


def test_a_table_keeps_its_own_split(run, tmp_path):
    code, _, err = run("data", "build", FIXTURE, "-o", tmp_path / "store", "--standard", "--packed")
    assert code == 0, err
    store = Store.open(tmp_path / "store")
    assert store.packed and (store.split == table()["split"]).all() and store.vocabulary == (1, 6, 7, 8, 9)
    code, _, _ = run("data", "build", FIXTURE, "-o", tmp_path / "train", "--split", "train")
    assert code == 0 and set(Store.open(tmp_path / "train").split) == {0}
    code, _, err = run("data", "reference", tmp_path / "train", "-o", tmp_path / "r.npz")
    assert code == 2 and "no test molecules" in err


def test_drug_sized_molecules_from_geom_and_from_ensembles(run, tmp_path, monkeypatch):
    pytest.importorskip("msgpack")
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COSET_DATA", raising=False)
    entries = {each: crude(whole_entry(each)) for each in ("CCO", "CCN", "CCC.CC")}
    source = write_msgpack(tmp_path / "drugs_crude.msgpack", entries)
    code, out, err = run("data", "build", "geom-drugs", "--from", source, "--most", 3)
    assert code == 0, err
    assert "6 conformers of 2 molecules" in out and "molecules left out: 1 (several fragments)" in out
    assert "published, of all GEOM-Drugs: 6,922,516 conformers" in out and "geom-drugs.failures.csv" in out
    code, out, _ = run("data")
    assert code == 0 and "geom-drugs: 6 molecules" in out and "drug-like: not here" in out
    np.save(tmp_path / "geom_permutation.npy", np.random.default_rng(0).permutation(12))
    permuted = "--permutation", tmp_path / "geom_permutation.npy"
    code, out, err = run("data", "build", "geom-drugs", "--from", source, "-o", tmp_path / "leaking", *permuted)
    assert code == 0 and "those of one molecule are in train, valid and test alike" in out, err
    ensembles = small_ensembles_file(tmp_path / "a.npz")
    code, out, err = run("data", "build", ensembles, "-o", tmp_path / "store", "--neutral", "--packed")
    assert code == 0 and "store: 14 molecules" in out and "left out: 1 (charged)" in out, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{own}"], "name it with -o"),
        (["{own}", "-o", "{own}"], "exists already"),
        (["{tmp}/none", "-o", "{tmp}/x"], "there is no file or folder"),
        (["{own}", "-o", "{tmp}/x", "--elements", "H,C,Q"], "expects symbols such as H,C,N,O; got 'Q'"),
        (["{own}", "-o", "{tmp}/x", "--elements", ","], "expects symbols"),
        (["{own}", "-o", "{tmp}/x", "--elements", "h,c,n,o,f"], "a.sdf, record 1: element S is not among"),
        (["{own}", "-o", "{tmp}/x", "--test", "1"], "shares in [0, 1)"),
        (["{own}", "-o", "{tmp}/x", "--group-by", "family"], "no property 'family'"),
        (["{own}", "{own}", "-o", "{tmp}/x", "--standard"], "one .npz table; got 2 files"),
        (["qm9", "--elements", "H"], "--elements is for files of one's own, and this is qm9; leave it out"),
        (["{own}", "-o", "{tmp}/x", "--from", "{own}"], "--from is for qm9 and geom-drugs, and this is files"),
        (["{own}", "-o", "{tmp}/x", "--most", "3"], "--most is for geom-drugs, and this is files"),
        (["qm9", "--neutral"], "--neutral is for geom-drugs and a file of ensembles, and this is qm9"),
        (["geom-drugs"], "name GEOM's drugs_crude.msgpack or its rdkit_folder with --from"),
        (["geom-drugs", "--from", "{tmp}/none"], "there is no file"),
        (["geom-drugs", "--from", "{own}"], "holds no summary_drugs.json"),
        (["geom-drugs", "--from", "{own}", "--valid", "0.1"], "--valid is for files of one's own, and this is geom"),
        (["geom-drugs", "--from", "{own}/a.sdf", "--permutation", "{own}/a.sdf"], "is no whole .npy file"),
        ([str(FIXTURE), "-o", "{tmp}/x", "--test", "0.1"], "--test is for files of one's own, and this is a table"),
        (["qm9", "--from", "{tmp}/empty", "--mirror", "ftp://nowhere"], "expected http:// or https://"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(run, tmp_path, folder, monkeypatch, arguments, words):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "cache"))
    filled = [each.replace("{own}", str(folder)).replace("{tmp}", str(tmp_path)) for each in arguments]
    code, out, err = run("data", "build", *filled)
    assert code == 2 and words in err and "Traceback" not in out + err and len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_absent_qm9_names_the_command(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path))
    monkeypatch.delenv("COSET_DATA", raising=False)
    code, _, err = run("data", "info", "qm9")
    assert code == 2 and "coset data build qm9" in err
    code, out, _ = run("data")
    assert code == 0 and "qm9: not here" in out and "qm9-sample: 2,000 molecules" in out
