"""Reading molecules, one at a time: one place that names file and record in every error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coset.files import npz, sdf, xyz
from coset.files.text import Broken, lines
from coset.molecule import Molecule

Format = tuple[Callable[[Path], Iterator[Any]], Callable[[Any], Molecule]]
_SDF: Format = (lambda path: sdf.records(lines(path)), sdf.molecule)
_XYZ: Format = (lambda path: xyz.records(lines(path)), xyz.molecule)
_NPZ: Format = (npz.records, npz.molecule)
_FORMATS = {".sdf": _SDF, ".sdf.gz": _SDF, ".xyz": _XYZ, ".npz": _NPZ}
READABLE = tuple(_FORMATS)


def read(path: str | os.PathLike[str]) -> list[Molecule]:
    """All molecules of a file; see `iterate`."""
    return list(iterate(path))


def iterate(path: str | os.PathLike[str], on_error: Callable[[ValueError], object] | None = None) -> Iterator[Molecule]:
    """The molecules of a .sdf, .sdf.gz, .xyz (many frames; QM9's own files too) or .npz, one at a time.

    Bonds in the file are not used. SD tags and extended XYZ keys become properties, numbers where they parse as
    such. An .npz holds `n_atoms` (b,), and over all molecules in turn `atomic_numbers` and `positions` in Angstrom;
    other rows of length b become properties.

    on_error: told of every record that cannot be read, which is then skipped; without it the first one raises.
    Raises FileNotFoundError, or a ValueError that names the file, the record (from 1) and the fault; the latter even
    with on_error where no later record can be found (a cut .gz, a wrong count in an .xyz) or there is none at all.
    """
    path = Path(path)
    suffix = next((known for known in READABLE if path.name.lower().endswith(known)), None)
    if path.is_dir():
        raise ValueError(f"Cannot read {path}: it is a folder; give a file in it.")
    if suffix is None:
        raise ValueError(f"Cannot read {path}: expected a name that ends in {', '.join(READABLE)}.")
    if not path.is_file():
        raise FileNotFoundError(f"Cannot read {path}: there is no such file; check the path.")
    return _iterate(path, _FORMATS[suffix], on_error)


def _iterate(path: Path, form: Format, on_error: Callable[[ValueError], object] | None) -> Iterator[Molecule]:
    records, molecule = form
    try:
        blocks, record = records(path), 0
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None
    while True:
        record += 1
        try:
            block = next(blocks)
        except StopIteration:
            break
        except Broken as error:
            raise ValueError(f"{path}, record {record}: {error}.") from None
        try:
            found = molecule(block)
        except ValueError as error:
            named = ValueError(f"{path}, record {record}: {str(error).rstrip('.')}.")
            if on_error is None:
                raise named from None
            on_error(named)
        else:
            yield found
    if record == 1:
        raise ValueError(f"{path} holds no molecule.")
