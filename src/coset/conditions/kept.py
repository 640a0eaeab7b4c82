"""How well molecules keep to what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rdkit import Chem

from coset.bonds import bond_orders
from coset.conditions.asked import elements, matches, molecule, query
from coset.conditions.fingerprints import fingerprint, heavy_graph, tanimoto
from coset.molecule import Molecule


def kept(molecules: Sequence[Molecule], asked: Mapping[str, Any]) -> list[str]:
    """A sentence for each kind of condition that can be read off the molecules: all but properties."""
    told, n = [], len(molecules)
    if "composition" in asked:
        hits = sum(has_formula(each, str(asked["composition"])) for each in molecules)
        told.append(f"composition {asked['composition']}: {hits} of {n}")
    graphs = [graph_of(each) for each in molecules] if {"pattern", "morgan"} & set(asked) else []
    if "pattern" in asked:
        hits = sum(matches(graphs, query(str(asked["pattern"]))))
        told.append(f"substructure {asked['pattern']}: {hits} of {n}")
    if "morgan" in asked:
        wanted = molecule(str(asked["morgan"]))
        told.append(
            f"likeness to {asked['morgan']} (Tanimoto, 0 to 1): {np.mean(likeness(graphs, wanted)):.2f} on average"
        )
    return told


def has_formula(found: Molecule, text: str) -> bool:
    """Whether a molecule has exactly these atoms."""
    return Counter(found.numbers.tolist()) == elements(text)


def graph_of(found: Molecule) -> Chem.Mol | None:
    """By the distance rule, without hydrogens; None where RDKit refuses it."""
    return heavy_graph(found.numbers, bond_orders(found.numbers[None], found.positions[None])[0])


def likeness(graphs: Sequence[Chem.Mol | None], wanted: Chem.Mol, kind: str = "morgan") -> list[float]:
    """Tanimoto similarity of fingerprints; 0 for what has no graph."""
    own = fingerprint(kind, wanted)
    return [0.0 if graph is None else tanimoto(fingerprint(kind, graph), own) for graph in graphs]
