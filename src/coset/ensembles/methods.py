"""What makes positions of given molecules: the interface, and the methods by name."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase

if TYPE_CHECKING:
    from coset.ensembles.core import Core

Positions = Float[NDArray[np.float64], "k n 3"]
METHODS = {
    "learned": "a trained model",
    "rdkit": "distance geometry, ETKDGv3",
    "rdkit-mmff": "ETKDGv3, then MMFF94",
}
SECONDS = 60.0  # for one molecule, unless told otherwise


class Method(ABC):
    """Makes positions of molecules whose graph is given.

    at_once: conformers that one call is best asked for; a method that treats one molecule after the other has 1.
    keeps_core: whether conformers are made around a core that is given to `around`, not only laid onto it.
    alternative: another method's name, for molecules that this one refuses.
    """

    name: str
    at_once: int = 1024
    keeps_core: bool = False
    alternative: str | None = "rdkit"

    @property
    def key(self) -> str:
        """Differs from that of any method that makes other conformers of the same molecules and seeds."""
        return self.name

    def refusal(self, mol: Chem.Mol) -> str | None:
        """A sentence for a molecule that it cannot treat, None for any other."""
        return None

    @abstractmethod
    def positions(self, mols: Sequence[Chem.Mol], counts: Sequence[int], seeds: Sequence[int]) -> list[Positions]:
        """For each molecule (k, n, 3) in Angstrom, k <= count: fewer where some could not be made.

        Depends on (molecule, seed) alone, never on the company. Molecules have explicit hydrogens and no conformers.
        """

    def around(self, core: Core) -> Method:
        """The same method, heeding a core where it can (`keeps_core`)."""
        return self

    def within(self, seconds: float) -> Method:
        """The same method, which spends about so long on a molecule and leaves out what is not made by then, where it
        can be stopped half-way."""
        return self


def method_of(
    name: str, model: str | None = None, device: str = "cpu", steps: int | None = None, seconds: float = SECONDS
) -> Method:
    """The method of a name. model: a packaged model or a path, and steps: its network calls, for "learned" alone.

    seconds: for one molecule, where a method can be stopped half-way. RDKit's methods run on a CUDA device where
    nvMolKit is installed. Raises ValueError for an unknown name and for options of another method, and what loading a
    model raises.
    """
    if name not in METHODS:
        raise ValueError(f"Unknown method {name!r}; choose one of {', '.join(METHODS)}.")
    if name == "learned":
        from coset.ensembles.model import load_conformer_model

        learned = load_conformer_model(*([] if model is None else [model]), device=device)
        return learned if steps is None else learned.having(steps=steps)
    if model is not None or steps is not None:
        raise ValueError(f"A model and its steps are for the learned method; leave them out with {name}.")
    relaxed = name == "rdkit-mmff"
    if device.startswith("cuda"):
        from coset.ensembles.gpu_method import GpuDistanceGeometry, installed

        if installed():
            return GpuDistanceGeometry(relaxed)
    from coset.ensembles.rdkit_method import DistanceGeometry

    return DistanceGeometry(relaxed=relaxed, seconds=seconds)


def canonical(mol: Chem.Mol) -> str:
    """Canonical isomeric SMILES without explicit hydrogens, where they mean nothing."""
    options = Chem.RemoveHsParameters()
    options.showWarnings = False
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(Chem.RemoveHs(mol, options))


def seed_of(mol: Chem.Mol, seed: int, attempt: int = 0) -> int:
    """A molecule's own seed in [0, 2^30), from that of the run, the molecule alone, and the number of the attempt.

    So a molecule has the same conformers alone and in any list.
    """
    text = f"{seed} {attempt} {canonical(mol)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 2


def with_conformers(mol: Chem.Mol, positions: Positions) -> Chem.Mol:
    """A copy with these conformers, numbered from 0, and no other."""
    found = Chem.Mol(mol)
    found.RemoveAllConformers()
    for each in np.ascontiguousarray(positions, dtype=np.float64):
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.Set3D(True)
        conformer.SetPositions(each)
        found.AddConformer(conformer, assignId=True)
    return found


def positions_of(mol: Chem.Mol) -> Positions:
    """Those of all conformers, in their order."""
    found = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return np.stack(found) if found else np.zeros((0, mol.GetNumAtoms(), 3))
