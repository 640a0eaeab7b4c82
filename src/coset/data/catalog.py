"""Data sets by name: `open_dataset("qm9")`, "qm9-small", "qm9-sample", "geom-drugs", "drug-like", or a path."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coset.data import drugs, qm9
from coset.data.npz_names import holds_ensembles
from coset.data.splits import held_out
from coset.data.store import Store

SMALL = 14  # atoms of the largest molecule of qm9-small
HOLD_OUT, MOST_HELD_OUT = 0.05, 1000


@dataclass(frozen=True)
class Dataset:
    """A store and the rows of it (int64, rising) to train on, validate and test with."""

    name: str
    store: Store
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Atomic numbers that a model of it knows: QM9's five or GEOM-Drugs' 16 by name, else the store's."""
        named = _ELEMENTS.get(self.name, ())
        return named if set(self.store.vocabulary) <= set(named) else self.store.vocabulary

    def size_histogram(self) -> dict[int, int]:
        """Number of training molecules of each number of atoms, rising; p(N) is this over its sum."""
        sizes, counts = np.unique(self.store.sizes[self.train], return_counts=True)
        return dict(zip(sizes.tolist(), counts.tolist(), strict=True))

    def describe(self) -> str:
        """A few lines for people: what it holds, where it comes from, where it lies."""
        from coset.molecule import Vocabulary  # which brings torch along

        sizes = self.store.sizes[np.concatenate([self.train, self.valid, self.test])]
        parts = f"{len(self.train):,} train, {len(self.valid):,} valid, {len(self.test):,} test"
        kind = "int16 milli-Angstrom" if self.store.packed else "float32 Angstrom"
        units = self.store.units
        columns = [f"{name} ({units[name]})" if name in units else name for name in self.store.extra if name != "group"]
        lines = [
            f"{self.name}: {len(sizes):,} molecules ({parts})",
            f"atoms: {sizes.min()} to {sizes.max()} a molecule, {sizes.mean():.2f} on average",
            f"elements: {', '.join(Vocabulary(self.vocabulary).symbols)}",
            f"columns: {', '.join(columns)}" if columns else "",
            _groups(self.store),
            f"source: {self.store.meta.get('source') or 'not stated'}",
            f"licence: {self.store.meta.get('licence') or 'not stated'}",
            f"store: {self.store.path} ({kind}, {_bytes(self.store.path) / 1e6:,.1f} MB)",
        ]
        return "\n".join(line for line in lines if line)


def open_dataset(name_or_path: str | Path, hold_out: float = HOLD_OUT) -> Dataset:
    """A data set by its name (`NAMES`), by a store's folder (`coset data build`), or by an .npz: a
    table (`qm9.Table`), or ensembles, whose conformers are the molecules then.

    A store that has no validation molecules gets some of its training ones, chosen by a hash of their id,
    or of their `group` so that conformers of a molecule stay together: the fraction `hold_out`, at most
    1,000; 0 leaves it without. Raises FileNotFoundError and ValueError with what to do.
    """
    if not 0 <= hold_out < 1:
        raise ValueError(f"hold_out is a fraction of the training molecules in [0, 1), got {hold_out}.")
    name = str(name_or_path)
    if name in NAMES:
        store, limit = NAMES[name]()
    else:
        store, limit = _from_path(Path(name_or_path)), None
        name = store.name
    train, valid, test = (store.rows(part, max_atoms=limit) for part in ("train", "valid", "test"))
    if not len(valid) and hold_out:
        keys = store.extra.get("group", store.ids)[train]
        held = held_out(keys, min(MOST_HELD_OUT, round(hold_out * len(train))))
        train, valid = train[~held], train[held]
    return Dataset(name, store, train, valid, test)


def cache_folder() -> Path:
    """Where built stores are kept: $COSET_CACHE, else $XDG_CACHE_HOME/coset, else ~/.cache/coset."""
    if folder := os.environ.get("COSET_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coset"


def _qm9() -> Store:
    target = cache_folder() / "qm9"
    if target.exists():
        return Store.open(target)
    folder = os.environ.get("COSET_DATA")
    table = Path(folder) / "qm9.npz" if folder else None
    if table is None or not table.is_file():
        tried = f"there is no {table}" if table else "COSET_DATA is not set"
        raise FileNotFoundError(
            f"the data set qm9 is not in {target} and {tried}; run `coset data build qm9`, which downloads it, "
            "set COSET_DATA to a folder that holds qm9.npz, or use qm9-sample, which needs no files."
        )
    return _built(target, lambda: qm9.build(table, target, standard=True))


def _sample() -> Store:
    return Store.open(Path(__file__).parent / "qm9_sample")


def _geom_drugs() -> Store:
    target = cache_folder() / drugs.NAME
    if not target.exists():
        raise FileNotFoundError(
            f"the data set {drugs.NAME} is not in {target}, and GEOM is not downloaded; run `coset data build "
            f"{drugs.NAME} --from PATH` with the path of its drugs_crude.msgpack or rdkit_folder, or use drug-like."
        )
    return Store.open(target)


def _drug_like() -> Store:
    target = cache_folder() / "drug-like"
    if target.exists():
        return Store.open(target)
    from coset.data.ensemble_store import drug_like  # which brings torch along

    return _built(target, lambda: drug_like(target))


NAMES: dict[str, Callable[[], tuple[Store, int | None]]] = {
    "qm9": lambda: (_qm9(), None),
    "qm9-small": lambda: (_qm9(), SMALL),
    "qm9-sample": lambda: (_sample(), None),
    "geom-drugs": lambda: (_geom_drugs(), None),
    "drug-like": lambda: (_drug_like(), None),
}
_ELEMENTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("qm9", "qm9-small", "qm9-sample"), qm9.ELEMENTS),
    **dict.fromkeys(("geom-drugs", "drug-like"), drugs.ELEMENTS),
}


def _from_path(path: Path) -> Store:
    if path.suffix == ".npz" and path.is_file():
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        target = cache_folder() / f"{path.stem}-{key}"
        return _built(target, lambda: _make(path, target))
    if path.is_dir():
        try:
            return Store.open(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{str(error).rstrip('.')}; if it holds molecule files, run `coset data build {path} -o STORE` first."
            ) from None
    raise FileNotFoundError(
        f"{str(path)!r} is no data set: expected one of {', '.join(NAMES)}, the folder of a molecule store, "
        "or an .npz of a table or of ensembles; make a store of .sdf, .xyz or .npz files with `coset data build`."
    )


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _groups(store: Store) -> str:
    """How many groups of conformers there are, and whether some are in more than one part."""
    group = store.extra.get("group")
    if group is None:
        return ""
    count = len(np.unique(group))
    if sum(len(np.unique(group[store.split == part])) for part in np.unique(store.split)) == count:
        return f"groups: {count:,}, each in one part (conformers of a molecule)"
    return f"groups: {count:,} (conformers of a molecule), some in several parts: what is tested on leaks into train"


def _make(path: Path, target: Path) -> Store:
    """A store of an .npz, be it of ensembles or of single molecules."""
    if not holds_ensembles(path):
        return qm9.build(path, target)
    from coset.data.ensemble_store import build  # which brings torch along

    return build(path, target)[0]


def _built(target: Path, make: Callable[[], Store]) -> Store:
    """A store, made once; of two processes at it the slower opens what the faster made."""
    try:
        if not target.exists():
            with contextlib.suppress(FileExistsError):
                make()
    except PermissionError as error:
        raise PermissionError(f"the store {target} cannot be written; set COSET_CACHE to a folder that can.") from error
    return Store.open(target)
