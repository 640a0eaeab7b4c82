"""Source: what runs on ensembles are trained on: conformers by chance, and the graphs of their molecules."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem

from coset.cloud import Cloud
from coset.data.ensembles import Ensembles
from coset.graphs.graph import Graph, collated, graph_of, read_smiles
from coset.graphs.perception import read_seen
from coset.noise import Noise


@dataclass(frozen=True)
class Source:
    """Ensembles with the graphs of their molecules. name: what the settings call them.

    seen_stereo: stereo that a SMILES leaves open is as the conformers have it (`with_seen_stereo`).
    """

    name: str
    ensembles: Ensembles
    graphs: tuple[Graph, ...]
    seen_stereo: bool = True

    @classmethod
    def of(cls, name: str, ensembles: Ensembles, most_automorphisms: int, seen_stereo: bool = True) -> Source:
        """Raises ValueError for a molecule whose atoms are not those of its SMILES, in RDKit's order."""
        bare = cls(name, ensembles, (), seen_stereo)
        return replace(bare, graphs=tuple(bare._graph(row, most_automorphisms) for row in range(len(ensembles))))

    def _graph(self, row: int, most_automorphisms: int) -> Graph:
        ensemble, graph = self.ensembles[row], graph_of(self.molecule(row), most_automorphisms)
        if not np.array_equal(graph.numbers, ensemble.numbers):
            raise ValueError(
                f"{self.name}: the atoms of {ensemble.smiles} ({ensemble.key}) are not in the order of its SMILES with "
                "hydrogens added; put them in order first (coset.data.ensembles.ordered)"
            )
        return graph

    def molecule(self, row: int) -> Chem.Mol:
        """With hydrogens, without conformers."""
        own = self.ensembles[row]
        return read_seen(own.smiles, own.positions) if self.seen_stereo else read_smiles(own.smiles)

    def fingerprint(self) -> dict[str, int]:
        """Number of training molecules and a CRC-32 of their SMILES and numbers of conformers."""
        found, rows = 0, self.ensembles.rows(0)
        for row in rows:
            ensemble = self.ensembles[row]
            found = zlib.crc32(f"{ensemble.smiles} {len(ensemble.positions)}".encode(), found)
        return {"molecules": len(rows), "crc32": found}

    def cloud(self, rows: NDArray[np.int64], noise: Noise, siblings: int) -> Cloud:
        """A conformer of each molecule by chance, and so many more in the condition, drawn with replacement: then any
        of them might as well have been the first, and a mean over them stays unbiased."""
        like = collated([self.graphs[row] for row in rows])
        chance = noise.uniform(1 + siblings, dtype=torch.float64).cpu().numpy()
        x = np.zeros((len(rows), 1 + siblings, *like.x.shape[1:]), dtype=np.float32)
        for number, row in enumerate(rows):
            positions = self.ensembles[row].positions
            chosen = positions[(chance[number] * len(positions)).astype(np.int64)]
            x[number, :, : chosen.shape[1]] = chosen - chosen.mean(1, keepdims=True)
        drawn = torch.from_numpy(x)
        condition = like.condition
        if siblings and condition is not None:
            condition = replace(condition, siblings=drawn[:, 1:])
        return replace(like, x=drawn[:, 0], condition=condition)
