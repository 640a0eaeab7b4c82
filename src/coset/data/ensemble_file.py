"""Ensembles: the conformers of many molecules in one .npz, each molecule with its SMILES and in the SMILES' atom order.

Arrays of the file, m molecules: `smiles`, `key` (`name` in some files), `split` (0 train, 1 valid, 2 test), `n_atoms`,
`n_conformers` (m,); `atomic_numbers` of all molecules in turn; `positions` (Angstrom), molecule by molecule its
conformers in turn, each (n_atoms, 3); and, where known, one number a conformer: `energies` (kcal/mol above the lowest
of the molecule) and `weights` (populations). NaN stands for a number that is not known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem, rdBase

from coset.data.grouping import hash_key
from coset.data.splits import mix
from coset.files import atomic_write
from coset.files.npz import load_arrays

NAMES = {
    "smiles": "smiles",
    "key": "key",
    "split": "split",
    "sizes": "n_atoms",
    "counts": "n_conformers",
    "numbers": "atomic_numbers",
    "positions": "positions",
    "energies": "energies",
    "weights": "weights",
}
OPTIONAL = ("energies", "weights")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """k conformers of one molecule of n atoms. positions in Angstrom; energies in kcal/mol above the lowest."""

    smiles: str
    key: str
    numbers: Int[NDArray[np.int64], "n"]
    positions: Float[NDArray[np.float64], "k n 3"]
    energies: Float[NDArray[np.float64], "k"] | None = None
    weights: Float[NDArray[np.float64], "k"] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: ArrayLike) -> Ensemble:
        """Some of the conformers, by number or by a mask."""
        own = {name: getattr(self, name) for name in ("positions", *OPTIONAL)}
        return replace(self, **{name: None if each is None else each[rows] for name, each in own.items()})


@dataclass(frozen=True, eq=False)
class Ensembles:
    """Ensembles of m molecules as arrays; `ensembles[i]` is that of one. Raises ValueError for arrays that do not fit.

    numbers, positions: of all molecules in turn, as in the file. split: 0 train, 1 valid, 2 test.
    """

    smiles: NDArray[np.str_]
    key: NDArray[np.str_]
    split: UInt8[NDArray[np.uint8], "m"]
    sizes: Int[NDArray[np.int64], "m"]
    counts: Int[NDArray[np.int64], "m"]
    numbers: UInt8[NDArray[np.uint8], "a"]
    positions: Float[NDArray[np.float32], "p 3"]
    energies: Float[NDArray[np.float32], "c"] | None = None
    weights: Float[NDArray[np.float32], "c"] | None = None
    _starts: tuple[NDArray[np.int64], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        ends = (np.cumsum(each) for each in (self.sizes, self.counts, self.sizes * self.counts))
        object.__setattr__(self, "_starts", tuple(np.concatenate([np.zeros(1, np.int64), each]) for each in ends))

    @classmethod
    def load(cls, path: str | os.PathLike[str], split_by_molecule: bool = False) -> Ensembles:
        """Reads an .npz of such arrays; nothing in it is ever unpickled.

        A file without a split is all train, or with `split_by_molecule` what `parts` says. Raises FileNotFoundError,
        and ValueError that names the file and its fault.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file of ensembles {path}; check the path.")
        try:
            arrays = load_arrays(Path(path))
            return _from_arrays(arrays, split_by_molecule)
        except ValueError as error:
            raise ValueError(f"{path} is no whole file of ensembles: {str(error).rstrip('.')}.") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an .npz that `load` reads: whole, or not at all."""
        own = {file_name: getattr(self, name) for name, file_name in NAMES.items()}
        with atomic_write(path, "wb") as file:
            np.savez_compressed(file, **{name: each for name, each in own.items() if each is not None})

    @classmethod
    def of(cls, molecules: Sequence[Ensemble], split: ArrayLike | None = None) -> Ensembles:
        """From ensembles of single molecules; all train unless told otherwise. At least one."""
        if not molecules:
            raise ValueError("Ensembles hold at least one molecule, got none.")
        sizes, counts = ([len(part(each)) for each in molecules] for part in (lambda e: e.numbers, lambda e: e))
        per_conformer = {}
        for name in OPTIONAL:
            own = [getattr(each, name) for each in molecules]
            if any(each is not None for each in own):
                filled = [
                    np.full(count, np.nan) if each is None else each for each, count in zip(own, counts, strict=True)
                ]
                per_conformer[name] = np.concatenate(filled).astype(np.float32)
        return cls(
            np.array([each.smiles for each in molecules]), np.array([each.key for each in molecules]),
            np.zeros(len(sizes), np.uint8) if split is None else np.asarray(split, np.uint8),
            np.array(sizes), np.array(counts), np.concatenate([each.numbers for each in molecules]).astype(np.uint8),
            np.concatenate([each.positions.reshape(-1, 3) for each in molecules]).astype(np.float32), **per_conformer,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> Ensemble:
        row = range(len(self))[row]
        atoms, conformers, places = (slice(starts[row], starts[row + 1]) for starts in self._starts)
        return Ensemble(
            str(self.smiles[row]), str(self.key[row]), self.numbers[atoms].astype(np.int64),
            self.positions[places].reshape(self.counts[row], self.sizes[row], 3).astype(np.float64),
            *(None if each is None else each[conformers].astype(np.float64) for each in (self.energies, self.weights)),
        )  # fmt: skip

    def select(self, rows: ArrayLike) -> Ensembles:
        """Some of the molecules, by number or by a mask, in the order asked for; at least one."""
        given = np.asarray(rows)
        chosen = np.arange(len(self))[given if given.size else given.astype(np.int64)]
        if not len(chosen):
            raise ValueError("Ensembles hold at least one molecule, and none was selected.")
        atoms, conformers, places = (_ranges(starts, chosen) for starts in self._starts)
        index = {"numbers": atoms, "positions": places} | dict.fromkeys(OPTIONAL, conformers)
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return Ensembles(**{k: v[index.get(k, chosen)] for k, v in own.items() if v is not None})

    def rows(self, split: int) -> Int[NDArray[np.int64], "r"]:
        """Rows of one part: 0 train, 1 valid, 2 test."""
        return np.flatnonzero(self.split == split)


def concatenated(pieces: Sequence[Ensembles]) -> Ensembles:
    """The molecules of all, in turn; NaN for energies and weights that a piece does not have. At least one piece."""
    if not pieces:
        raise ValueError("Nothing to concatenate: give at least one set of ensembles.")
    own = {name: [getattr(each, name) for each in pieces] for name in NAMES}
    for name in OPTIONAL:
        if all(each is None for each in own[name]):
            del own[name]
            continue
        sizes = [int(each.counts.sum()) for each in pieces]
        filled = [np.full(n, np.nan, np.float32) if v is None else v for v, n in zip(own[name], sizes, strict=True)]
        own[name] = filled
    return Ensembles(**{name: np.concatenate(values) for name, values in own.items()})


def parts(smiles: Sequence[str]) -> UInt8[NDArray[np.uint8], "m"]:
    """A part for each molecule, 0 train, 1 valid, 2 test, about 80, 10 and 10 in 100, by a hash of its connectivity.

    Isomers that differ in stereo alone go together, and a molecule goes the same way whatever others there are, so that
    sets split like this can be put together.
    """
    hashes = mix(np.array([hash_key(connectivity(str(each))) for each in smiles], dtype=np.int64))
    tenth = hashes % np.uint64(10)
    return np.where(tenth == 0, 2, np.where(tenth == 1, 1, 0)).astype(np.uint8)


@lru_cache(maxsize=4096)
def connectivity(smiles: str) -> str:
    """Canonical SMILES without stereo; the text itself where it does not parse."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return smiles
        Chem.RemoveStereochemistry(mol)
        # Hydrogens kept for the sake of a double bond go; the rest of the graph is as it was.
        return Chem.MolToSmiles(Chem.RemoveHs(mol))


