"""Clouds of molecules whose graph is known, embedded by distance geometry."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from rdkit.Chem import AllChem

from coset.cloud import Cloud
from coset.graphs.graph import collated, graph_of, read_smiles

SMILES = ("CCO", "CC=O", "C[C@H](F)O", "C1CO1")


@cache
def embedded(smiles: str, count: int = 2) -> np.ndarray:
    """Positions (count, n, 3) in Angstrom, centred, the same at every call."""
    mol = read_smiles(smiles)
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=11)
    x = np.stack([mol.GetConformer(i).GetPositions() for i in range(count)])
    return x - x.mean(1, keepdims=True)


def small_ensembles(times: int = 1, smiles: tuple[str, ...] = SMILES, dtype: torch.dtype = torch.float32) -> Cloud:
    """One conformer of each, with its graph; `times` copies of all."""
    like = collated([graph_of(read_smiles(each)) for each in smiles])
    x = torch.zeros(like.x.shape, dtype=torch.float64)
    for row, each in enumerate(smiles):
        x[row, : int(like.count[row])] = torch.from_numpy(embedded(each)[0])
    return replace(like, x=x).to(dtype).take(torch.arange(len(smiles)).repeat(times))
