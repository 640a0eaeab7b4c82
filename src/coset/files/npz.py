"""NPZ tables of molecules: n_atoms (b,), and atomic_numbers, positions of all of them in turn."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from coset.files.text import Broken, shown
from coset.molecule import Molecule, Property

REQUIRED = ("n_atoms", "atomic_numbers", "positions")
_LARGE, _RATIO = 2**30, 100  # more than a GiB from a hundredth of it is no table of molecules
Row = tuple[NDArray, NDArray, dict[str, Property]]


def records(path: Path) -> Iterator[Row]:
    """Atomic numbers, positions and properties of one molecule after the other.

    Rows of length b beside the required ones become properties. Raises `Broken` at once for what is no whole .npz of
    plain arrays: arrays of objects are never unpickled, and no array is read that its file is too short for.
    """
    arrays = load_arrays(path)
    missing = [name for name in REQUIRED if name not in arrays]
    if missing or "n_conformers" in arrays:
        raise Broken(f"expected {', '.join(REQUIRED)}; got {shown(', '.join(arrays))}")
    counts, numbers, positions = (arrays.pop(name) for name in REQUIRED)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise Broken(f"n_atoms must be a row of counts of atoms, got {counts.dtype} {counts.shape}")
    total = sum(counts.tolist())  # Python's integers, which do not overflow
    if numbers.shape != (total,) or positions.shape != (total, 3):
        raise Broken(
            f"n_atoms sums to {total}, so atomic_numbers should be {(total,)} and positions {(total, 3)}; "
            f"got {numbers.shape} and {positions.shape}"
        )
    if numbers.dtype.kind not in "iu" or positions.dtype.kind not in "fiu":
        raise Broken(f"expected integers and real numbers, got {numbers.dtype} and {positions.dtype}")
    counts = counts.astype(np.int64)
    ends = np.cumsum(counts)
    rows = {name: _values(a) for name, a in arrays.items() if a.shape == counts.shape and a.dtype.kind in "iufbU"}
    return (
        (numbers[start:end], positions[start:end], {name: row[i] for name, row in rows.items()})
        for i, (start, end) in enumerate(zip(ends - counts, ends, strict=True))
    )


def molecule(row: Row) -> Molecule:
    """The molecule of a row."""
    if not len(row[0]):
        raise ValueError("holds no atoms")
    return Molecule(*row)


def _values(array: NDArray) -> list[Property]:
    if array.dtype.kind != "U":
        return array.tolist()
    return [text.encode("utf-8", "replace").decode() for text in array.tolist()]  # halves of pairs fit no file


def load_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of an .npz by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            unpacked = sum(member.file_size for member in members)
            if unpacked > max(_LARGE, _RATIO * path.stat().st_size):
                raise ValueError(f"its arrays would unpack to {unpacked:,} bytes")
            return {member.filename[:-4]: _array(archive, member) for member in members}
    # zipfile and numpy's header parser raise some twenty kinds of errors on damaged bytes; all mean the same.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Broken(f"not a whole .npz file of plain arrays ({reason[:120]})") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray:
    """One array, after a look at its header: what it declares must be in the file."""
    with archive.open(member) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = npy.read_magic(file)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise ValueError(f"{member.filename} has the unknown format {version}")
        shape, _, dtype = reader(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects, which are never loaded")
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(f"{member.filename} declares {shape} {dtype}, which is not what it holds")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)
