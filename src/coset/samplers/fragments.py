"""Fragments: parts of a molecule to be kept while the rest is drawn, from a file, and checked."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.bonds import allowed_valences, bond_orders
from coset.files import iterate
from coset.files.sdf import records
from coset.files.text import lines
from coset.molecule import Molecule, Vocabulary

CLASH = 0.5  # Angstrom; no two nuclei of a molecule are closer (H2: 0.74)
Sums = Float[NDArray[np.float64], "k"]


def read_fragment(path: str | os.PathLike[str]) -> Molecule:
    """The one molecule of a file (.sdf, .sdf.gz, .xyz, .npz) as a fragment; pieces to be linked are one molecule too.

    An atom may be joined where it has a free valence: where the file has none of its hydrogens. Atoms that an SD file
    marks as radicals are such places, and the mark is not kept. Raises FileNotFoundError, and ValueError for no
    molecule or several, drawings, formal charges, bonds of the file that are none by the distance rule (another unit,
    a drawing), radicals without a free valence, and fragments that are saturated by the bonds of the file.
    """
    found = list(islice(iterate(path), 2))
    if len(found) > 1:
        raise ValueError(
            f"{path} holds several molecules, and a fragment is one; put pieces that shall be linked into one record"
        )
    graph = _graph(Path(path))
    if graph is not None and graph.GetNumAtoms() == len(found[0]):
        _check_graph(graph, found[0], path)
    return found[0]


def check_fragment(fragment: Molecule, vocabulary: Vocabulary) -> None:
    """Raises ValueError for what no molecule can be drawn around, by the distances between its atoms.

    Elements that the model does not place, atoms closer than `CLASH`, more bonds than an element has, and not a single
    free valence.
    """
    unknown = sorted(set(fragment.symbols) - set(vocabulary.symbols))
    if unknown:
        raise ValueError(
            f"the fragment holds {', '.join(unknown)}, and this model knows {', '.join(vocabulary.symbols)} alone; use "
            "another fragment or a model trained with these elements"
        )
    _check_clashes(fragment)
    sums = _orders(fragment).sum(1).astype(float)
    for atom, (number, total) in enumerate(zip(fragment.numbers.tolist(), sums.tolist(), strict=True)):
        if total > _most(number):
            raise ValueError(
                f"{_named(fragment, atom)} of the fragment has bonds of order {total:g} in all by the distance rule, "
                f"and {fragment.symbols[atom]} takes {_most(number):g}, so no molecule with it would be valid; relax "
                "it, or use another form (nitro groups have none without charges)"
            )
    _check_growth(fragment, sums)


def _check_clashes(fragment: Molecule) -> None:
    away = fragment.positions[:, None] - fragment.positions
    distance = np.sqrt(np.square(away).sum(-1)) + np.where(np.eye(len(fragment)) > 0, np.inf, 0)
    if len(fragment) > 1 and not np.any(fragment.positions != fragment.positions[0]):
        raise ValueError("the fragment has no 3D coordinates: all its atoms lie at one place; make coordinates first")
    first, second = np.unravel_index(distance.argmin(), distance.shape)
    if distance[first, second] < CLASH:
        raise ValueError(
            f"{_named(fragment, first)} and {_named(fragment, second)} of the fragment are "
            f"{distance[first, second]:.2f} Angstrom apart, and no two atoms are closer than {CLASH}; mend the "
            "coordinates (which are read in Angstrom)"
        )


def _check_graph(graph: Chem.Mol, fragment: Molecule, path: str | os.PathLike[str]) -> None:
    """What the file itself says of charges, bonds and radicals."""
    for atom in graph.GetAtoms():
        if charge := atom.GetFormalCharge():
            raise ValueError(
                f"{_named(fragment, atom.GetIdx())} of {path} has the formal charge {charge:+d}, and these models know "
                "no charges; use a neutral form"
            )
    if not graph.GetNumBonds():
        return
    orders = _orders(fragment)
    for bond in graph.GetBonds():
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if not orders[first, second]:
            distance = float(np.linalg.norm(fragment.positions[first] - fragment.positions[second]))
            raise ValueError(
                f"{path} joins {_named(fragment, first)} and {_named(fragment, second)}, {distance:.2f} Angstrom "
                "apart, which is no bond by the distance rule; give relaxed 3D coordinates in Angstrom"
            )
    sums = _sums(graph)
    for atom in graph.GetAtoms():
        i = atom.GetIdx()
        if atom.GetNumRadicalElectrons() and sums[i] >= _usual(fragment.numbers[i]):
            raise ValueError(
                f"{_named(fragment, i)} of {path} is marked as a radical, but its bonds leave no valence free to grow "
                "from; remove the mark or the bond too many"
            )
    _check_growth(fragment, sums)


def _check_growth(fragment: Molecule, sums: Sums) -> None:
    usual = np.array([_usual(number) for number in fragment.numbers])
    if not (sums < usual).any():
        raise ValueError(
            "every atom of the fragment is saturated, so that nothing can be joined to it; remove a hydrogen wherever "
            "the molecule may grow"
        )


def _graph(path: Path) -> Chem.Mol | None:
    """The first record of an SD file as it stands, None where RDKit cannot read it and for other formats."""
    if not path.name.lower().endswith((".sdf", ".sdf.gz")):
        return None
    block = "\n".join(next(records(lines(path))))
    with rdBase.BlockLogs(), suppress(ValueError, RuntimeError):
        return Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
    return None


def _sums(graph: Chem.Mol) -> Sums:
    """Orders of the written bonds, summed an atom; aromatic ones by a Kekule structure where there is one."""
    graph = Chem.Mol(graph)
    with rdBase.BlockLogs(), suppress(ValueError, RuntimeError):
        Chem.Kekulize(graph, clearAromaticFlags=True)
    return np.array([sum(b.GetValenceContrib(atom) for b in atom.GetBonds()) for atom in graph.GetAtoms()], dtype=float)


def _orders(fragment: Molecule) -> NDArray[np.int8]:
    return bond_orders(fragment.numbers[None], fragment.positions[None])[0]


def _usual(number: int) -> float:
    """The largest valence in which an element is stable."""
    return max(allowed_valences(int(number)), default=_most(int(number)))


def _most(number: int) -> float:
    """The largest valence that RDKit lets an element have; it sets the metals no limit."""
    valences = [*Chem.GetPeriodicTable().GetValenceList(int(number)), *allowed_valences(int(number))]
    return np.inf if -1 in valences else max(valences)


def _named(fragment: Molecule, atom: int | np.integer) -> str:
    return f"atom {int(atom) + 1} ({fragment.symbols[int(atom)]})"
