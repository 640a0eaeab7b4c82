"""Bonds from distances, and RDKit molecules with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import resources
from itertools import product
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float, Int, Int8
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from rdkit.Geometry import Point3D

Perception = Literal["distance", "rdkit"]
PERCEPTIONS = ("distance", "rdkit")
CROWD = 28  # neighbours of an atom; RDKit's time to find rings explodes beyond, and at 100 it crashes
_KINDS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
# Bond-order assignments that RDKit may try before a charge is given up; RDKit up to 2025.3 knows no limit.
_SEARCH: dict[str, Any] = (
    {"maxIterations": 1000} if "maxIterations" in str(rdDetermineBonds.DetermineBonds.__doc__) else {}
)


class Located(Protocol):
    """A molecule, or anything else with atomic numbers and positions in Angstrom.

    What worker processes hand about: they read this file and have no use for torch, which `Molecule` brings along.
    """

    @property
    def numbers(self) -> Int[NDArray[np.int64], "n"]: ...

    @property
    def positions(self) -> Float[NDArray[np.float64], "n 3"]: ...


@cache
def thresholds() -> Float[NDArray[np.float64], "3 119 119"]:
    """Distances in pm below which two elements hold a single, double, triple bond; -inf if untabulated.

    Tabulated length plus margin (10, 5, 3 pm). The table is symmetric. The published C=S entry stands in one
    direction only, but the published code sorts each pair (C before S) and so finds it always, as here.
    """
    table = _tables()
    limits = np.full((3, 119, 119), -np.inf)
    for row, kind in zip(limits, ("single", "double", "triple"), strict=True):
        for pair, length in table[kind].items():
            a, b = (_atomic_number(symbol) for symbol in pair.split("-"))
            row[a, b] = row[b, a] = length + table["margins"][kind]
    return limits


@cache
def allowed_valences(number: int) -> tuple[int, ...]:
    """Sums of bond orders at which an atom of this atomic number is stable; empty if untabulated."""
    table = {_atomic_number(symbol): value for symbol, value in _tables()["valence"].items()}
    valences = table.get(number, ())
    return (valences,) if isinstance(valences, int) else tuple(valences)


def bond_orders(numbers: Int[NDArray, "b n"], positions: Float[NDArray, "b n 3"]) -> Int8[NDArray[np.int8], "b n n"]:
    """Bond orders 0-3 by the distance rule of EDM (Hoogeboom et al. 2022, `qm9/bond_analyze.py`).

    A pair closer than its single-bond threshold is bonded; within that a double bond is tested, within that a
    triple bond. Comparisons are strict, on 100 d in float64. Aromatic bonds come out as singles and doubles. Two
    atoms at one place get the highest bond that is tabulated for them, as in the published code.
    numbers: atomic numbers, zero where padded. positions: Angstrom. Symmetric, zero on the diagonal.
    """
    numbers, positions = np.asarray(numbers), np.asarray(positions, dtype=np.float64)
    if positions.shape != (*numbers.shape, 3) or numbers.ndim != 2:
        raise ValueError(f"Expected shapes (b, n) and (b, n, 3), got {numbers.shape} and {positions.shape}.")
    difference = positions[:, :, None] - positions[:, None]
    squares = np.square(difference, out=difference)
    distance = 100 * np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2])
    distance[:, np.arange(numbers.shape[1]), np.arange(numbers.shape[1])] = np.inf
    pairs = numbers[:, :, None], numbers[:, None]
    bonded = np.ones(distance.shape, dtype=bool)
    orders = np.zeros(distance.shape, dtype=np.int8)
    for limit in thresholds():
        bonded &= distance < limit[pairs]
        orders += bonded
    return orders


def bond_graph(numbers: Iterable[int], orders: Int[NDArray, "n n"]) -> Chem.RWMol:
    """RDKit molecule of given atoms and bonds: no charges, no aromaticity, no conformer, not sanitised."""
    graph = Chem.RWMol()
    for number in numbers:
        graph.AddAtom(Chem.Atom(int(number)))
    first, second = np.nonzero(np.tril(orders))
    for i, j, order in zip(first.tolist(), second.tolist(), orders[first, second].tolist(), strict=True):
        graph.AddBond(i, j, _KINDS[order - 1])
    return graph


def crowded(orders: Int[NDArray, "n n"]) -> bool:
    """Whether an atom has more than `CROWD` bonds: a heap of atoms, whose bonds must not be handed to RDKit."""
    return bool((np.asarray(orders) > 0).sum(-1).max(initial=0) > CROWD)


def to_rdkit(molecule: Located, perception: Perception = "distance") -> Chem.Mol:
    """An RDKit molecule with bonds, the 3D conformer and the molecule's properties, if any. Never adds hydrogens.

    perception "distance": bonds of `bond_orders`, no charges. Where those cannot be sanitised (a valence too
    high, say) the molecule comes unsanitised with property `sanitized` "false", and without bonds if it is
    `crowded`. Atoms that lack a bond are radicals. perception "rdkit": `rdDetermineBonds` at total charge 0,
    else +1, else -1, recorded in property `charge`; where none succeeds, "distance". What it finds depends on the
    order of the atoms (it misses a third of all nitro groups), so each charge is tried with them backwards too.
    Property `perception` names what was used. Atoms at one place have bonds as in `bond_orders`, and leave the molecule
    without stereochemistry where they leave a bond without direction.
    """
    if perception not in PERCEPTIONS:
        raise ValueError(f"Unknown perception {perception!r}; choose one of {', '.join(PERCEPTIONS)}.")
    with rdBase.BlockLogs():
        orders = bond_orders(molecule.numbers[None], molecule.positions[None])[0]
        graph, extra = None, {}
        if perception == "rdkit" and not crowded(orders):
            graph, extra = _determine_bonds(molecule)
        if graph is None:
            graph, extra = _distance_bonds(molecule, orders)
        for name, value in (*getattr(molecule, "properties", {}).items(), *extra.items()):
            graph.SetProp(str(name), str(value))
        return graph


def smiles(mol: Chem.Mol, hydrogens: bool = False) -> str:
    """Canonical SMILES, with every hydrogen written out if asked."""
    with rdBase.BlockLogs():
        if hydrogens:
            return Chem.MolToSmiles(mol)
        options = Chem.RemoveHsParameters()
        options.showWarnings = False
        return Chem.MolToSmiles(Chem.RemoveHs(mol, options, sanitize=False))


def _distance_bonds(molecule: Located, orders: Int8[NDArray[np.int8], "n n"]) -> tuple[Chem.Mol, dict[str, str]]:
    heap = crowded(orders)
    raw = bond_graph(molecule.numbers, np.zeros_like(orders) if heap else orders)
    raw.AddConformer(_conformer(molecule))
    for atom in raw.GetAtoms():
        atom.SetNoImplicit(True)
    graph = Chem.Mol(raw)
    try:
        if heap:
            raise ValueError("a heap of atoms is no molecule")
        Chem.SanitizeMol(graph)
    except ValueError:
        raw.UpdatePropertyCache(strict=False)
        return raw.GetMol(), {"perception": "distance", "sanitized": "false"}
    with suppress(RuntimeError):  # two atoms at one place: no direction, so no stereochemistry
        stereo = Chem.Mol(graph)
        Chem.AssignStereochemistryFrom3D(stereo)
        graph = stereo
    return graph, {"perception": "distance", "sanitized": "true"}


def _determine_bonds(molecule: Located) -> tuple[Chem.Mol | None, dict[str, str]]:
    n = len(molecule.numbers)
    for charge, order in product((0, 1, -1), (range(n), range(n - 1, -1, -1))):
        graph = bond_graph(molecule.numbers, np.zeros((n, n), dtype=np.int8))
        graph.AddConformer(_conformer(molecule))
        graph = Chem.RWMol(Chem.RenumberAtoms(graph, list(order)))
        try:
            rdDetermineBonds.DetermineBonds(graph, False, charge, **_SEARCH)
            Chem.SanitizeMol(graph)
        except (ValueError, RuntimeError):
            continue
        found = Chem.RenumberAtoms(graph, list(order))  # which is its own inverse
        return found, {"perception": "rdkit", "sanitized": "true", "charge": str(charge)}
    return None, {}


def _conformer(molecule: Located) -> Chem.Conformer:
    conformer = Chem.Conformer(len(molecule.numbers))
    conformer.Set3D(True)
    for i, (x, y, z) in enumerate(molecule.positions.tolist()):
        conformer.SetAtomPosition(i, Point3D(x, y, z))
    return conformer


@cache
def _tables() -> dict:
    return json.loads(resources.files("coset").joinpath("tables.json").read_text(encoding="utf-8"))


def _atomic_number(symbol: str) -> int:
    return Chem.GetPeriodicTable().GetAtomicNumber(symbol)
