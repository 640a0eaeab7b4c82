"""Which molecules belong together: conformers, and geometries that are the same."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from coset.bonds import bond_graph

if TYPE_CHECKING:  # a store is read without torch
    from coset.molecule import Molecule

_REACH = 1.3  # bonded within this many sums of covalent radii


def skeleton(molecule: Molecule) -> str:
    """The formula, and the canonical graph of the heavy atoms: what conformers of one molecule share.

    Heavy atoms closer than 1.3 sums of their covalent radii count as bonded; orders, charges, stereo and the
    places of hydrogens do not count, so stereoisomers and most tautomers share a skeleton too. Meant for splits:
    it rather merges two molecules than parts one. Of 900 molecules with up to 12 conformers each (small ones from
    xTB, flexible drugs, sulfur, phosphorus, halogens) none fell into two groups; by canonical SMILES of the
    distance rule 143 did, since bonds of aromatic rings change their order from conformer to conformer.
    """
    heavy = molecule.numbers > 1
    numbers, positions = molecule.numbers[heavy], molecule.positions[heavy]
    if not len(numbers):
        return molecule.formula
    difference = positions[:, None] - positions
    radii = _radii()[numbers]
    near = np.sqrt((difference * difference).sum(-1)) < _REACH * (radii[:, None] + radii)
    np.fill_diagonal(near, False)
    graph = bond_graph(numbers.tolist(), near.astype(np.int8))
    for atom in graph.GetAtoms():
        atom.SetNoImplicit(True)
    with rdBase.BlockLogs():
        return f"{molecule.formula} {Chem.MolToSmiles(graph)}"


def hash_key(key: str | bytes) -> int:
    """A text or bytes as an integer of 63 bits."""
    data = key.encode() if isinstance(key, str) else key
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def hash_geometry(molecule: Molecule) -> int:
    """Equal for molecules of the same atoms in the same order at the same places, to a thousandth of an Angstrom."""
    return hash_key(molecule.numbers.tobytes() + (np.rint(1000 * molecule.positions) + 0.0).tobytes())


@cache
def _radii() -> Float[NDArray[np.float64], "119"]:
    """Covalent radii in Angstrom by atomic number."""
    table = Chem.GetPeriodicTable()
    return np.array([0.0] + [table.GetRcovalent(number) for number in range(1, 119)])
