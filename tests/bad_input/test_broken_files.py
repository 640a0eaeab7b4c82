"""Broken files of molecules: read rightly, or refused with a sentence that names file, record and fault."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from coset.files import iterate, read

HEADER = "\n     coset          {}\n\n{:3d}{:3d}  0  0  0  0  0  0  0  0999 V2000\n"
ATOM = "{:10.4f}{:10.4f}{:10.4f} {:<3} 0  0  0  0  0  0  0  0  0  0  0  0\n"
OH = (("O", 0.0, 0.0, 0.0), ("H", 0.96, 0.0, 0.1))


def mol(atoms=OH, bonds=((1, 2),), count=None, bond_count=None, flat="3D", end="M  END\n$$$$\n") -> str:
    """A V2000 record, with wrong counts if asked."""
    atom_lines = "".join(ATOM.format(x, y, z, symbol) for symbol, x, y, z in atoms)
    bond_lines = "".join(f"{a:3d}{b:3d}  1  0\n" for a, b in bonds)
    counts = len(atoms) if count is None else count, len(bonds) if bond_count is None else bond_count
    return HEADER.format(flat, *counts) + atom_lines + bond_lines + end


def v3000(atoms=OH, count=None, bonds=((1, 2),)) -> str:
    rows = "".join(f"M  V30 {i} {s} {x} {y} -\nM  V30 {z} 0\n" for i, (s, x, y, z) in enumerate(atoms, start=1))
    edges = "".join(f"M  V30 {i} 1 {a} {b}\n" for i, (a, b) in enumerate(bonds, start=1))
    counts = f"M  V30 COUNTS {len(atoms) if count is None else count} {len(bonds)} 0 0 0\n"
    tables = f"M  V30 BEGIN ATOM\n{rows}M  V30 END ATOM\nM  V30 BEGIN BOND\n{edges}M  V30 END BOND\n"
    head = "\n  coset\n\n  0  0  0     0  0            999 V3000\n"
    return f"{head}M  V30 BEGIN CTAB\n{counts}{tables}M  V30 END CTAB\nM  END\n$$$$\n"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


SDF = [
    ("", "holds no molecule"),
    ("\n\n \n", "holds no molecule"),
    ("$$$$\n", "record 1: holds no MOL block"),
    (mol() + mol()[:90], "record 2: the MOL block is cut"),
    (mol() + mol()[:-12], "record 2: the MOL block is cut"),
    (mol(count=3), "record 1: expected 3 atoms and 1 bonds, got 3 lines"),
    (mol(count=3, bond_count=0), "record 1: atom 3: expected a number"),
    (mol(count=1), "record 1: bond 1: expected two of 1 atoms"),
    (mol(count=1, bonds=()), "record 1: expected 1 atoms and 0 bonds, got one more"),
    (mol(bond_count=0), "record 1: expected 2 atoms and 0 bonds, got one more"),
    (mol(bonds=((1, 9),)), "record 1: bond 1: expected two of 2 atoms"),
    (mol(count=-2), "record 1: expected a counts line in line 4"),
    (mol(count=0, atoms=(), bonds=()), "record 1: holds no atoms"),
    (mol()[1:], "record 1: expected a counts line in line 4"),
    (mol().replace("V2000", "V9999"), "record 1: expected version V2000 or V3000, got V9999"),
    (mol().replace("    0.9600", "          "), "record 1: atom 2: expected a number, got ''"),
    (mol().replace("    0.9600", "     zero "), "record 1: atom 2: expected a number, got 'zero'"),
    (mol().replace("    0.9600", "       nan"), "record 1: .*not finite"),
    (mol().replace("    0.9600", "      -inf"), "record 1: .*not finite"),
    (mol().replace("    0.9600", "      1e20"), r"record 1: .*within 1e\+08 Angstrom"),
    (mol((*OH, ("X", 1, 1, 1))), "record 1: atom 3: 'X' is no element"),
    (mol((*OH, ("R#", 1, 1, 1))), "record 1: atom 3: 'R#' is no element"),
    (mol((*OH, ("*", 1, 1, 1))), "record 1: atom 3: .* is no element"),
    (mol((("C", 0, 0, 0), ("C", 1.5, 0, 0)), flat="2D"), "record 1: is a 2D drawing"),
    (mol(end="M  END\n") + mol(), "record 1: expected a data tag or"),
    (mol(end="M  END\n>  <energy>\n-76.4"), "record 1: the file ends within the data tag 'energy'"),
    (v3000(count=3), "record 1: COUNTS declares 3 atoms and 1 bonds, the tables hold 2 and 1"),
    (v3000(count=-2), "record 1: expected COUNTS"),
    (v3000(count=99999999999), "record 1: expected COUNTS"),
    (v3000((("[N,O]", 0, 0, 0),), bonds=()), "record 1: atom 1: .* is no element"),
    (v3000().replace("M  V30 COUNTS", "COUNTS"), "record 1: expected a line of 'M  V30'"),
    (v3000().replace("END ATOM", "END ATOM -"), "record 1: "),
    (mol().encode("utf-16-le"), "record 1: line . holds a NUL byte"),
    (mol().encode("utf-16")[:-1], "record .: is not valid UTF-16"),
    (bytes(range(256)), "record 1: line 1 holds a NUL byte"),
    (b"A" * 3_000_000, "record 1: line 1 has 1,048,576 characters or more"),
]
XYZ = [
    ("", "holds no molecule"),
    ("3\nonly a comment\n", "record 1: expected 3 lines .*, got 0"),
    ("1\n\nC 0 0 0\n2\n\nC 0 0 0\n", "record 2: expected 2 lines .*, got 1"),
    ("1\n\nC 0 0 0\nC 1 0 0\n", "record 2: expected the number of atoms, got 'C 1 0 0'"),
    ("2\n\nC 0 0 0\nC 1 0\n", "record 1: expected 2 lines .*, got 'C 1 0' for atom 2"),
    ("1\n\nC 0 zero 0\n", "record 1: atom 1: expected a number, got 'zero'"),
    ("1\n\nC 0 1_0 0\n", "record 1: atom 1: expected a number, got '1_0'"),
    ("1\n\nC 0 nan 0\n", "record 1: .*not finite"),
    ("0\n\n", "record 1: holds no atoms"),
    ("-1\n\nC 0 0 0\n", "record 1: expected the number of atoms, got '-1'"),
    ("\N{SUPERSCRIPT TWO}\n\nC 0 0 0\n", "record 1: expected the number of atoms"),
    ("99999999999\n\nC 0 0 0\n", "record 1: expected the number of atoms"),
    ("999999999\n\nC 0 0 0\n", "record 1: expected 999999999 lines .*, got 1"),
    ("1\n\n119 0 0 0\n", "record 1: atom 1: '119' is no element"),
    ("1\nProperties=species:S:1:forces:R:3\nC 0 0 0\n", "record 1: expected Properties"),
    (b"\x89PNG\r\n\x1a\n\0\0", "record 1: expected the number of atoms"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), [*(("a.sdf", *case) for case in SDF), *(("a.xyz", *case) for case in XYZ)]
)
def test_the_sentence_names_file_record_and_fault(tmp_path: Path, capfd, name: str, content: str | bytes, message: str):
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{message}") as error:
        read(path)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 300 + len(str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "recoded",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
        lambda text: text.encode("latin-1"),
        lambda text: text.rstrip().encode() if text[0] == "2" else text.removesuffix("$$$$\n").encode(),
    ],
)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sdf", mol(end="M  END\n>  <caf\xe9>\n\xe9t\xe9\n\n$$$$\n")),
        ("a.xyz", '2\ncaf\xe9="\xe9t\xe9"\nO 0 0 0\nH .96 0 .1\n'),
    ],
)
def test_encodings_and_line_ends_change_nothing(tmp_path: Path, recoded, name: str, text: str):
    (molecule,) = read(written(tmp_path, name, recoded(text)))
    assert molecule.formula == "HO" and molecule.properties == {"caf\xe9": "\xe9t\xe9"}
    assert molecule.positions.tolist() == [[0, 0, 0], [0.96, 0, 0.1]]


def test_versions_may_be_mixed_and_deuterium_is_hydrogen(tmp_path: Path):
    heavy = (("O", 0, 0, 0), ("D", 0.96, 0, 0), ("T", -0.2, 0.9, 0))
    path = written(tmp_path, "a.sdf", mol(heavy) + v3000(heavy) + mol((("CL", 0, 0, 0), ("c", 1.7, 0, 0))))
    assert [molecule.formula for molecule in read(path)] == ["H2O", "H2O", "CCl"]
    assert read(path)[1].positions.tolist() == [list(map(float, atom[1:])) for atom in heavy]


def test_columns_of_extended_xyz_are_found_by_name(tmp_path: Path):
    comment = 'Properties=id:I:1:forces:R:3:species:S:1:pos:R:3 n=007 e=-1.5 t="a \\"b\\""'
    text = f"2\n{comment}\n1 9 9 9 O 0 0 0\n2 9 9 9 H 1 2 3\n"
    (molecule,) = read(written(tmp_path, "a.xyz", text))
    assert molecule.formula == "HO" and molecule.positions[1].tolist() == [1, 2, 3]
    assert molecule.properties == {"n": "007", "e": -1.5, "t": 'a "b"'}


def test_frames_after_qm9s_own_tail_are_found_with_and_without_the_tail(tmp_path: Path):
    frame = "1\ngdb 1\t157.7\nC\t0\t1.*^-6\t0\t-0.5\n"
    tail = "1341.307\t1341.3284\nC\tC\nInChI\tInChI\n"
    path = written(tmp_path, "a.xyz", 3000 * (frame + tail) + 2 * frame + frame + tail + "\n\n")
    assert len(read(path)) == 3003


def test_files_are_read_one_record_at_a_time_and_bad_records_can_be_skipped(tmp_path: Path):
    path = written(tmp_path, "a.sdf", mol() + mol((*OH, ("X", 0, 0, 0))) + "junk\n$$$$\n" + mol())
    stream = iterate(path)
    assert next(stream).formula == "HO"
    with pytest.raises(ValueError, match="record 2"):
        next(stream)
    skipped: list[ValueError] = []
    assert len(list(iterate(path, on_error=skipped.append))) == 2
    assert [re.search(r"record \d", str(error))[0] for error in skipped] == ["record 2", "record 3"]  # pyright: ignore
    with pytest.raises(ValueError, match="record 2: expected the number of atoms"):  # nothing after it can be found
        list(iterate(written(tmp_path, "a.xyz", "1\n\nC 0 0 0\nbad\n"), on_error=skipped.append))


@pytest.mark.parametrize("keep", [0, 1, 9, 10, 30, 60, -9, -8, -1])
def test_a_gzip_cut_anywhere_is_refused(tmp_path: Path, keep: int):
    whole = gzip.compress((mol() + v3000()).encode(), mtime=0)
    with pytest.raises(ValueError, match=r"a\.sdf\.gz.*(not a whole file|holds no molecule)"):
        read(written(tmp_path, "a.sdf.gz", whole[:keep]))


def arrays(**changes) -> bytes:
    stream = io.BytesIO()
    plain = {"n_atoms": [1, 2], "atomic_numbers": [6, 1, 1], "positions": np.eye(3)}
    np.savez(stream, **(plain | changes))
    return stream.getvalue()


def bomb() -> bytes:
    """A table whose positions have, by their header, 2.4 terabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**11, 3)})
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(arrays())) as whole, zipfile.ZipFile(stream, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, header.getvalue() + bytes(72) if name == "positions.npy" else whole.read(name))
    return stream.getvalue()


