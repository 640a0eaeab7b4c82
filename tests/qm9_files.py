"""A small archive in the exact format of QM9's own, made of the 200 molecules in tests/data."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from coset.data import qm9
from coset.data.qm9_archive import PROPERTIES

FIXTURE = Path(__file__).parent / "data" / "qm9_200.npz"
SYMBOLS = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
EXCLUDED = (qm9.excluded_ids()[[0, 500, 3053]] + 1).tolist()
NAMES = "dsgdb9nsd_{:06d}.xyz".format


def number(value: float) -> str:
    """As Mathematica wrote it: 1.5*^-6, and 0. for zero."""
    text = np.format_float_positional(value, trim="-") if abs(value) >= 1e-4 or not value else repr(float(value))
    return (text if "." in text or "e" in text else text + ".").replace("e-0", "e-").replace("e", "*^")


def properties(gdb_id: int) -> list[float]:
    """15 numbers that tell molecules apart, small ones and zeros among them."""
    values = np.random.default_rng(gdb_id).normal(size=len(PROPERTIES)) * np.logspace(-6, 3, len(PROPERTIES))
    values[3] = 0.0
    return values.tolist()


def molecule_file(gdb_id: int, numbers: np.ndarray, positions: np.ndarray) -> bytes:
    """One file of the archive: two lines, the atoms, frequencies, SMILES, InChI."""
    lines = [str(len(numbers)), f"gdb {gdb_id}\t" + "".join(number(value) + "\t" for value in properties(gdb_id))]
    for z, row in zip(numbers, positions.tolist(), strict=True):
        lines.append("\t".join([SYMBOLS[int(z)], *(f" {number(value)}" for value in row), number(-2.3e-05)]))
    lines += ["1341.307\t1341.3284\t2.5*^-1", "C\tC\t", "InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4"]
    return ("\n".join(lines) + "\n").encode()


def table() -> dict[str, np.ndarray]:
    with np.load(FIXTURE, allow_pickle=False) as archive:
        return dict(archive)


def molecule_files() -> dict[str, bytes]:
    """Name to content: the 200, and three of the list to leave out, in no order of their numbers."""
    rows = table()
    ends = np.cumsum(rows["n_atoms"], dtype=int)
    files = {}
    for gdb_id, start, end in zip(rows["gdb_id"].tolist(), ends - rows["n_atoms"], ends, strict=True):
        positions = rows["positions"][start:end].astype(float)
        positions[0, 0] = 1.5e-06  # the exponent comes in coordinates too
        files[NAMES(gdb_id)] = molecule_file(gdb_id, rows["atomic_numbers"][start:end], positions)
    for gdb_id in EXCLUDED:
        files[NAMES(gdb_id)] = molecule_file(gdb_id, np.array([8, 1, 1]), np.eye(3))
    return files


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:bz2") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_excluded(path: Path, ids: Iterable[int] = EXCLUDED) -> Path:
    """The list with its heading, a rule, and a line for each molecule."""
    lines = [f"{gdb_id:8d}   C1CC1   CC=C   0.123" for gdb_id in ids]
    path.write_text("\n".join(["Consistency of geometries", "", "=====", "Index  SMILES", *lines, "====="]) + "\n")
    return path


def write_archive(folder: Path) -> tuple[Path, Path]:
    """Both files, under their own names."""
    archive = write_tar(folder / "dsgdb9nsd.xyz.tar.bz2", molecule_files().items())
    return archive, write_excluded(folder / "uncharacterized.txt")
