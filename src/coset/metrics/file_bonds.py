"""File bonds: quality by the bonds that an SD file itself holds, where the protocol infers them from distances."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from coset.bonds import CROWD, allowed_valences
from coset.files.sdf import records
from coset.files.text import lines
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

    An atom is stable where the orders of its written bonds sum to a valence of its element: the protocol's or
    one of RDKit's; with a formal charge, of the element with as many electrons (N+ as C, O- as F). Aromatic
    bonds count as the singles and doubles of a Kekule structure, and nitro groups drawn with a pentavalent N as
    RDKit redraws them, with charges. Open valences are never filled. A molecule is valid where RDKit sanitises
    the graph, charges and aromaticity as written; it is connected where all atoms hang together; its SMILES is
    that of the largest fragment with explicit hydrogens, stereo aside, as in `valid_smiles`. A missing graph
    is none of these. Raises ValueError where a graph is not that of the molecule at its place.
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
        sane = _sanitized(graph)
        stable[i] = _stable_atoms(graph if sane is None else sane)
        single[i] = len(Chem.GetMolFrags(graph)) == 1
        smiles[i] = None if sane is None else _smiles(sane)
    sizes = np.array([len(molecule) for molecule in molecules], dtype=np.int64)
    return Measurement(sizes, stable, single, tuple(smiles), Counter(), Counter(), Counter())


def _graph(block: str) -> Chem.Mol | None:
    try:
        return Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
    except (ValueError, RuntimeError):
        return None


def _sanitized(graph: Chem.Mol) -> Chem.Mol | None:
    if max((atom.GetDegree() for atom in graph.GetAtoms()), default=0) > CROWD:
        return None
    graph = Chem.Mol(graph)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(graph)
        except ValueError:  # RDKit's chemistry errors are ValueErrors
            return None
    return graph


def _stable_atoms(graph: Chem.Mol) -> int:
    graph = Chem.Mol(graph)
    # where there is no such structure half orders stay, and their atoms are rarely stable
    with rdBase.BlockLogs(), suppress(ValueError):
        Chem.Kekulize(graph, clearAromaticFlags=True)
    return sum(_is_stable(atom) for atom in graph.GetAtoms())


def _is_stable(atom: Chem.Atom) -> bool:
    total = sum(bond.GetValenceContrib(atom) for bond in atom.GetBonds())
    number, charge = atom.GetAtomicNum(), atom.GetFormalCharge()
    electrons = number - charge
    if not 1 <= electrons <= 118:
        return total == 0  # a bare proton
    allowed = {*Chem.GetPeriodicTable().GetValenceList(electrons)}
    if not charge:
        allowed |= {*allowed_valences(number)}
    return -1 in allowed or total in allowed  # -1: RDKit sets the metals no limit


def _smiles(graph: Chem.Mol) -> str:
    with rdBase.BlockLogs():
        fragments = Chem.GetMolFrags(graph, asMols=True, sanitizeFrags=False)
        largest = Chem.Mol(max(fragments, key=lambda fragment: fragment.GetNumAtoms()))
        Chem.RemoveStereochemistry(largest)
        return Chem.MolToSmiles(largest)
