"""EnsembleWriter: writes a file of ensembles molecule by molecule, whole or not at all."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from coset.data.ensemble_file import NAMES, OPTIONAL, Ensemble
from coset.files import atomic_write, check_writable

_GROWING = {"numbers": "|u1", "positions": "<f4", "energies": "<f4", "weights": "<f4"}  # arrays that lie on disk
FAILURES = ("smiles", "reason", "sentence")


class EnsembleWriter:
    """Appends ensembles to a new file; a context manager.

    Memory holds what is one row a molecule; the rest waits in a hidden folder beside the target, which is removed
    however the block ends. The file takes its name when the block ends without an error. Raises what
    `files.check_writable` raises at once, and ValueError at the end where no molecule was appended.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_writable(path)
        self.path = Path(path)
        self._texts: dict[str, list[str]] = {"smiles": [], "key": []}
        self._rows: dict[str, list[int]] = {"split": [], "sizes": [], "counts": []}
        self._known: dict[str, bool] = {}

    def append(self, ensemble: Ensemble, split: int) -> None:
        """Adds a molecule with at least one conformer. split: 0 train, 1 valid, 2 test."""
        own: dict[str, NDArray] = {"numbers": ensemble.numbers, "positions": ensemble.positions}
        for name in OPTIONAL:
            given = getattr(ensemble, name)
            self._known[name] = self._known.get(name, False) or (given is not None and bool(np.isfinite(given).any()))
            own[name] = np.full(len(ensemble), np.nan) if given is None else given
        for name, values in own.items():
            self._files[name].write(np.ascontiguousarray(values, dtype=_GROWING[name]).tobytes())
        for name in self._texts:
            self._texts[name].append(getattr(ensemble, name))
        for name, value in (("split", split), ("sizes", len(ensemble.numbers)), ("counts", len(ensemble))):
            self._rows[name].append(value)

    def __len__(self) -> int:
        return len(self._rows["sizes"])

    def __enter__(self) -> EnsembleWriter:
        self._folder = Path(tempfile.mkdtemp(dir=self.path.resolve().parent, prefix=f".{self.path.name[:100]}."))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._files: dict[str, IO[bytes]] = {
            name: self._stack.enter_context((self._folder / name).open("w+b")) for name in _GROWING
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if not len(self):
            raise ValueError(f"no molecule is left for {self.path}, which must hold at least one.")
        whole = {name: np.array(each) for name, each in self._texts.items()}
        whole |= {name: np.array(each, "|u1" if name == "split" else "<i4") for name, each in self._rows.items()}
        with atomic_write(self.path, "wb") as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, values in whole.items():
                with archive.open(_member(name), "w", force_zip64=True) as member:
                    npy.write_array(member, values, allow_pickle=False)
            for name, file in self._files.items():
                if self._known.get(name, True):
                    self._copy(name, file, archive)

    def _copy(self, name: str, file: IO[bytes], archive: zipfile.ZipFile) -> None:
        """One of the arrays on disk, with its header, into the archive."""
        dtype = np.dtype(_GROWING[name])
        count = file.tell() // dtype.itemsize
        shape = (count // 3, 3) if name == "positions" else (count,)
        file.seek(0)
        with archive.open(_member(name), "w", force_zip64=True) as member:
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(member, header)
            shutil.copyfileobj(file, member, 1 << 20)


def _member(name: str) -> zipfile.ZipInfo:
    """By the name in the file and always at the same date, so that equal ensembles are equal files."""
    info = zipfile.ZipInfo(f"{NAMES[name]}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def failures_file(path: str | os.PathLike[str]) -> Path:
    """Where what could not be made is told: beside the file of ensembles."""
    return Path(path).with_suffix(".failures.csv")


def write_failures(path: Path, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = FAILURES) -> None:
    """A table of what failed, with reasons; no file where there is nothing to tell, nor one from an earlier run."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows([each.encode("utf-8", "replace").decode() for each in row] for row in rows)
