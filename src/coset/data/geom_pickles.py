"""GEOM's `rdkit_folder`: a JSON summary and one pickle a molecule, unpickled by an allow-list of classes.

Unpickling calls whatever the file names, so anything but the few classes listed here is refused before it is looked up.
GEOM: Axelrod and Gomez-Bombarelli 2022.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from rdkit import Chem

from coset.data.atom_order import Unusable
from coset.data.geom_molecules import Conformer, Entry, RawMolecule, Source, number

SUMMARIES = ("summary_{}.json", "{}_summary.json")  # both names are met
SUBSETS = ("drugs", "qm9")
_LARGEST = 2**30  # bytes of one pickle

Allowed = Mapping[tuple[str, str], Any]
MOLECULES: Allowed = {("rdkit.Chem.rdchem", "Mol"): Chem.Mol}
# As numpy itself writes arrays and scalars; the module's name changed with numpy 2.
_ARRAY, _SCALAR = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
NUMPY: Allowed = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _ARRAY for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, allowed: Allowed) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            known = ", ".join(".".join(each) for each in self._allowed)
            raise Unusable(
                "pickle of a class that is not allowed",
                f"the pickle asks for {module}.{name}, which is not loaded: only {known} and Python's plain values "
                "are; do not use this file unless you trust who made it",
            ) from None


def unpickle(data: bytes, allowed: Allowed = MOLECULES) -> Any:
    """The object of a pickle of plain values and the classes allowed. Raises `Unusable` for anything else."""
    try:
        return _Unpickler(io.BytesIO(data), allowed).load()
    except Unusable:
        raise
    except Exception as error:  # damaged bytes raise some ten kinds of errors, RDKit's own among them
        raise Unusable("damaged pickle", f"not a whole pickle ({_first_line(error)})") from None


def sources(root: Path, subset: str | None = None, allow_numpy: bool = False) -> Iterator[Source]:
    """The molecules of a `rdkit_folder`, in the summary's order, each read when it is asked for.

    subset: "drugs" or "qm9", where both are there. allow_numpy: also numpy's arrays and scalars in pickles. Raises
    FileNotFoundError and ValueError for a folder without a summary that can be read.
    """
    root, summary = read_summary(root, subset)
    for smiles, path in _paths(summary):
        name = Path(path).name if isinstance(path, str) else ""
        yield Source(smiles, partial(_molecule, root, smiles, path, allow_numpy), name)


def entries(root: Path, subset: str | None = None, allow_numpy: bool = False) -> Iterator[Entry]:
    """The keys and values of the molecules' pickles, otherwise as `sources`."""
    root, summary = read_summary(root, subset)
    for smiles, path in _paths(summary):
        yield Entry(smiles, partial(_content, root, path, allow_numpy))


def read_summary(root: Path, subset: str | None = None) -> tuple[Path, dict[str, Any]]:
    """The folder that holds the summary and the summary itself, by SMILES. subset: "drugs" or "qm9", where both are."""
    root = root / "rdkit_folder" if (root / "rdkit_folder").is_dir() else root
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give GEOM's rdkit_folder or its drugs_crude.msgpack.")
    wanted = SUBSETS if subset is None else (subset,)
    found = [root / name.format(each) for each in wanted for name in SUMMARIES if (root / name.format(each)).is_file()]
    if not found:
        raise FileNotFoundError(f"{root} holds no summary_{'/'.join(wanted)}.json; give GEOM's rdkit_folder.")
    if subset is None and len({each.name.replace("summary", "").strip("_") for each in found}) > 1:
        raise ValueError(f"{root} holds the summaries of both {' and '.join(SUBSETS)}; choose one with --subset.")
    try:
        summary = json.loads(found[0].read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{found[0]} is no whole JSON file ({_first_line(error)}); copy it again.") from None
    if not isinstance(summary, dict):
        raise ValueError(f"{found[0]} must map SMILES to entries, got a {type(summary).__name__}.")
    return root, summary


def file_names(root: Path, subset: str | None = None) -> list[str]:
    """Names of all pickles beside the summary's, sorted: what the published splits count by."""
    root, summary = read_summary(root, subset)
    paths = (entry.get("pickle_path") for entry in summary.values() if isinstance(entry, dict))
    folders = sorted({str(Path(each).parent) for each in paths if isinstance(each, str)})
    return sorted(path.name for each in folders if _inside(root, each) for path in (root / each).glob("*.pickle"))


def read_split(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Train, valid and test of a `split*.npy`: three rows of numbers, mostly an array of objects.

    Such an array is a pickle, and read as one: numpy's arrays alone are allowed. Raises ValueError in one sentence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} of a split; give the path of split0.npy or the like.")
    try:
        with path.open("rb") as file:
            readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            _, _, dtype = readers[npy.read_magic(file)](file)
            if dtype.hasobject:
                found = unpickle(file.read(_LARGEST), NUMPY)
            else:
                file.seek(0)
                found = npy.read_array(file, allow_pickle=False)
        rows = [np.asarray(each) for each in found]
    except Unusable as error:
        raise ValueError(f"{path}: {error}.") from None
    except Exception as error:
        raise ValueError(f"{path} is no whole .npy file ({_first_line(error)}); copy it again.") from None
    if len(rows) != 3 or any(each.ndim != 1 or each.dtype.kind not in "iu" for each in rows):
        raise ValueError(f"{path} must hold three rows of whole numbers (train, valid, test), and does not.")
    train, valid, test = (each.astype(np.int64) for each in rows)
    return train, valid, test


def _paths(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """SMILES and pickle_path of each molecule of a summary, None where it names none."""
    for smiles, entry in summary.items():
        yield smiles, entry.get("pickle_path") if isinstance(entry, dict) else None


def _content(root: Path, path: Any, allow_numpy: bool) -> Any:
    """What the pickle of a molecule holds."""
    if not isinstance(path, str):
        raise Unusable("no file", "its summary names no pickle")
    if not _inside(root, path):
        raise Unusable("file outside the folder", f"its pickle_path {path!r} leads out of the folder")
    file = root / path
    if not file.is_file():
        raise Unusable("no file", f"there is no file {path}")
    if file.stat().st_size > _LARGEST:
        raise Unusable("file too large", f"{path} has more than {_LARGEST:,} bytes")
    return unpickle(file.read_bytes(), {**MOLECULES, **NUMPY} if allow_numpy else MOLECULES)


def _molecule(root: Path, smiles: str, path: Any, allow_numpy: bool) -> RawMolecule:
    content = _content(root, path, allow_numpy)
    conformers = content.get("conformers") if isinstance(content, dict) else None
    if not isinstance(conformers, list | tuple):
        raise Unusable("no conformers", f"{path} holds no list of conformers")
    found = [_conformer(each) for each in conformers if isinstance(each, dict)]
    return RawMolecule(smiles, [each for each in found if each is not None], len(conformers))


def _conformer(values: Mapping[str, Any]) -> Conformer | None:
    """None for one without a structure."""
    mol = values.get("rd_mol")
    if not isinstance(mol, Chem.Mol) or mol.GetNumConformers() != 1 or not mol.GetNumAtoms():
        return None
    return Conformer(mol, number(values.get("boltzmannweight")), number(values.get("relativeenergy")))


def _inside(root: Path, path: str) -> bool:
    return (root / path).resolve().is_relative_to(root.resolve())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
