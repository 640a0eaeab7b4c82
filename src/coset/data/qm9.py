"""QM9: the standard split, and molecule stores made from an .npz table of it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coset.data.layout import SPLITS
from coset.data.store import Store
from coset.data.writer import StoreWriter, check_atoms, copy

ELEMENTS = (1, 6, 7, 8, 9)  # H, C, N, O, F: also of parts of it that happen to lack fluorine
TOTAL = 133_885  # molecules of GDB-9 in QM9's archive
SOURCE = "QM9 (Ramakrishnan et al. 2014, doi:10.1038/sdata.2014.22), B3LYP/6-31G(2df,p) geometries"
LICENCE = "CC0-1.0"
_CHUNK = 16_384  # molecules written at a time


class Split(NamedTuple):
    """0-based GDB-9 numbers of each part, in the order they were drawn."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]


def excluded_ids() -> NDArray[np.int64]:
    """The 3,054 molecules (0-based, rising) whose geometry did not survive QM9's consistency check."""
    return np.load(Path(__file__).with_name("qm9_excluded.npy"), allow_pickle=False).astype(np.int64)


def split(total: int = TOTAL, excluded: ArrayLike | None = None, train: int = 100_000) -> Split:
    """The split most papers on QM9 use (EDM and those after it): 100,000 / 17,748 / 13,083 molecules.

    The kept numbers below `total` in rising order are permuted by NumPy's legacy generator with seed 0; the
    first `train` train, the last tenth tests, the rest validates. `excluded` defaults to `excluded_ids()`.
    """
    kept = np.setdiff1d(np.arange(total), excluded_ids() if excluded is None else np.asarray(excluded))
    test = int(0.1 * len(kept))
    if len(kept) < train + test:
        raise ValueError(f"{len(kept)} molecules are too few for {train} to train and {test} to test on.")
    order = kept[np.random.RandomState(0).permutation(len(kept))]
    return Split(order[:train], order[train : len(kept) - test], order[len(kept) - test :])


def check_split(gdb_id: ArrayLike, split_column: ArrayLike) -> dict[str, int]:
    """How many molecules of each part of the standard split a table lacks.

    gdb_id (m,) counts from 1; split_column (m,) is 0 train, 1 valid, 2 test. Raises ValueError where one
    disagrees with `split()` or belongs to no part of it.
    """
    expected = np.full(TOTAL, 255, dtype=np.uint8)
    parts = split()
    for number, part in enumerate(parts):
        expected[part] = number
    ids, column = np.asarray(gdb_id).astype(np.int64) - 1, np.asarray(split_column)
    if ids.min() < 0 or ids.max() >= TOTAL or len(np.unique(ids)) != len(ids):
        raise ValueError(f"gdb_id must hold different numbers from 1 to {TOTAL}, and does not.")
    wrong = np.flatnonzero(expected[ids] != column)
    if len(wrong):
        first = wrong[0]
        part = dict(enumerate(SPLITS)).get(int(expected[ids[first]]), "excluded")
        raise ValueError(
            f"{len(wrong)} molecules are not where the standard QM9 split has them: "
            f"gdb_id {ids[first] + 1} is {part} there and has split {column[first]} here."
        )
    return {
        name: len(part) - int((column == i).sum()) for i, (name, part) in enumerate(zip(SPLITS, parts, strict=True))
    }


@dataclass(frozen=True)
class Table:
    """The arrays of the .npz file.

    gdb_id, n_atoms, split (m,): a molecule's number, size, and 0 train, 1 valid, 2 test. atomic_numbers (a,)
    and positions (a, 3) in Angstrom: concatenated over molecules.
    """

    gdb_id: NDArray
    n_atoms: NDArray
    atomic_numbers: NDArray
    positions: NDArray
    split: NDArray


def read(npz_path: str | Path) -> Table:
    """Loads and checks a table; raises FileNotFoundError or ValueError saying what is wrong with it."""
    path = Path(npz_path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no molecule table at {path}; expected an .npz file.")
    names = tuple(Table.__annotations__)
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in names if name in archive}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} cannot be read as an .npz file of plain arrays; copy it again.") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; a molecule table holds {', '.join(names)}.")
    table = Table(**found)
    lengths = {name: len(getattr(table, name)) for name in ("gdb_id", "n_atoms", "split")}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{path} has per-molecule arrays of different lengths: {told}.")
    try:
        check_atoms(table.atomic_numbers, table.positions, table.n_atoms.astype(np.int64))
    except ValueError as error:
        raise ValueError(f"{path} is not a molecule table: {error}") from error
    return table


def build(
    npz_path: str | Path,
    target: str | Path,
    splits: Iterable[str] | None = None,
    packed: bool = False,
    standard: bool = False,
) -> Store:
    """Makes a molecule store of the table `npz_path` (see `Table`) and opens it; ids are the table's gdb_id.

    splits: of "train", "valid", "test", the parts to keep; all by default. packed: 7 bytes an atom and one
    a molecule, positions to a thousandth of an Angstrom. standard: the table must be QM9 in the standard
    split (`check_split`), and the store's source says how much of it there is. Raises FileExistsError where
    the target exists, FileNotFoundError and ValueError as `read`.
    """
    table = read(npz_path)
    wanted = SPLITS if splits is None else tuple(splits)
    unknown = [name for name in wanted if name not in SPLITS]
    if unknown:
        raise ValueError(f"split {unknown[0]!r} is unknown; choose among {', '.join(SPLITS)}.")
    source, licence, name = f"table {Path(npz_path).name}", "", None
    if standard:
        absent = check_split(table.gdb_id, table.split)
        told = ", ".join(f"{count} of {part}" for part, count in absent.items() if count)
        source, licence, name = SOURCE + (f"; without {told}" if told else ""), LICENCE, "qm9"
    rows = np.flatnonzero(np.isin(table.split, [SPLITS.index(part) for part in wanted]))
    ends = np.cumsum(table.n_atoms, dtype=np.int64)
    elements = ELEMENTS if standard else ()
    about = {"name": name, "source": source, "licence": licence, "vocabulary": elements}
    with StoreWriter(target, packed=packed, **about) as writer:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            sizes = table.n_atoms[chunk].astype(np.int64)
            # Atom k of a chunk lies at its molecule's first atom plus its place in the molecule.
            shift = ends[chunk] - np.cumsum(sizes)
            atoms = np.repeat(shift, sizes) + np.arange(sizes.sum())
            writer.append(
                table.atomic_numbers[atoms],
                table.positions[atoms],
                sizes,
                ids=table.gdb_id[chunk],
                split=table.split[chunk],
            )
    return Store.open(target)


def sample(store: Store, target: str | Path, count: int = 2000) -> Store:
    """A packed store of `count` training molecules drawn with seed 0; of QM9's, the sample coset carries."""
    train = store.rows("train")
    rows = np.sort(train[np.random.RandomState(0).permutation(len(train))[:count]])
    source = f"{SOURCE}; {count} training molecules drawn with seed 0"
    return copy(store, target, rows, packed=True, name="qm9-sample", source=source)
