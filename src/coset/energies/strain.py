"""Strain: how much energy molecules lose when they relax, beside what the data's own lose."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from coset.bonds import Located
from coset.energies.atoms import Atoms
from coset.energies.batch import Progress, run
from coset.energies.potentials import METHODS, check_method
from coset.energies.relaxation import Limits, Relaxation, relax

DATA = ("qm9", "qm9-small", "drug-like")
_LIBRARY = {"mmff": "rdkit", "xtb": "tblite"}


@dataclass(frozen=True)
class StrainReport:
    """Strain of m molecules by one method.

    strain: energy before less after relaxation (m,) in kcal/mol; rmsd_heavy: shift of the heavy atoms (m,) in Angstrom;
    both NaN where there is no relaxed molecule. failures: molecules that could not be relaxed, by reason. same_bonds:
    relaxed molecules with the same pairs bonded before and after. data: `summary` of the data's own molecules.
    """

    method: str
    limits: Limits
    strain: Float[NDArray[np.float64], "m"]
    rmsd_heavy: Float[NDArray[np.float64], "m"]
    same_bonds: int
    failures: Mapping[str, int] = field(default_factory=dict)
    reference: str | None = None
    data: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, found: Sequence[Relaxation], limits: Limits | None = None, reference: str | None = None
    ) -> StrainReport:
        """From relaxations by one method. reference: a name of `DATA` to set beside."""
        if not found:
            raise ValueError("There is no molecule to report the strain of.")
        failures = Counter(each.failure for each in found if each.failure is not None)
        return cls(
            found[0].method,
            limits or Limits(),
            np.array([each.strain for each in found]),
            np.array([each.rmsd_heavy if each.converged else math.nan for each in found]),
            sum(each.converged and each.same_bonds for each in found),
            dict(sorted(failures.items())),
            reference,
            data_strain(reference, found[0].method) if reference else None,
        )

    @property
    def relaxed(self) -> int:
        return int(np.isfinite(self.strain).sum())

    def summary(self) -> dict[str, Any]:
        """Plain values: counts, and first quartile, median, third quartile of strain and shift (None for none)."""
        return {
            "method": METHODS[self.method],
            "molecules": len(self.strain),
            "relaxed": self.relaxed,
            "same_bonds": self.same_bonds,
            "failures": dict(self.failures),
            "strain_kcal_mol": quartiles(self.strain),
            "rmsd_heavy_angstrom": quartiles(self.rmsd_heavy),
            "force_kcal_mol_angstrom": self.limits.force,
        }

    def lines(self) -> list[str]:
        """The summary in words, with the data's own beside where there is one."""
        found = self.summary()
        text = [f"{found['relaxed']} of {found['molecules']} relaxed with {found['method']}"]
        if self.relaxed:
            text.append(f"strain {_range(found['strain_kcal_mol'], 'kcal/mol')}{self._own('strain_kcal_mol')}")
            if quartiles(self.rmsd_heavy):
                shift = _range(found["rmsd_heavy_angstrom"], "Å")
                text.append(f"shift of heavy atoms {shift}{self._own('rmsd_heavy_angstrom')}")
            text.append(f"{self.same_bonds} keep their bonds (pairs by the distance rule)")
        if self.failures:
            told = ", ".join(f"{count} {reason}" for reason, count in self.failures.items())
            text.append(f"not relaxed: {told}")
        return text

    def _own(self, name: str) -> str:
        return f"; {self.reference}'s own {_range(self.data[name], '')}" if self.data else ""


def relax_all(
    molecules: Sequence[Located],
    method: str = "mmff",
    limits: Limits | None = None,
    charge: int | None = None,
    workers: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Relaxation]:
    """`relax` for many molecules, in their order. workers, kept, progress: see `batch.run`.

    charge: total charge of every one; without, each molecule's own (`Atoms.charge`), which is 0 where it tells none.
    """
    check_method(method)
    limits = limits or Limits()
    atoms = [Atoms.of(molecule, charge) for molecule in molecules]
    label = f"relax 1 {method} {limits} {_LIBRARY[method]} {version(_LIBRARY[method])}"
    task = partial(_relax, method=method, limits=limits)
    records = run(task, label, atoms, workers, kept, progress)
    return [
        Relaxation(method, each.positions, failure="crashed", sentence="the calculation ended its process")
        if record.get("crashed")
        else Relaxation.of(record)
        for each, record in zip(atoms, records, strict=True)
    ]


def strain(
    molecules: Sequence[Located],
    method: str = "mmff",
    reference: str | None = "qm9",
    limits: Limits | None = None,
    workers: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> StrainReport:
    """Strain of molecules beside the data's own. Raises ValueError for no molecule and as `check_method`.

    reference: a name of `DATA` or None. The rest as for `relax_all`.
    """
    found = relax_all(molecules, method, limits, workers=workers, kept=kept, progress=progress)
    return StrainReport.of(found, limits, reference)


def data_strain(reference: str, method: str) -> Mapping[str, Any] | None:
    """`StrainReport.summary` of molecules of a data set's test split; None for a data set that has none packaged.

    1,000 molecules (300 for xtb; of drug-like 300 and 30), drawn by seed 0. QM9's geometries are B3LYP minima and so
    none of these methods': the strain they show is what the methods' disagreement alone makes. Written by
    benchmarks/energies.py.
    """
    return _packaged().get(reference, {}).get(method)


def quartiles(values: Float[NDArray[np.float64], "m"]) -> list[float] | None:
    """First quartile, median and third quartile of the finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    return np.percentile(finite, [25, 50, 75]).tolist() if len(finite) else None


def _relax(atoms: Atoms, method: str, limits: Limits) -> dict[str, Any]:
    return relax(atoms, method, limits).to_dict()


def _range(values: Sequence[float], unit: str) -> str:
    low, middle, high = values
    return f"{middle:.2f}{' ' if unit else ''}{unit} ({low:.2f} - {high:.2f})"


@cache
def _packaged() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    source = resources.files("coset.energies") / "strain_of_data.json"
    return json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
