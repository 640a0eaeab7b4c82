"""What a store looks like on disk: its array files and its description, `meta.json`, with every reading error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coset.data import columns

FORMAT, VERSION = "coset-store", 1
SPLITS = ("train", "valid", "test")
BASE = ("numbers", "positions", "offsets", "ids", "split")
MILLI = 1000  # int16 positions count thousandths of an Angstrom
_Dtype = Literal["|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "|b1", "<f2", "<f4", "<f8"]
DTYPES = get_args(_Dtype)


class _Entry(BaseModel):
    """What meta.json says of one array: its stored form, its encoding (columns.py), its checksum."""

    model_config = ConfigDict(strict=True)

    dtype: _Dtype
    shape: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=8)
    encoding: Literal["raw", "sizes", "bitmap", "constant"]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Meta(BaseModel):
    """Types of meta.json; keys beyond these are let pass."""

    model_config = ConfigDict(strict=True)

    name: str
    source: str = ""
    licence: str = ""
    molecules: int = Field(ge=1)
    atoms: int = Field(ge=1)
    vocabulary: list[int] = Field(min_length=1)
    units: dict[str, str] = {}
    arrays: dict[str, _Entry]


def array_file(folder: Path, name: str) -> Path:
    """Where an array lies in a store's folder."""
    return folder / f"{name}.bin"


def read_meta(path: Path) -> dict[str, Any]:
    """A store's `meta.json` as a dict, its version and every type in it checked.

    Raises FileNotFoundError where there is none, ValueError where it describes no store of this version.
    """
    file = path / "meta.json"
    if not file.is_file():
        raise FileNotFoundError(f"there is no molecule store at {path}: it has no meta.json.")
    try:
        meta = json.loads(file.read_bytes())
        kind, version = meta["format"], meta["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is not the description of a molecule store; build the store again.") from error
    if kind != FORMAT or version != VERSION:
        raise ValueError(
            f"the store {path} has format {kind} {version}, this version reads {FORMAT} {VERSION}; "
            "build it again or change the version of coset."
        )
    try:
        _Meta.model_validate(meta)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{file} describes {place} in a way that is not known here ({first['msg'].lower()}); "
            "copy or build the store again."
        ) from None
    _check_arrays(file, meta)
    return meta


def map_array(path: Path, name: str, entry: dict[str, Any]) -> NDArray:
    """One array of a store, mapped read-only; ValueError where its file is missing or has another length."""
    file = array_file(path, name)
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    length = file.stat().st_size if file.is_file() else 0
    expected = math.prod(shape) * dtype.itemsize
    if length != expected:
        raise ValueError(
            f"the store {path} is damaged: {file.name} has {length} bytes, {expected} expected; copy or build it again."
        )
    if not expected:
        return np.empty(shape, dtype)  # an empty file cannot be mapped
    # A plain view: indexing the memmap class itself costs several times as much.
    return np.memmap(file, dtype=dtype, mode="r", shape=shape).view(np.ndarray)


def _check_arrays(file: Path, meta: dict[str, Any]) -> None:
    """Raises ValueError where the arrays of a description cannot be those of its molecules and atoms."""
    arrays, molecules, atoms = meta["arrays"], meta["molecules"], meta["atoms"]
    missing = [name for name in BASE if name not in arrays]
    if missing:
        raise ValueError(f"{file} lacks the arrays {', '.join(missing)}; copy or build the store again.")
    numbers = meta["vocabulary"]
    if len(set(numbers)) < len(numbers) or min(numbers) < 1 or max(numbers) > 118:
        raise ValueError(f"{file}: the vocabulary {numbers} is no list of distinct atomic numbers; build it again.")
    for name, entry in arrays.items():
        if not _fits(name, entry, molecules, atoms):
            raise ValueError(
                f"{file} describes the array {name!r} in a way that is not known here ({entry['dtype']}, "
                f"{entry['shape']}, {entry['encoding']}) for {molecules} molecules of {atoms} atoms; build it again."
            )


def _fits(name: str, entry: dict[str, Any], molecules: int, atoms: int) -> bool:
    """Whether an array of this description can belong to a store of so many molecules and atoms."""
    (length, *tail), encoding = entry["shape"], entry["encoding"]
    lengths = {columns.SIZES: molecules, columns.CONSTANT: 1, columns.BITMAP: length}
    if encoding == columns.RAW:
        expected = {"numbers": atoms, "positions": atoms, "offsets": molecules + 1}.get(name, molecules)
    else:
        expected = lengths[encoding] if name in ("offsets", "ids", "split") else -1
    if length != expected or not name.isidentifier():
        return False
    if name not in BASE:
        return True
    dtypes = {"numbers": ("|u1",), "positions": ("<f4", "<i2")}.get(name, DTYPES)
    whole = name == "positions" or np.dtype(entry["dtype"]).kind in "iu"
    return whole and entry["dtype"] in dtypes and tail == ([3] if name == "positions" else [])
