"""Atoms in the order of `AddHs(MolFromSmiles(smiles))`, which is the atom order of conformers everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from scipy.spatial.distance import cdist

from coset.data.ensemble_file import Ensemble, Ensembles

_BONDED, _APART = 1.3, 1.12  # sums of covalent radii within which a bond must be, and others must not come
_MOST_MAPS, _MOST_TRIED = 5000, 256  # maps of the heavy atoms looked at, and those whose stereo is looked at
_TAGS = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
_SIDES = {Chem.BondStereo.STEREOE: "E", Chem.BondStereo.STEREOTRANS: "E", Chem.BondStereo.STEREOZ: "Z",
          Chem.BondStereo.STEREOCIS: "Z"}  # fmt: skip

Bonds = Int[NDArray[np.int64], "b 2"]


class Unusable(ValueError):
    """A molecule that cannot be taken. reason: a few words to count by; the text is a sentence."""

    def __init__(self, reason: str, sentence: str = "") -> None:
        super().__init__(sentence or reason)
        self.reason = reason


def reference(smiles: str) -> Chem.Mol:
    """`AddHs(MolFromSmiles(smiles))`. Raises `Unusable` for what does not parse, radicals, several fragments."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            raise Unusable("SMILES cannot be read", f"RDKit cannot read the SMILES {smiles[:80]!r}")
        if mol.GetNumAtoms() == 0:
            raise Unusable("no atoms", "the SMILES has no atoms")
        if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            raise Unusable("unpaired electrons", f"{smiles[:80]!r} has unpaired electrons")
        if len(Chem.GetMolFrags(mol)) > 1:
            raise Unusable("several fragments", f"{smiles[:80]!r} is several molecules, and one is expected")
        return Chem.AddHs(mol)


def ordered(ensemble: Ensemble, bonds: Bonds | None = None) -> Ensemble:
    """The ensemble with its atoms in the order of `reference(smiles)`, where they are in any other.

    The SMILES' graph, regardless of the orders of its bonds, is matched to the bonds given (pairs of atoms of the
    ensemble), else to those that distances show in its first conformers. The first match with which more than half of
    the conformers have the stereo of the SMILES counts, else the best; those conformers alone are kept (`stereo_kept`).
    Without bonds given, conformers whose distances show other bonds are left out as well. The hydrogens of one atom
    come in their order. Raises `Unusable` where nothing fits.
    """
    mol = reference(ensemble.smiles)
    numbers = atomic_numbers(mol)
    if sorted(numbers.tolist()) != sorted(ensemble.numbers.tolist()):
        raise Unusable("other atoms than its SMILES", f"{ensemble.key}: its atoms are not those of {ensemble.smiles}")
    best, most, unbroken = None, np.zeros(len(ensemble), dtype=bool), False
    for order in islice(_orders(mol, ensemble, bonds), _MOST_TRIED):
        positions = ensemble.positions[:, order]
        right = np.ones(len(ensemble), dtype=bool) if bonds is not None else intact(mol, positions)
        unbroken = unbroken or bool(right.any())
        right[right] = stereo_kept(mol, positions[right])
        if right.sum() > most.sum():
            best, most = order, right
        if 2 * right.sum() > len(right):  # a minority that does not fit has reacted or turned over
            break
    if best is None:
        reason = "stereo differs from its SMILES" if unbroken else "bonds differ from its SMILES"
        raise Unusable(reason, f"{ensemble.key}: {reason} {ensemble.smiles}")
    moved = Ensemble(
        ensemble.smiles, ensemble.key, numbers, ensemble.positions[:, best], ensemble.energies, ensemble.weights
    )
    return moved.take(most)


