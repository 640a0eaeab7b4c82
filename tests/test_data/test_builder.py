"""A user's own files become a store: everything in order, conformers together, nothing half-written."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformers import SMILES, conformers, library
from coset.data import Store, open_dataset
from coset.data.builder import Selection, build, find_files
from coset.data.grouping import hash_geometry, skeleton
from coset.data.properties import column_names
from coset.data.splits import split_groups
from coset.files import write_sdf, write_xyz
from coset.molecule import Molecule


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four formats in nested folders, beside files that are none of them."""
    root, molecules = tmp_path_factory.mktemp("own"), library()
    (root / "b" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    write_sdf(root / "a.sdf", molecules[:30])
    write_sdf(root / "b" / "a.sdf.gz", molecules[30:50])
    write_xyz(root / "b" / "deep" / "z.XYZ", molecules[50:80])
    rest = molecules[80:]
    np.savez(
        root / "c.npz",
        n_atoms=[len(each) for each in rest],
        atomic_numbers=np.concatenate([each.numbers for each in rest]),
        positions=np.concatenate([each.positions for each in rest]),
        energy=[each.properties["energy"] for each in rest],
    )
    (root / "readme.txt").write_text("not a molecule")
    (root / ".hidden" / "a.sdf").write_text("broken")
    return root


def same(store: Store, molecules: list[Molecule]) -> None:
    assert len(store) == len(molecules)
    for row, molecule in enumerate(molecules):
        numbers, positions = store[row]
        assert numbers.tolist() == molecule.numbers.tolist()
        assert np.abs(positions - (molecule.positions - molecule.positions.mean(0))).max() < 1e-6


def test_a_folder_is_read_whole_and_in_order(tmp_path, folder):
    assert [path.name for path in find_files([folder])] == ["a.sdf", "a.sdf.gz", "z.XYZ", "c.npz"]
    store, summary = build([folder], tmp_path / "store")
    store.verify()
    same(store, library())
    assert (summary.files, summary.molecules, summary.groups) == (4, len(library()), len(SMILES))
    assert store.vocabulary == (1, 6, 7, 8, 9, 16, 17) and store.ids.tolist() == list(range(len(store)))
    assert summary.columns == ["energy"] and "name" in summary.dropped  # text is no column
    assert store.extra["energy"].tolist() == [each.properties["energy"] for each in library()]
    assert set(store.extra) == {"energy", "group"} and not summary.skipped


def test_files_are_taken_as_given_and_once(tmp_path, folder):
    given = [folder / "c.npz", folder, folder / "a.sdf"]
    assert [path.name for path in find_files(given)] == ["c.npz", "a.sdf", "a.sdf.gz", "z.XYZ"]
    store, _ = build([folder / "c.npz"], tmp_path / "store")
    same(store, library()[80:])


def test_conformers_stay_in_one_part_and_shares_are_kept(tmp_path, folder):
    store, _ = build([folder], tmp_path / "store", Selection(valid=0.2, test=0.3, seed=1))
    names = np.array([each.properties["name"] for each in library()])
    parts = [set(names[store.split == part]) for part in range(3)]
    assert sum(map(len, parts)) == len(SMILES) and all(parts)
    assert (store.split == 2).mean() == pytest.approx(0.3, abs=0.05)
    assert (store.split == 1).mean() == pytest.approx(0.2, abs=0.05)
    again, _ = build([folder], tmp_path / "again", Selection(valid=0.2, test=0.3, seed=1))
    other, _ = build([folder], tmp_path / "other", Selection(valid=0.2, test=0.3, seed=2))
    assert (again.split == store.split).all() and (other.split != store.split).any()
    data = open_dataset(store.path)
    assert data.vocabulary == (1, 6, 7, 8, 9, 16, 17) and "H, C, N, O, F, S, Cl" in data.describe()


def test_the_skeleton_tells_molecules_apart_and_conformers_not():
    keys = {smiles: {skeleton(each) for each in conformers(smiles)} for smiles in SMILES}
    assert all(len(found) == 1 for found in keys.values())
    assert len(set.union(*keys.values())) == len(SMILES)
    molecule = conformers("CC(Cl)CS")[0]
    order = np.random.default_rng(0).permutation(len(molecule))
    turned = Molecule(molecule.numbers[order], molecule.positions[order] @ np.diag([-1.0, 1, 1]) + 5)
    assert skeleton(turned) == skeleton(molecule) and hash_geometry(turned) != hash_geometry(molecule)
    assert skeleton(Molecule(np.array([1, 1]), np.eye(3)[:2])) == "H2"


def test_duplicates_are_counted_and_kept(tmp_path):
    molecules = library()[:9]
    write_xyz(tmp_path / "a.xyz", [*molecules, *molecules[:4]])
    store, summary = build([tmp_path / "a.xyz"], tmp_path / "store", Selection(valid=0, test=0.2))
    assert len(store) == 13 and summary.duplicates == 4
    assert "4 molecules at the places" in " ".join(summary.lines())


def test_elements_may_be_named(tmp_path, folder):
    with pytest.raises(ValueError, match=r"a\.sdf, record 4: element Cl is not among the given H, C, S"):
        build([folder], tmp_path / "store", Selection((1, 6, 16)))
    assert not list(tmp_path.iterdir())
    store, summary = build([folder], tmp_path / "store", Selection((1, 6, 16, 35), skip_bad=True))
    allowed = [each for each in library() if set(each.numbers) <= {1, 6, 16, 35}]
    same(store, allowed)
    assert store.vocabulary == (1, 6, 16, 35)  # the given ones, for a model that is to know them all
    assert summary.skipped == {"elements outside H, C, S, Br": len(library()) - len(allowed)}
    assert "record 4: element Cl" in summary.examples[0] and "and 60 more" not in summary.lines()[-2]


def test_broken_records_are_named_or_skipped(tmp_path):
    molecules = library()[:12]
    write_sdf(tmp_path / "a.sdf", molecules)
    records = (tmp_path / "a.sdf").read_text().split("$$$$\n")
    records[4] = "nonsense\n"
    (tmp_path / "a.sdf").write_text("$$$$\n".join(records))
    write_xyz(tmp_path / "b.xyz", molecules[:2])
    with (tmp_path / "b.xyz").open("a") as file:
        file.write("carbon\n")
    with pytest.raises(ValueError, match=r"a\.sdf, record 5: .*leave it out with --skip-bad"):
        build([tmp_path], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    store, summary = build([tmp_path], tmp_path / "store", Selection(skip_bad=True, valid=0, test=0.1))
    same(store, [*molecules[:4], *molecules[5:], *molecules[:2]])
    assert summary.skipped == {"cannot be read": 1, "rest of a file that cannot be read": 1}


def test_a_given_property_can_say_what_belongs_together(tmp_path, folder):
    store, summary = build([folder / "a.sdf"], tmp_path / "store", Selection(group_by="energy", test=0.3, valid=0))
    assert summary.groups == 3
    assert len({(energy, part) for energy, part in zip(store.extra["energy"], store.split, strict=True)}) == 3
    with pytest.raises(ValueError, match=r"c\.npz, record 1: no property 'name' to group by"):
        build([folder / "c.npz"], tmp_path / "other", Selection(group_by="name"))


def test_only_properties_that_are_numbers_everywhere_become_columns(tmp_path):
    numbers, positions = np.array([8]), np.zeros((1, 3))
    given = [
        {"U (eV)": 1, "u_ev": 2.5, "ids": 3, "text": 4, "often": 5},
        {"U (eV)": 2, "u_ev": -1e-9, "ids": 7, "text": "x", "late": 1},
    ]
    write_sdf(tmp_path / "a.sdf", [Molecule(numbers, positions, each) for each in given * 5])
    store, summary = build([tmp_path / "a.sdf"], tmp_path / "store", Selection(valid=0, test=0))
    columns = {name: values.tolist() for name, values in store.extra.items() if name != "group"}
    assert columns.pop("U_eV") == [1, 2] * 5 and columns.pop("u_ev_2") == [2.5, -1e-9] * 5
    assert columns.pop("ids_2") == [3, 7] * 5
    assert {"text", "often", "late"} <= set(summary.dropped)
    assert not {"text", "often", "late"} & set(columns)
    store.verify()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_what_ends_early_leaves_nothing(tmp_path, folder, kind, monkeypatch):
    monkeypatch.setattr("coset.data.builder._CHUNK", 10)
    calls = []

    def progress(share, note):
        calls.append(share)
        raise kind

    monkeypatch.setattr("coset.data.builder._TOLD", 40)
    with pytest.raises(kind):
        build([folder], tmp_path / "store", progress=progress)
    assert calls and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"valid": 0.6, "test": 0.5}, "shares in"),
        ({"test": -0.1}, "shares in"),
        ({"vocabulary": ()}, "at least one"),
        ({"vocabulary": (1, 200)}, "between 1 and 118"),
    ],
)
def test_a_selection_that_cannot_be_is_told(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Selection(**options)


def test_nothing_to_read_is_told(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        build([tmp_path / "none"], tmp_path / "store")
    with pytest.raises(FileNotFoundError, match=r"hold no file named \.sdf"):
        build([tmp_path], tmp_path / "store")
    with pytest.raises(ValueError, match="expected a name that ends in"):
        build([folder / "readme.txt"], tmp_path / "store")
    write_xyz(tmp_path / "a.xyz", library()[:1])
    with pytest.raises(ValueError, match="too few to train on"):
        build([tmp_path / "a.xyz"], tmp_path / "store")
    with pytest.raises(ValueError, match=r"no molecule of a.xyz .* is left .*1 skipped: elements outside H"):
        build([tmp_path / "a.xyz"], tmp_path / "store", Selection((1,), skip_bad=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.xyz"]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.data.builder._CHUNK", 50)
    one = conformers("CCS")

    def peak(count: int) -> int:
        write_xyz(tmp_path / f"{count}.xyz", one * (count // 3))
        tracemalloc.start()
        build([tmp_path / f"{count}.xyz"], tmp_path / str(count), Selection(valid=0, test=0))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(60)
    assert peak(900) < peak(150) + 100 * 750  # a molecule as an object takes more than a kilobyte


groups = st.lists(st.integers(-5, 30), min_size=1, max_size=60).map(np.array)


@settings(deadline=None, max_examples=60)
@given(groups, st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.0, 0.1, 0.4]), st.integers(0, 5), st.randoms())
def test_splits_follow_the_groups_alone(group, valid, test, seed, random):
    try:
        parts = split_groups(group, valid, test, seed)
    except ValueError as error:
        assert "too few" in str(error) and len(set(group)) < 3 + len(group)
        return
    assert len({(g, part) for g, part in zip(group.tolist(), parts, strict=True)}) == len(set(group.tolist()))
    largest = np.unique(group, return_counts=True)[1].max()
    for part, share in ((1, valid), (2, test)):
        found = (parts == part).sum()
        assert found == 0 if share == 0 else share * len(group) <= found < share * len(group) + largest or part == 1
    order = list(range(len(group)))
    random.shuffle(order)
    assert (split_groups(group[order], valid, test, seed) == parts[order]).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("aA_- (é²1/", max_size=4) | st.sampled_from(["ids", "IDS", "group"]), max_size=9, unique=True))
def test_column_names_are_names_that_no_disk_confuses(properties):
    names = list(column_names(properties).values())
    assert len({name.lower() for name in names}) == len(properties)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert not {"numbers", "positions", "offsets", "ids", "split", "group"} & {name.lower() for name in names}
