"""Distance geometry on a GPU by nvMolKit, which has RDKit's methods in CUDA; used on a GPU where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from coset.ensembles.methods import Method, Positions, positions_of
from coset.ensembles.mmff import lacks_parameters

_STEPS = 10_000  # of BFGS, as on the CPU


def installed() -> bool:
    return find_spec("nvmolkit") is not None


class GpuDistanceGeometry(Method):
    """ETKDGv3 from random coordinates, and MMFF94 after it where `relaxed`.

    One call for each molecule, so that its conformers depend on its own seed alone: a GPU is well used by many
    conformers of a molecule. They are other ones than RDKit's of the same seed, and the name in files tells. There is
    no time limit: a call ends by itself, after a number of tries.
    """

    at_once = 1

    def __init__(self, relaxed: bool = False) -> None:
        if not installed():
            raise ValueError("nvMolKit is not installed; take RDKit on the CPU: --device cpu.")
        self.relaxed = relaxed
        self.name = "nvmolkit-mmff" if relaxed else "nvmolkit"
        self.alternative = "rdkit" if relaxed else None

    def refusal(self, mol: Chem.Mol) -> str | None:
        return lacks_parameters(mol) if self.relaxed else None

    def positions(self, mols: Sequence[Chem.Mol], counts: Sequence[int], seeds: Sequence[int]) -> list[Positions]:
        return [self._of_one(*each) for each in zip(mols, counts, seeds, strict=True)]

    def _of_one(self, mol: Chem.Mol, count: int, seed: int) -> Positions:
        from nvmolkit.embedMolecules import EmbedMolecules  # pyright: ignore[reportMissingImports]

        options = rdDistGeom.ETKDGv3()
        options.randomSeed, options.useRandomCoords = seed % 2**30, True  # the only start that it knows
        shaped = Chem.Mol(mol)
        shaped.RemoveAllConformers()
        with rdBase.BlockLogs():
            EmbedMolecules([shaped], options, confsPerMolecule=count)
            if self.relaxed and shaped.GetNumConformers():
                from nvmolkit.mmffOptimization import (  # pyright: ignore[reportMissingImports]
                    MMFFOptimizeMoleculesConfs,
                )

                MMFFOptimizeMoleculesConfs([shaped], maxIters=_STEPS)
        found = positions_of(shaped)
        return found[np.isfinite(found).all((1, 2))]
