"""Data of one's own: conformers embedded from SMILES, with their energies, in a store that training reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

from coset.data import Store, StoreWriter


def build(smiles: Iterable[str], folder: Path, conformers: int = 4, seed: int = 7) -> Store:
    """Writes ETKDG conformers, relaxed with MMFF94, molecule by molecule: only one is in memory.

    `group` says which conformers are of one molecule, so that they are held out for validation together;
    `energy` is MMFF94's in kcal/mol.
    """
    with StoreWriter(folder, source="ETKDG and MMFF94 of RDKit", licence="CC0-1.0") as writer:
        for group, each in enumerate(smiles):
            mol = Chem.AddHs(Chem.MolFromSmiles(each))
            AllChem.EmbedMultipleConfs(mol, conformers, randomSeed=seed)
            energy = [energy for _, energy in AllChem.MMFFOptimizeMoleculeConfs(mol)]
            numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
            positions = np.concatenate([conformer.GetPositions() for conformer in mol.GetConformers()])
            count = len(energy)
            writer.append(
                np.tile(numbers, count),
                positions,
                [len(numbers)] * count,
                group=np.full(count, group),
                energy=np.array(energy),
            )
    return Store.open(folder)


def check() -> None:
    """What was written is read back, and no molecule is on both sides of the split."""
    from tempfile import TemporaryDirectory

    from coset.data import open_dataset

    with TemporaryDirectory() as folder:
        store = build(["CCO", "CCN", "CCCl", "CSC", "c1ccccc1"], Path(folder) / "smiles")
        assert len(store) == 20 and store.vocabulary == (1, 6, 7, 8, 16, 17)
        numbers, positions = store[0]
        assert numbers.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1] and positions.shape == (9, 3)
        data = open_dataset(store.path, hold_out=0.3)
        group = store.extra["group"]
        assert group.tolist() == [row // 4 for row in range(20)]
        assert len(data.valid) and not set(group[data.train]) & set(group[data.valid])


if __name__ == "__main__":
    check()
