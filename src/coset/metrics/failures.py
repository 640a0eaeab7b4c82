"""Failures: why a molecule is not stable, not valid or not in one piece, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.bonds import CROWD, allowed_valences, bond_graph, bond_orders, crowded
from coset.metrics.measurement import Measurement
from coset.metrics.protocol import find_protocol
from coset.metrics.stability import stable_atoms
from coset.molecule import Molecule


def worst(measured: Measurement, most: int) -> list[int]:
    """Places of the molecules that fail, at most so many: those with most unstable atoms first.

    Among equals an invalid molecule comes before a valid one, fragments before one piece, then the order of
    the file.
    """
    unstable = measured.sizes - measured.stable
    valid = np.array([each is not None for each in measured.smiles], dtype=bool)
    failing = np.flatnonzero((unstable > 0) | ~valid | ~measured.connected)
    order = np.lexsort((failing, measured.connected[failing], valid[failing], -unstable[failing]))
    return failing[order][:most].tolist()


def failures(molecule: Molecule, protocol: str = "qm9") -> list[str]:
    """Sentences on what is wrong by the distance rule, none for a molecule that passes. protocol: see `PROTOCOLS`.

    Atoms are named by element and place in the molecule, from 1 as in SD files: "C7: valence 5, expected 4".
    """
    numbers = molecule.numbers
    orders = bond_orders(numbers[None], molecule.positions[None])[0]
    sums = orders.sum(-1, dtype=np.int64).tolist()
    found = [_valence(molecule, atom, sums[atom]) for atom in unstable_atoms(numbers, orders)]
    if crowded(orders):
        return [*found, f"an atom has more than {CROWD} bonds: RDKit was not asked"]
    graph = bond_graph(numbers, find_protocol(protocol).capped(orders))
    if (pieces := len(Chem.GetMolFrags(graph))) > 1:
        found.append(f"{pieces} fragments")
    return found + _complaints(graph, molecule.symbols)


def unstable_atoms(numbers: Int[NDArray, "n"], orders: Int[NDArray, "n n"]) -> list[int]:
    """Places, from 0, of the atoms whose valence their element does not allow."""
    return np.flatnonzero(~stable_atoms(numbers[None], orders[None])[0]).tolist()


def _valence(molecule: Molecule, atom: int, valence: int) -> str:
    name = f"{molecule.symbols[atom]}{atom + 1}"
    allowed = allowed_valences(int(molecule.numbers[atom]))
    if not allowed:
        return f"{name}: the protocol knows no valence of {molecule.symbols[atom]}"
    expected = " or ".join(map(str, allowed))
    return f"{name}: {f'valence {valence}' if valence else 'no bonds'}, expected {expected}"


def _complaints(graph: Chem.Mol, symbols: Sequence[str]) -> list[str]:
    """Why RDKit can't sanitise a graph, its atoms named from 1; valences in one sentence."""
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(graph)
    overfull = [problem.GetAtomIdx() for problem in problems if problem.GetType() == "AtomValenceException"]
    names = ", ".join(f"{symbols[i]}{i + 1}" for i in overfull)
    found = [f"RDKit: more bonds than possible at {names}"] if overfull else []
    others = [problem for problem in problems if problem.GetType() != "AtomValenceException"]
    return found + [f"RDKit: {' '.join(problem.Message().split())}" for problem in others]
