"""Molecules survive files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from coset.files import atomic_write, read, write_sdf, write_smiles, write_xyz
from coset.metrics.measurement import measure
from coset.molecule import Molecule

DATA = Path(__file__).parent / "data"
PROPERTIES = {"name": "two words", "seed": 7, "energy": -1.25e-7, "code": 'a="b"'}


@pytest.fixture(scope="module")
def generated() -> list[Molecule]:
    return read(DATA / "gschnet_samples.npz")


def assert_same(before: Molecule, after: Molecule) -> None:
    assert before.numbers.tolist() == after.numbers.tolist()
    np.testing.assert_allclose(before.positions, after.positions, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz", "a.xyz"])
def test_round_trip(tmp_path: Path, generated: list[Molecule], name: str):
    molecules = [Molecule(each.numbers, each.positions, PROPERTIES) for each in generated[::400]]
    path = tmp_path / name
    (write_xyz if name.endswith("xyz") else write_sdf)(path, molecules)
    for before, after in zip(molecules, read(path), strict=True):
        assert_same(before, after)
        assert {key: after.properties[key] for key in PROPERTIES} == PROPERTIES
    assert [each.name for each in tmp_path.iterdir()] == [name]  # no temporary file is left


def test_an_sd_file_keeps_every_count(tmp_path: Path, generated: list[Molecule]):
    write_sdf(tmp_path / "a.sdf", generated[:1500])
    assert measure(read(tmp_path / "a.sdf")).counts() == measure(generated[:1500]).counts()


def test_xyz_text_that_looks_like_a_number_stays_text(tmp_path: Path):
    write_xyz(tmp_path / "a.xyz", [Molecule(np.array([2]), np.zeros((1, 3)), {"key": "12", "count": 12})])
    assert read(tmp_path / "a.xyz")[0].properties == {"key": "12", "count": 12}


def test_smiles_skip_what_cannot_be_sanitised(tmp_path: Path, generated: list[Molecule]):
    written = write_smiles(tmp_path / "a.smi", generated[:300])
    lines = (tmp_path / "a.smi").read_text().splitlines()
    assert len(lines) == written == measure(generated[:300]).counts()["valid"] < 300
    assert all(1 <= int(line.split("\t")[1]) <= 300 for line in lines)


def test_qm9_own_xyz(tmp_path: Path):
    atoms = "O\t0.5\t1.*^-6\t-2.5*^-1\t-0.5\nH\t0\t0\t0\t0.4\n"
    text = f"2\ngdb 7\t157.7118\n{atoms}1341.307\t1341.3284\nO\tO\nInChI\n\n"
    (tmp_path / "a.xyz").write_text(2 * text)
    molecules = read(tmp_path / "a.xyz")
    assert [each.formula for each in molecules] == ["HO", "HO"]
    assert molecules[0].positions[0].tolist() == [0.5, 1e-6, -0.25]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xyz", "2\n\nC 0 0 0\n", "record 1: expected 2 lines"),
        ("a.xyz", "1\n\nC 0 0 0\n1\n\nQq 0 0 0\n", "record 2: atom 1: 'Qq' is no element"),
        ("a.xyz", "1\n\nC 0 0 nan\n", "record 1: .*not finite"),
        ("a.xyz", "carbon\n", "record 1: expected the number of atoms"),
        ("a.xyz", "\n", "holds no molecule"),
        ("a.sdf", "nonsense\n\n\nmore nonsense\n$$$$\n", "record 1: the MOL block is cut"),
        ("a.mol2", "", "expected a name that ends in .sdf"),
    ],
)
def test_bad_files_are_named_with_the_record(tmp_path: Path, capfd, name: str, content: str, message: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        read(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_bad_arrays_and_missing_files(tmp_path: Path):
    np.savez(tmp_path / "a.npz", n_atoms=[3], atomic_numbers=[1, 1], positions=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="n_atoms sums to 3"):
        read(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "b.xyz")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_xyz(tmp_path / "nowhere" / "b.xyz", [])


def test_line_breaks_do_not_slip_into_an_sd_file(tmp_path: Path, generated: list[Molecule]):
    broken = Molecule(generated[0].numbers, generated[0].positions, {"note": "a\n$$$$"})
    with pytest.raises(ValueError, match="line break"):
        write_sdf(tmp_path / "a.sdf", [broken])
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a") as file:
        file.write("new")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["m.npz", "m.sdf.gz", "m.sdf", "m.xyz"])
@pytest.mark.parametrize("keep", [0, 3, 100])
def test_noise_and_truncated_files_are_one_sentence(tmp_path: Path, generated: list[Molecule], name: str, keep: int):
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(200))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read(path)
    if name != "m.npz":
        (write_xyz if name == "m.xyz" else write_sdf)(path, generated[:3])
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(path)
