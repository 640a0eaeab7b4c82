"""File bonds: quality by the bonds that an SD file itself holds, where the protocol infers them from distances."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from coset.files.sdf import records
from coset.files.text import lines
from coset.metrics.graphs import judge
from coset.metrics.measurement import Measurement
from coset.molecule import Molecule


def read_graphs(path: str | os.PathLike[str]) -> list[Chem.Mol | None] | None:
    """The graphs of an SD file as they stand: every hydrogen kept, nothing sanitised, one a record.

    None in the place of a record whose bonds cannot be read. None in all for other formats, which hold no bonds,
    and for a file whose molecules of several atoms all lack bonds. Call it on a file that `coset.files.read` accepts.
    """
    path = Path(path)
    if not path.name.lower().endswith((".sdf", ".sdf.gz")):
        return None
    with rdBase.BlockLogs():
        graphs = [_graph("\n".join(record)) for record in records(lines(path))]
    whole = [graph for graph in graphs if graph is not None]
    bonds = any(graph.GetNumBonds() for graph in whole)
    return graphs if bonds or all(graph.GetNumAtoms() == 1 for graph in whole) else None


def measure_graphs(graphs: Sequence[Chem.Mol | None], molecules: Sequence[Molecule]) -> Measurement:
    """What `measure` gives, by the bonds of the graphs; histograms are left empty.

    See `judge` for atoms. A molecule is valid where RDKit sanitises the graph, charges and aromaticity as written;
    it is connected where all atoms hang together. A missing graph is none of these. Raises ValueError where a graph
    is not that of the molecule at its place.
    """
    if len(graphs) != len(molecules):
        raise ValueError(f"Expected one graph a molecule ({len(molecules)}), got {len(graphs)}.")
    stable, single = np.zeros(len(graphs), dtype=np.int64), np.zeros(len(graphs), dtype=bool)
    smiles: list[str | None] = [None] * len(graphs)
    for i, (graph, molecule) in enumerate(zip(graphs, molecules, strict=True)):
        if graph is None:
            continue
        if [atom.GetAtomicNum() for atom in graph.GetAtoms()] != molecule.numbers.tolist():
            raise ValueError(f"Graph {i + 1} does not hold the atoms of molecule {i + 1}, {molecule.formula}.")
        found = judge(graph)
        stable[i], single[i], smiles[i] = sum(found.stable), found.connected, found.smiles
    sizes = np.array([len(molecule) for molecule in molecules], dtype=np.int64)
    return Measurement(sizes, stable, single, tuple(smiles), Counter(), Counter(), Counter())


def _graph(block: str) -> Chem.Mol | None:
    try:
        return Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
    except (ValueError, RuntimeError):
        return None