class Trap:
    """Unpickled, it would say so."""

    def __reduce__(self):
        return print, ("unpickled!",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (arrays(n_atoms=np.array([1, 2], dtype=object)), "holds Python objects, which are never loaded"),
        (arrays(extra=np.array([Trap()], dtype=object)), "holds Python objects, which are never loaded"),
        (arrays(n_atoms=[[1, 2]]), "n_atoms must be a row of counts"),
        (arrays(n_atoms=[1.0, 2.0]), "n_atoms must be a row of counts"),
        (arrays(n_atoms=[4, -1]), "n_atoms must be a row of counts"),
        (arrays(n_atoms=[1, 1]), "n_atoms sums to 2"),
        (arrays(n_atoms=[0, 3]), "record 1: holds no atoms"),
        (arrays(atomic_numbers=[6.0, 1.0, 1.0]), "expected integers and real numbers"),
        (arrays(atomic_numbers=[6, 0, 1]), "record 2: Atomic numbers lie between 1 and 118"),
        (arrays(positions=np.full((3, 3), np.nan)), "record 1: .*not finite"),
        (arrays(positions=np.eye(3, 2)), r"positions \(3, 3\); got \(3,\) and \(3, 2\)"),
        (arrays(n_atoms=[], atomic_numbers=np.array([], int), positions=np.zeros((0, 3))), "n_atoms must|no molecule"),
        (arrays()[:-30], "not a whole .npz"),
        (arrays()[:100], "not a whole .npz"),
        (b"PK\3\4", "not a whole .npz"),
        (bomb(), r"not a whole .npz file of plain arrays \(positions.npy declares \(100000000000, 3\) float64"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, capfd, content: bytes, message: str):
    path = written(tmp_path, "a.npz", content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{message}"):
        read(path)
    assert capfd.readouterr() == ("", "")


def test_a_table_that_unpacks_to_a_hundred_times_its_size_is_refused(tmp_path: Path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", n_atoms=[1], atomic_numbers=[1], positions=np.eye(1, 3), x=np.zeros(10**6))
    assert len(read(tmp_path / "a.npz")) == 1  # as long as it is small
    monkeypatch.setattr("coset.files.npz._LARGE", 10**6)
    with pytest.raises(ValueError, match=r"its arrays would unpack to 8,000,\d+ bytes"):
        read(tmp_path / "a.npz")


def test_the_table_is_whole_before_it_is_broken(tmp_path: Path):
    for kind in (np.uint8, np.uint64, np.int16):
        content = arrays(name=["a", "b\ud800"], n_atoms=np.array([1, 2], dtype=kind))
        molecules = read(written(tmp_path, "a.npz", content))
        assert [molecule.formula for molecule in molecules] == ["C", "H2"]
        assert [molecule.properties["name"] for molecule in molecules] == ["a", "b?"]


def test_what_is_no_file_is_refused(tmp_path: Path):
    (tmp_path / "folder.sdf").mkdir()
    with pytest.raises(ValueError, match="it is a folder; give a file in it"):
        read(tmp_path / "folder.sdf")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read(tmp_path / "none.sdf")
    with pytest.raises(ValueError, match=r"expected a name that ends in \.sdf, \.sdf\.gz, \.xyz, \.npz"):
        read(written(tmp_path, "a.gz", ""))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.sdf", mol(count=9)), ("a.xyz", "1\n\nQ 0 0 0\n"), ("a.npz", arrays()[:50]), ("a.sdf.gz", b"no gzip")],
)
def test_the_command_line_says_the_same(refused, tmp_path: Path, name: str, content: str | bytes):
    path = written(tmp_path, name, content)
    assert str(path) in refused("evaluate", path, "--report", tmp_path / "report.html")
    assert [each.name for each in tmp_path.iterdir()] == [name]
