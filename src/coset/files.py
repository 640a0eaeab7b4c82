"""Molecules to and from files: SDF, XYZ, SMILES, NPZ."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from rdkit import Chem, rdBase

from coset.bonds import Perception, smiles, to_rdkit
from coset.molecule import Molecule, Property, element_symbol

# `key=value` of an extended XYZ comment; either side may stand in double quotes, with JSON escapes.
_PAIR = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)')
_COLUMNS = "species:S:1:pos:R:3"
_DECIMALS = 10


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an error."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        os.chmod(temporary, file_mode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_sdf(path: str | os.PathLike[str], molecules: Iterable[Molecule], perception: Perception = "distance") -> None:
    """Writes an SD file (gzipped where the name ends in .gz) with bonds, charges, and properties as tags.

    Bonds come from `to_rdkit`. Records are V3000 with 10 decimals, since rounding moves pairs across
    thresholds of the distance rule: 4 decimals (all that V2000 has) or 6 changed 1 of 5,185 generated
    molecules, 8 or more none. A property with a line break raises a ValueError.
    """
    with atomic_write(path, "wb") as file:
        stream = gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if str(path).endswith(".gz") else file
        for molecule in molecules:
            stream.write(_sd_record(to_rdkit(molecule, perception)).encode())
        if stream is not file:
            stream.close()


def write_xyz(path: str | os.PathLike[str], molecules: Iterable[Molecule]) -> None:
    """Writes frames of an extended XYZ file, Angstrom with 10 decimals, properties in the comment lines."""
    with atomic_write(path) as file:
        for molecule in molecules:
            pairs = [f"Properties={_COLUMNS}"]
            pairs += [f"{_quoted(name)}={_quoted(value)}" for name, value in molecule.properties.items()]
            file.write(f"{len(molecule)}\n{' '.join(pairs)}\n")
            for symbol, position in zip(molecule.symbols, molecule.positions.tolist(), strict=True):
                file.write(symbol + "".join(f" {value:.{_DECIMALS}f}" for value in position) + "\n")


def write_smiles(
    path: str | os.PathLike[str], molecules: Iterable[Molecule], perception: Perception = "distance"
) -> int:
    """Writes lines of canonical SMILES and the molecule's place in the list, from 1, between them a tab.

    Molecules whose bonds cannot be sanitised have no SMILES and are left out. Returns the number written.
    """
    written = 0
    with atomic_write(path) as file:
        for place, molecule in enumerate(molecules, start=1):
            graph = to_rdkit(molecule, perception)
            if graph.GetProp("sanitized") == "true":
                file.write(f"{smiles(graph)}\t{place}\n")
                written += 1
    return written


def read(path: str | os.PathLike[str]) -> list[Molecule]:
    """Reads .sdf, .sdf.gz, .xyz (many frames; QM9's own files too) or .npz; bonds in the file are not used.

    SD tags and extended XYZ keys become properties, numbers where they parse as such. An .npz holds `n_atoms`
    (b,), and over all molecules in turn `atomic_numbers` and `positions` in Angstrom; other rows of length b
    become properties. Raises FileNotFoundError, or a ValueError naming the file, the record (from 1), the
    fault.
    """
    path = Path(path)
    readers = {".sdf": _read_sdf, ".sdf.gz": _read_sdf, ".xyz": _read_xyz, ".npz": _read_npz}
    suffix = "".join(path.suffixes[-2:]).lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"Cannot read {path}: expected a name that ends in {', '.join(readers)}.")
    if not path.is_file():
        raise FileNotFoundError(f"Cannot read {path}: there is no such file.")
    molecules = list(readers[suffix](path))
    if not molecules:
        raise ValueError(f"{path} holds no molecule.")
    return molecules


def _sd_record(graph: Chem.Mol) -> str:
    options = Chem.MolWriterParams()
    options.precision = _DECIMALS
    options.includeStereo = False  # the coordinates say it
    options.kekulize = graph.GetProp("sanitized") == "true"
    with rdBase.BlockLogs():
        record = Chem.MolToV3KMolBlock(graph, options)
    for name in graph.GetPropNames():
        value = graph.GetProp(name)
        if re.search(r"[\r\n<>]", name) or re.search(r"[\r\n]", value):
            raise ValueError(f"Cannot write property {name!r} to an SD file: it holds a line break, < or >.")
        record += f">  <{name}>\n{value}\n\n"
    return record + "$$$$\n"


def _read_sdf(path: Path) -> Iterator[Molecule]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}.") from None
    with rdBase.BlockLogs():
        supplier = Chem.ForwardSDMolSupplier(io.BytesIO(content), sanitize=False, removeHs=False)
        for record, graph in enumerate(supplier, start=1):
            if graph is None:
                raise ValueError(f"{path}, record {record}: not a readable MOL block.")
            if graph.GetNumAtoms() == 0 or graph.GetNumConformers() == 0:
                raise ValueError(f"{path}, record {record}: holds no atoms with coordinates.")
            numbers = [atom.GetAtomicNum() for atom in graph.GetAtoms()]
            tags = {name: _number(graph.GetProp(name)) for name in graph.GetPropNames()}
            yield _molecule(path, record, numbers, graph.GetConformer().GetPositions(), tags)


def _read_xyz(path: Path) -> Iterator[Molecule]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    start, record = 0, 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        record += 1
        if not lines[start].strip().isdigit():
            raise ValueError(f"{path}, frame {record}: expected the number of atoms, got {lines[start]!r}.")
        count = int(lines[start])
        atoms = [line.split() for line in lines[start + 2 : start + 2 + count]]
        try:
            numbers = [_atomic_number(fields[0]) for fields in atoms]
            # QM9's files were written by Mathematica: 1.5*^-6
            positions = [[float(value.replace("*^", "e")) for value in fields[1:4]] for fields in atoms]
            if len(atoms) < count or any(len(position) != 3 for position in positions):
                raise ValueError(f"expected {count} lines of an element and three numbers")
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}, frame {record}: {error}.") from None
        comment = lines[start + 1]
        yield _molecule(path, record, numbers, positions, _comment(comment))
        # QM9's files end with frequencies, SMILES and InChI
        start += 2 + count + (3 if comment.startswith("gdb ") else 0)


def _read_npz(path: Path) -> Iterator[Molecule]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} is not a whole .npz file of plain arrays.") from None
    missing = {"n_atoms", "atomic_numbers", "positions"} - set(arrays)
    if missing or "n_conformers" in arrays:
        raise ValueError(f"{path}: expected n_atoms, atomic_numbers, positions; got {', '.join(arrays)}.")
    counts = arrays.pop("n_atoms").astype(np.int64)
    numbers, positions = arrays.pop("atomic_numbers"), arrays.pop("positions")
    if not len(numbers) == len(positions) == counts.sum():
        raise ValueError(
            f"{path}: n_atoms sums to {counts.sum()}, but there are {len(numbers)} atomic_numbers and "
            f"{len(positions)} positions."
        )
    rows = {name: values.tolist() for name, values in arrays.items() if values.shape == counts.shape}
    ends = np.cumsum(counts)
    for i, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        properties = {name: values[i] for name, values in rows.items()}
        yield _molecule(path, i + 1, numbers[start:end], positions[start:end], properties)


def _molecule(path: Path, record: int, numbers, positions, properties: Mapping[str, Property]) -> Molecule:
    try:
        return Molecule(np.asarray(numbers), np.asarray(positions), properties)
    except ValueError as error:
        raise ValueError(f"{path}, record {record}: {error}") from None


def _comment(comment: str) -> dict[str, Property]:
    pairs = _PAIR.findall(comment)
    if not pairs:
        return {"comment": comment.strip()} if comment.strip() else {}
    values = {_unquoted(name): (_unquoted if value[:1] == '"' else _number)(value) for name, value in pairs}
    values.pop("Properties", None)
    return values


def _quoted(value: Property) -> str:
    text = str(value)
    numeric = isinstance(value, str) and not isinstance(_number(text), str)  # the text "12" stays text
    return text if re.fullmatch(r'[^\s="\\]+', text) and not numeric else json.dumps(text)


def _unquoted(text: str) -> str:
    return json.loads(text) if text[:1] == '"' else text


def _number(text: str) -> Property:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _atomic_number(symbol: str) -> int:
    number = int(symbol) if symbol.isdigit() else _elements().get(symbol.capitalize())
    if number is None:
        raise ValueError(f"unknown element {symbol!r}")
    return number


@cache
def _elements() -> dict[str, int]:
    return {element_symbol(number): number for number in range(1, 119)}


@cache
def file_mode() -> int:
    """Permissions of a new file by the user's umask, which temporary files do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