def ordered_all(ensembles: Ensembles) -> tuple[Ensembles, Counter[str]]:
    """All molecules `ordered`, and how many molecules ("conformers: ..." for single ones) were left out, by reason.

    Raises ValueError where none is left.
    """
    found: list[Ensemble] = []
    split: list[int] = []
    out: Counter[str] = Counter()
    for row in range(len(ensembles)):
        own = ensembles[row]
        try:
            kept = ordered(own)
        except Unusable as error:
            out[error.reason] += 1
            continue
        if len(kept) < len(own):
            out["conformers: bonds or stereo differ from the SMILES"] += len(own) - len(kept)
        found.append(kept)
        split.append(int(ensembles.split[row]))
    if not found:
        raise ValueError(f"no molecule has the bonds of its SMILES ({dict(out)})")
    return Ensembles.of(found, split), out


def atomic_numbers(mol: Chem.Mol) -> Int[NDArray[np.int64], "n"]:
    return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)


def bonds_of(mol: Chem.Mol) -> Bonds:
    """Pairs of bonded atoms, the smaller first, rising."""
    pairs = sorted(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in mol.GetBonds())
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def intact(mol: Chem.Mol, positions: Float[NDArray, "k n 3"]) -> Bool[NDArray, "k"]:
    """Whether each conformer's distances show the bonds of the molecule and no others.

    Bonded within 1.3 sums of covalent radii; others not within 1.12, which a pair across a small ring never is.
    """
    numbers, bonds = atomic_numbers(mol), bonds_of(mol)
    sums = _radii()[numbers][:, None] + _radii()[numbers]
    bonded = np.zeros(sums.shape, dtype=bool)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = True
    least = np.where(bonded, 0.0, _APART * sums)
    np.fill_diagonal(least, 0.0)
    most = np.where(bonded, _BONDED * sums, np.inf)
    # Conformer by conformer: thousands of one large molecule would not fit into memory at once.
    return np.array([bool(((d >= least) & (d <= most)).all()) for d in map(_distances, positions)], dtype=bool)


def stereo_kept(mol: Chem.Mol, positions: Float[NDArray, "k n 3"]) -> Bool[NDArray, "k"]:
    """Whether each conformer has the stereo of centres and double bonds that the molecule specifies, by RDKit.

    What the molecule leaves open must be as in most of those conformers (in the earlier ones of as many).
    """
    tags = {atom.GetIdx(): atom.GetChiralTag() for atom in mol.GetAtoms() if atom.GetChiralTag() in _TAGS}
    sides = {bond.GetIdx(): _SIDES[bond.GetStereo()] for bond in mol.GetBonds() if bond.GetStereo() in _SIDES}
    if not len(positions) or not (tags or sides or leaves_open(mol)):
        return np.ones(len(positions), dtype=bool)
    shown = [perceived(mol, each) for each in positions]
    right = np.array([
        all(each.GetAtomWithIdx(i).GetChiralTag() == tag for i, tag in tags.items())
        and all(_SIDES.get(each.GetBondWithIdx(i).GetStereo()) == side for i, side in sides.items())
        for each in shown
    ])  # fmt: skip
    if not leaves_open(mol) or not right.any():
        return right
    # By canonical SMILES: of two equivalent centres, R and S are the same isomer as S and R.
    isomers = np.array([isomer(each) for each in shown])
    return right & (isomers == Counter(isomers[right].tolist()).most_common(1)[0][0])


def leaves_open(mol: Chem.Mol) -> bool:
    """Whether the molecule has a centre or a double bond that could have stereo and has none specified."""
    with rdBase.BlockLogs():
        possible = Chem.FindPotentialStereo(Chem.Mol(mol), cleanIt=False)
    return any(each.specified == Chem.StereoSpecified.Unspecified for each in possible)


def isomer(mol: Chem.Mol) -> str:
    """Canonical SMILES with stereo, of a molecule with hydrogens as atoms."""
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(Chem.RemoveHs(mol))


