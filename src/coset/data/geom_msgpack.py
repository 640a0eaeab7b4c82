"""GEOM's `drugs_crude.msgpack`: a stream of maps of molecules, read one molecule at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from coset.data.atom_order import Unusable, atomic_numbers, graph_orders, intact, near, reference
from coset.data.geom_molecules import Conformer, Entry, RawMolecule, Source, located, number

_LARGEST = 100 * 2**20  # bytes of one molecule, of one text and of what is buffered
_LIMITS = {"max_buffer_size": _LARGEST, "max_str_len": 2**16, "max_bin_len": 2**20, "max_array_len": 2**20,
           "max_map_len": 2**20, "max_ext_len": 2**10}  # fmt: skip


def sources(path: Path, progress: Callable[[float], object] | None = None) -> Iterator[Source]:
    """The molecules of a msgpack file, one after the other, as `entries` reads them.

    Conformers come without bonds, which are taken from the SMILES where distances fit them.
    """
    for each in entries(path, progress):
        yield Source(each.smiles, partial(_molecule, each.smiles, each.read()))


def entries(path: Path, progress: Callable[[float], object] | None = None) -> Iterator[Entry]:
    """The keys and values of the molecules of a msgpack file, in its order.

    Memory holds one molecule, never a map of a thousand. progress: told the share read so far. Raises
    FileNotFoundError, and ValueError where the file ends early or is no stream of maps, or msgpack is not installed.
    """
    msgpack = _library()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give GEOM's drugs_crude.msgpack or its rdkit_folder.")
    return _stream(msgpack, path, progress)


def _stream(msgpack: Any, path: Path, progress: Callable[[float], object] | None) -> Iterator[Entry]:
    size = path.stat().st_size
    with path.open("rb") as file:
        stream = msgpack.Unpacker(file, raw=False, strict_map_key=False, **_LIMITS)
        try:
            while stream.tell() < size:
                for _ in range(stream.read_map_header()):
                    smiles, content = stream.unpack(), stream.unpack()
                    if progress:
                        progress(stream.tell() / size)
                    yield Entry(str(smiles), partial(_given, content))
        except msgpack.OutOfData:
            raise ValueError(f"{path} ends in the middle of a molecule, at byte {size:,}; copy it again.") from None
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
            raise ValueError(f"{path} is no stream of molecules near byte {stream.tell():,} ({reason}).") from None


def _given(content: Any) -> Any:
    return content


def _molecule(smiles: Any, content: Any) -> RawMolecule:
    conformers = content.get("conformers") if isinstance(content, dict) else None
    if not isinstance(smiles, str) or not isinstance(conformers, list):
        raise Unusable("no conformers", "it has no list of conformers")
    mol = reference(smiles)
    found, order = [], None
    for values in conformers:
        made, order = _conformer(mol, values, order) if isinstance(values, dict) else (None, order)
        found.append(made)
    return RawMolecule(smiles, [each for each in found if each is not None], len(conformers))


def _conformer(
    mol: Chem.Mol, values: Mapping[str, Any], order: np.ndarray | None
) -> tuple[Conformer | None, np.ndarray | None]:
    """A conformer with the bonds of the SMILES, None where distances show others; and the order of atoms to try next.

    Conformers of one molecule mostly have one order, and a fresh search would bring another of the equivalent ones.
    """
    try:
        table = np.array(values["xyz"], dtype=np.float64)
    except (KeyError, ValueError, TypeError):
        return None, order
    wanted = atomic_numbers(mol)
    if table.shape != (len(wanted), 4) or not np.isfinite(table).all():
        return None, order
    numbers, positions = table[:, 0].astype(np.int64), table[:, 1:]
    weight, energy = number(values.get("boltzmannweight")), number(values.get("relativeenergy"))
    if sorted(numbers.tolist()) != sorted(wanted.tolist()):
        return None, order
    if order is None or not _fits(mol, numbers, positions, order):
        order = next(graph_orders(mol, numbers, near(numbers, positions)), None)
        if order is None or not _fits(mol, numbers, positions, order):
            return None, None
    return Conformer(located(mol, positions[order]), weight, energy), order


def _fits(mol: Chem.Mol, numbers: np.ndarray, positions: np.ndarray, order: np.ndarray) -> bool:
    return (numbers[order] == atomic_numbers(mol)).all() and bool(intact(mol, positions[order][None])[0])


def _library() -> Any:
    try:
        import msgpack
    except ImportError:
        raise ValueError("GEOM's .msgpack files need msgpack; run: pip install 'coset[geom]'") from None
    return msgpack