def _from_arrays(arrays: dict[str, NDArray], split_by_molecule: bool) -> Ensembles:
    if "key" not in arrays and "name" in arrays:
        arrays["key"] = arrays["name"]
    needed = [file_name for name, file_name in NAMES.items() if name not in (*OPTIONAL, "split")]
    if missing := [name for name in needed if name not in arrays]:
        raise ValueError(f"it has no {', '.join(missing)}")
    texts, whole = ("smiles", "key"), ("sizes", "counts", "numbers", "split")
    own = {name: arrays[file_name] for name, file_name in NAMES.items() if file_name in arrays}
    for name, each in own.items():
        kinds = "U" if name in texts else "iu" if name in whole else "f"
        if each.dtype.kind not in kinds or each.ndim != (2 if name == "positions" else 1):
            raise ValueError(f"{NAMES[name]} has the type {each.dtype} and the shape {each.shape}")
    if "split" not in own:
        own["split"] = parts(own["smiles"].tolist()) if split_by_molecule else np.zeros(len(own["smiles"]), np.uint8)
    for name, least, most in (("numbers", 1, 118), ("split", 0, 2), ("sizes", 1, 2**31), ("counts", 1, 2**31)):
        if len(own[name]) and not (own[name].min() >= least and own[name].max() <= most):
            raise ValueError(f"{NAMES[name]} holds numbers outside {least} to {most}")
    kinds = {"split": np.uint8, "sizes": np.int64, "counts": np.int64, "numbers": np.uint8}
    plain = {
        name: each if name in texts else each.astype(kinds.get(name, np.float32), copy=False)
        for name, each in own.items()
    }
    return Ensembles(**plain)


def _check(found: Ensembles) -> None:
    """Raises ValueError where lengths do not belong together or a position is not finite."""
    conformers = int(found.counts.sum())
    atoms, places = int(found.sizes.sum()), sum((found.sizes.astype(object) * found.counts).tolist())
    m = len(found.sizes)
    expected = {"smiles": m, "key": m, "split": m, "sizes": m, "counts": m, "numbers": atoms, "positions": places}
    expected |= dict.fromkeys(OPTIONAL, conformers)
    if not m:
        raise ValueError("it holds no molecule")
    for name, length in expected.items():
        each = getattr(found, name)
        if each is not None and len(each) != length:
            raise ValueError(f"{NAMES[name]} has {len(each):,} rows where {length:,} are expected")
    if found.positions.shape[1:] != (3,):
        raise ValueError(f"positions has the shape {found.positions.shape}, and 3 columns are expected")
    if not np.isfinite(found.positions).all():
        raise ValueError("positions holds a number that is not finite")


def _ranges(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from starts[r] to starts[r + 1] for each row r, in turn."""
    lengths = starts[rows + 1] - starts[rows]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts[rows], lengths) + within
