"""QM9's own archive becomes a store of the standard split, whole or not at all."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from coset.data import Store, qm9
from coset.data.qm9_archive import PROPERTIES, build, parse, records
from qm9_files import EXCLUDED, NAMES, molecule_files, properties, table, write_archive, write_excluded, write_tar


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    return write_archive(tmp_path_factory.mktemp("qm9"))


def test_the_format_has_what_makes_it_hard():
    text = next(iter(molecule_files().values())).decode()
    assert "1.5*^-6" in text and "\t0.\t" in text


@pytest.mark.parametrize("packed", [False, True])
def test_a_store_holds_the_archive(tmp_path, files, packed):
    store = build(*files, tmp_path / "store", partial=True, packed=packed)
    store.verify()
    rows = table()
    assert (store.ids == rows["gdb_id"]).all() and (store.split == rows["split"]).all()
    assert not set(store.ids) & set(EXCLUDED)
    assert list(store.extra) == list(PROPERTIES) and store.units == PROPERTIES
    found = np.stack(list(store.extra.values()), axis=1)
    assert (found == [properties(gdb_id) for gdb_id in rows["gdb_id"].tolist()]).all()  # to the last digit
    start = 0
    for row, size in enumerate(rows["n_atoms"].astype(int)):
        numbers, positions = store[row]
        expected = rows["positions"][start : start + size].astype(float)
        expected[0, 0] = 1.5e-06
        assert (numbers == rows["atomic_numbers"][start : start + size]).all()
        assert np.abs(positions - expected.astype(np.float32)).max() <= (0.00051 if packed else 0)
        start += size
    assert store.vocabulary == (1, 6, 7, 8, 9) and store.name == "qm9" and store.meta["licence"] == "CC0-1.0"


def test_a_part_of_it_is_refused_unless_asked_for(tmp_path, files):
    whole = write_excluded(tmp_path / "uncharacterized.txt", qm9.excluded_ids() + 1)
    with pytest.raises(ValueError, match=r"holds 203 molecules, QM9 has 133,885; download it again"):
        build(files[0], whole, tmp_path / "store")
    assert len(build(files[0], whole, tmp_path / "part", partial=True)) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "uncharacterized.txt"]


def test_the_list_of_excluded_molecules_is_checked(tmp_path, files):
    with pytest.raises(ValueError, match="lists 3 molecules, 0 of them not on the standard list of 3,054"):
        build(*files, tmp_path / "store")
    foreign = write_excluded(tmp_path / "foreign.txt", [*EXCLUDED, 1])
    with pytest.raises(ValueError, match="lists 4 molecules, 1 of them not"):
        build(files[0], foreign, tmp_path / "store", partial=True)
    short = write_excluded(tmp_path / "short.txt", EXCLUDED[1:])
    with pytest.raises(ValueError, match=f"disagree on molecule {EXCLUDED[0]}"):
        build(files[0], short, tmp_path / "store", partial=True)
    with pytest.raises(FileNotFoundError, match="list of molecules to leave out"):
        build(files[0], tmp_path / "none.txt", tmp_path / "store", partial=True)
    with pytest.raises(FileNotFoundError, match="QM9's archive"):
        build(tmp_path / "none", files[1], tmp_path / "store", partial=True)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("C\t", "Cl\t", "element 'Cl' is none of QM9's H, C, N, O, F"),
        ("gdb 1\t", "gdb 2\t", "should hold 'gdb 1' and 15 numbers"),
        ("\t0.5\t", "\t", "15 numbers"),
        ("InChI\n", "", "lines, 10 expected for 5 atoms"),
        ("5\n", "6\n", "lines, 11 expected"),
        ("5\n", "five\n", "invalid literal"),
        ("\t1.0\t2.0\t", "\tnan\t2.0\t", "three finite numbers"),
        ("\t1.0\t2.0\t", "\tone\t2.0\t", "could not convert"),
        ("\t1.0\t2.0\t3.0\t0.1", "\t1.0\t2.0", "no file of QM9's format"),
    ],
)
def test_a_faulty_file_is_named(old, new, sentence):
    good = (
        "5\ngdb 1" + "\t0.5" * 15 + "\t\n" + "C\t1.0\t2.0\t3.0\t0.1\n" + "H\t1\t1\t1\t1\n" * 4 + "1\t2\nC\tC\nInChI\n"
    )
    assert len(parse(good.encode(), 1, "here").numbers) == 5
    assert old in good
    with pytest.raises(ValueError, match=f"^a.tar, b.xyz.*{sentence}"):
        parse(good.replace(old, new, 1).encode(), 1, "a.tar, b.xyz")


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("../../../outside.xyz", 40, "is no molecule of QM9"),
        ("/dsgdb9nsd_000001.txt", 40, "is no molecule of QM9"),
        (NAMES(1), 10**6, "is no molecule of QM9"),
        (NAMES(1), 40, "no file of QM9's format"),
    ],
)
def test_foreign_members_are_refused_and_nothing_is_unpacked(tmp_path, files, name, size, sentence):
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    archive = write_tar(inside / "a.tar.bz2", [*list(molecule_files().items())[:2], (name, b"x" * size)])
    with pytest.raises(ValueError, match=sentence):
        build(archive, files[1], inside / "store", partial=True)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [archive]


def test_a_molecule_that_comes_twice_is_refused(tmp_path, files):
    twice = list(molecule_files().items())[:2] * 2
    archive = write_tar(tmp_path / "a.tar.bz2", twice)
    with pytest.raises(ValueError, match="comes twice"):
        build(archive, files[1], tmp_path / "store", partial=True)


@pytest.mark.parametrize("keep", [0.0, 0.0005, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_archive_is_refused(tmp_path, files, keep):
    data = files[0].read_bytes()
    (tmp_path / "cut.tar.bz2").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=r"cut.tar.bz2 is not a whole .tar.bz2 archive"):
        build(tmp_path / "cut.tar.bz2", files[1], tmp_path / "store", partial=True)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.tar.bz2"]


def test_another_kind_of_file_is_refused(tmp_path, files):
    with pytest.raises(ValueError, match=r"not a whole .tar.bz2 archive"):
        build(files[1], files[1], tmp_path / "store", partial=True)


def test_an_interrupted_build_leaves_nothing(tmp_path, files, monkeypatch):
    monkeypatch.setattr("coset.data.qm9_archive._CHUNK", 50)

    def interrupt(share, note):
        raise KeyboardInterrupt

    monkeypatch.setattr("coset.data.qm9_archive._TOLD", 120)
    with pytest.raises(KeyboardInterrupt):
        build(*files, tmp_path / "store", partial=True, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_reading_takes_the_same_memory_however_long(tmp_path):
    content = next(iter(molecule_files().values()))
    gdb_id = int(content.split()[2])

    def peak(members: int) -> int:
        archive = write_tar(tmp_path / f"{members}.tar.bz2", [(NAMES(gdb_id), content)] * members)
        tracemalloc.start()
        assert sum(1 for _ in records(archive)) == members
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(800) < peak(100) + 100_000  # headers kept would be 700 kB more


def test_open_dataset_finds_what_was_built(tmp_path, files, monkeypatch):
    from coset.data import open_dataset

    monkeypatch.setenv("COSET_CACHE", str(tmp_path))
    monkeypatch.delenv("COSET_DATA", raising=False)
    build(*files, tmp_path / "qm9", partial=True)
    data = open_dataset("qm9")
    assert len(data.test) == (table()["split"] == 2).sum() and Store.open(tmp_path / "qm9").units["homo"] == "hartree"
    assert "homo (hartree)" in data.describe() and "elements: H, C, N, O, F" in data.describe()