def perceived(mol: Chem.Mol, positions: Float[NDArray, "n 3"]) -> Chem.Mol:
    """A copy with these positions as its conformer and the stereo that they show."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    conformer = Chem.Conformer(len(positions))
    conformer.Set3D(True)  # RDKit passes over flat conformers without a word
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    copy.AddConformer(conformer)
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    return copy


def _orders(mol: Chem.Mol, ensemble: Ensemble, bonds: Bonds | None) -> Iterator[Int[NDArray[np.int64], "n"]]:
    """Orders of the ensemble's atoms that fit the molecule's graph, the present one first if it does."""
    numbers = atomic_numbers(mol)
    same = (numbers == ensemble.numbers).all()
    if same and (
        np.array_equal(bonds, bonds_of(mol)) if bonds is not None else intact(mol, ensemble.positions[:3]).any()
    ):
        yield np.arange(len(numbers))
    for positions in ensemble.positions[: 1 if bonds is not None else 3]:
        found = False
        for order in graph_orders(mol, ensemble.numbers, near(ensemble.numbers, positions) if bonds is None else bonds):
            found = True
            yield order
        if found:
            return


def near(numbers: Int[NDArray[np.int64], "n"], positions: Float[NDArray, "n 3"]) -> Bonds:
    """Pairs of heavy atoms within 1.3 sums of covalent radii, and each hydrogen with the heavy atom nearest by it."""
    ratio = _distances(positions) / (_radii()[numbers][:, None] + _radii()[numbers])
    heavy = numbers > 1
    pairs = np.argwhere(np.triu((ratio < _BONDED) & heavy & heavy[:, None], 1)).tolist()
    for h in np.flatnonzero(~heavy).tolist():
        others = np.where(heavy, ratio[h], np.inf)
        if heavy.any() and others.min() < _BONDED:
            pairs.append(sorted((h, int(others.argmin()))))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def graph_orders(
    mol: Chem.Mol, numbers: Int[NDArray[np.int64], "n"], bonds: Bonds
) -> Iterator[Int[NDArray[np.int64], "n"]]:
    """Orders that turn atoms with these numbers and bonds into those of the molecule; orders of bonds do not count.

    Bonds beside those of the molecule do no harm: distances may show some across small rings.
    """
    query, wanted, carried = _heavy_graph(atomic_numbers(mol), bonds_of(mol))
    target, there, carrying = _heavy_graph(numbers, bonds)
    with rdBase.BlockLogs():
        matches = target.GetSubstructMatches(query, uniquify=False, useChirality=False, maxMatches=_MOST_MAPS)
    for match in matches:
        if len(match) != len(there):
            return
        order = np.zeros(len(numbers), dtype=np.int64)
        for mine, place in zip(wanted, match, strict=True):
            theirs = there[place]
            order[mine] = theirs
            order[carried[mine]] = carrying[theirs]
        yield order


def _heavy_graph(
    numbers: Int[NDArray[np.int64], "n"], bonds: Bonds
) -> tuple[Chem.Mol, list[int], dict[int, list[int]]]:
    """Heavy atoms, coloured by element and number of hydrogens; their numbers; and the hydrogens of each.

    Hydrogens without just one heavy neighbour count as heavy.
    """
    neighbours: dict[int, list[int]] = {i: [] for i in range(len(numbers))}
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    plain = {i for i in neighbours if numbers[i] == 1 and len(neighbours[i]) == 1 and numbers[neighbours[i][0]] > 1}
    heavy = [i for i in neighbours if i not in plain]
    hydrogens = {i: sorted(j for j in neighbours[i] if j in plain) for i in heavy}
    place = {atom: row for row, atom in enumerate(heavy)}
    graph = Chem.RWMol()
    for i in heavy:
        dot = Chem.Atom(6)
        dot.SetIsotope(int(numbers[i]) * 16 + len(hydrogens[i]) + 1)  # isotopes match themselves alone
        graph.AddAtom(dot)
    for i, j in bonds.tolist():
        if i in place and j in place:
            graph.AddBond(place[i], place[j], Chem.BondType.SINGLE)
    return graph, heavy, hydrogens


def _distances(positions: Float[NDArray, "n 3"]) -> Float[NDArray, "n n"]:
    return cdist(positions, positions)


@cache
def _radii() -> Float[NDArray[np.float64], "119"]:
    """Covalent radii in Angstrom by atomic number."""
    table = Chem.GetPeriodicTable()
    return np.array([0.0] + [table.GetRcovalent(number) for number in range(1, 119)])
