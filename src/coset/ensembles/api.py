"""Conformers of one molecule, as an RDKit molecule."""

from __future__ import annotations

import os
import warnings
from numbers import Integral

from rdkit import Chem

from coset.ensembles.core import read_core
from coset.ensembles.jobs import made
from coset.ensembles.methods import SECONDS, Method, method_of
from coset.ensembles.plan import Plan
from coset.ensembles.refine import AfterWork
from coset.ensembles.requests import Request, of_smiles


class LeftOut(UserWarning):
    """Some conformers were left out; the text says how many and why."""


def conformers(
    smiles_or_mol: str | Chem.Mol,
    n: int = 10,
    seed: int = 0,
    method: str | Method = "learned",
    *,
    model: str | None = None,
    device: str = "cpu",
    relax: str | None = None,
    prune: float | None = None,
    window: float | None = None,
    core: str | os.PathLike[str] | None = None,
    time_limit: float = SECONDS,
) -> Chem.Mol:
    """The molecule with explicit hydrogens and up to n conformers, in the order of its atoms; missing hydrogens last.

    The same molecule and seed give the same conformers, here and in `coset conformers`. method: "learned", "rdkit",
    "rdkit-mmff", or a `Method` that is loaded already; model: a packaged model's name or a path, for "learned".
    relax: "mmff" or "xtb"; prune: RMSD in Angstrom; window: kcal/mol; core: a file of one molecule in 3D. Energies and
    weights are properties of the conformers (`GetDoubleProp("energy_kcal_mol")`). Every conformer has the stereo asked
    for; a `LeftOut` warning says how many were left out for that or for another reason.
    Raises ValueError, one sentence, for a molecule or options that cannot be treated and where no conformer is left.
    """
    _check_molecule(smiles_or_mol)
    n, seed = _whole("n", n), _whole("seed", seed)
    if isinstance(method, str):
        method = method_of(method, model, device, seconds=time_limit)
    after = AfterWork(relax, prune, window, time_limit)
    around = None if core is None else read_core(core)
    plan = Plan(n, seed, after, around, time_limit, {"seed": seed, "method": method.name})
    if isinstance(smiles_or_mol, str):
        request = of_smiles(smiles_or_mol)
    else:
        request = Request(1, "", "", given=smiles_or_mol)
    result = made([request], method, plan)[0]
    if result.mol is None:
        raise ValueError(f"{'; '.join(result.reasons)}.")
    for reason in result.reasons:
        warnings.warn(LeftOut(reason), stacklevel=2)
    return result.mol


def _check_molecule(given: object) -> None:
    """Raises ValueError; None is what RDKit gives for a SMILES that it cannot read."""
    if not isinstance(given, str | Chem.Mol):
        kind = "None" if given is None else type(given).__name__
        raise ValueError(f"The molecule must be a SMILES or an RDKit molecule, got {kind}.")


def _whole(name: str, value: object) -> int:
    """As RDKit takes it, which knows no numbers of numpy's."""
    if not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    return int(value)
