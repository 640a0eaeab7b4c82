"""Stereo: which hands and which E or Z a molecule asks for, whether positions have them, and what can be put right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from rdkit import Chem

FLATTEST = 0.2  # of a centre: volume over the product of its bonds' lengths; a regular tetrahedron has 0.77
MOST_TWISTED = 0.5  # of a double bond: |cos| of its torsion, 60 degrees from the plane
CLASH = 0.8  # Angstrom, between atoms that a repair moves towards one another

Positions = Float[NDArray[np.float64], "k n 3"]

_HANDS = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
_SAME = {Chem.BondStereo.STEREOZ: "Z", Chem.BondStereo.STEREOCIS: "cis"}
_OPPOSITE = {Chem.BondStereo.STEREOE: "E", Chem.BondStereo.STEREOTRANS: "trans"}


@dataclass(frozen=True, eq=False)
class Stereo:
    """The m marks of a molecule with explicit hydrogens: first its c tetrahedral centres, then its d double bonds.

    centres (c,): atoms with a tag. corners (c, 4): their neighbours p, q, r, s, in such an order that
    (p - s) . ((q - s) x (r - s)) > 0 is the hand asked for; a centre with three neighbours and a lone pair is its own
    fourth corner. double_bonds (d, 4): atom x on end a, and y on end b, of the bond a=b, as x, a, b, y. same (d,):
    whether x and y are asked for on the same side. labels (d,): "Z", "E", "cis" or "trans". symbols (n,): elements.
    Not marks: what the molecule leaves open, atropisomers, allenes, centres of five or six neighbours.
    """

    centres: Int[NDArray[np.int64], "c"]
    corners: Int[NDArray[np.int64], "c 4"]
    double_bonds: Int[NDArray[np.int64], "d 4"]
    same: Bool[NDArray[np.bool_], "d"]
    labels: tuple[str, ...]
    symbols: tuple[str, ...]

    @classmethod
    def of(cls, mol: Chem.Mol) -> Stereo:
        """The marks as RDKit holds them: tags by the order of an atom's bonds, E and Z by a bond's stereo atoms."""
        centres, corners, bonds, labels = [], [], [], []
        for atom in mol.GetAtoms():
            if atom.GetChiralTag() in _HANDS and atom.GetDegree() in (3, 4):
                around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
                p, q, r, s = around if len(around) == 4 else (*around, atom.GetIdx())
                centres.append(atom.GetIdx())
                corners.append((p, q, r, s) if atom.GetChiralTag() == _HANDS[1] else (q, p, r, s))
        for bond in mol.GetBonds():
            label = _SAME.get(bond.GetStereo()) or _OPPOSITE.get(bond.GetStereo())
            if label and len(bond.GetStereoAtoms()) == 2:
                x, y = bond.GetStereoAtoms()
                bonds.append((x, bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), y))
                labels.append(label)
        return cls(
            centres=np.array(centres, dtype=np.int64),
            corners=np.array(corners, dtype=np.int64).reshape(-1, 4),
            double_bonds=np.array(bonds, dtype=np.int64).reshape(-1, 4),
            same=np.array([label in _SAME.values() for label in labels], dtype=bool),
            labels=tuple(labels),
            symbols=tuple(atom.GetSymbol() for atom in mol.GetAtoms()),
        )

    def __len__(self) -> int:
        return len(self.centres) + len(self.double_bonds)

    def right(self, positions: Positions) -> Bool[NDArray[np.bool_], "k m"]:
        """Which marks each conformer has, without a doubt: a flat centre and a twisted double bond do not count.

        A centre passes where the volume that three neighbours span with it has the sign asked for and is more than
        `FLATTEST` of the product of the bonds' lengths, and the volume that all four neighbours span has that sign too.
        A double bond passes where the cosine of its torsion has the sign asked for and more than `MOST_TWISTED`.
        Positions that are not finite pass nothing. Raises ValueError for positions of another molecule's shape.
        """
        positions = np.asarray(positions, dtype=np.float64)
        if positions.ndim != 3 or positions.shape[1:] != (len(self.symbols), 3):
            raise ValueError(
                f"positions of conformers must have shape (k, {len(self.symbols)}, 3) for this molecule, "
                f"got {positions.shape}; its hydrogens are atoms too"
            )
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            p, q, r, s = (positions[:, corner] for corner in self.corners.T)
            c = positions[:, self.centres]
            inner = _volume(_unit(p - c), _unit(q - c), _unit(r - c))
            # For three neighbours s is c, and this the same once more.
            tetrahedral = (inner > FLATTEST) & (_volume(p - s, q - s, r - s) > 0)
            x, a, b, y = (positions[:, atom] for atom in self.double_bonds.T)
            axis = _unit(b - a)
            cosine = (_unit(_across(x - a, axis)) * _unit(_across(y - b, axis))).sum(-1)
            planar = np.where(self.same, cosine, -cosine) > MOST_TWISTED
        return np.concatenate([tetrahedral, planar], 1)

    def all_right(self, positions: Positions) -> Bool[NDArray[np.bool_], "k"]:
        """Which conformers have every mark."""
        return np.logical_and.reduce(self.right(positions), axis=1)


def described(stereo: Stereo, right: Bool[NDArray[np.bool_], "m"]) -> str:
    """The wrong marks of one conformer in words, "" where there are none. Atoms count from 1, as in SD files."""
    parts = []
    for mark in np.flatnonzero(np.logical_not(right)).tolist():
        if mark < len(stereo.centres):
            atom = int(stereo.centres[mark])
            parts.append(f"centre {atom + 1} ({stereo.symbols[atom]}) is flat or has the wrong hand")
        else:
            _, a, b, _ = stereo.double_bonds[mark - len(stereo.centres)].tolist()
            label = stereo.labels[mark - len(stereo.centres)]
            parts.append(f"bond {a + 1}={b + 1} is not {label}, as it should be")
    return "; ".join(parts)


def mirrored(stereo: Stereo, positions: Positions) -> Positions:
    """The conformers, each as its mirror image where that makes every mark right. E and Z stay."""
    positions = np.asarray(positions, dtype=np.float64)
    flip = ~stereo.all_right(positions) & stereo.all_right(-positions)
    return np.where(flip[:, None, None], -positions, positions)


def repaired(mol: Chem.Mol, stereo: Stereo, positions: Positions) -> tuple[Positions, Bool[NDArray[np.bool_], "k"]]:
    """Conformers with what is wrong put right where a few rigid motions do it, and which have every mark right now.

    A double bond outside rings: one of its sides turns by 180 degrees. A centre with two acyclic branches: they change
    places, by a rotation of both by 180 degrees about the bisector of their bonds, the smallest branches first; a lone
    pair counts as a branch without atoms. Bonds keep their lengths, and no other mark changes. A motion is left out
    that brings two atoms within `CLASH` of one another. Where wrong marks remain, the same is tried on the mirror
    image, at best without a further motion. Conformers that stay wrong come back as they were; those that are not
    finite are among them.
    """
    positions = np.array(positions, dtype=np.float64)
    finite = np.isfinite(positions).all((1, 2))
    kept = stereo.all_right(positions) & finite
    for sign in (1, -1):
        wrong = np.flatnonzero(~kept & finite)
        moved = _moved(mol, stereo, sign * positions[wrong])
        done = stereo.all_right(moved)
        positions[wrong[done]] = moved[done]
        kept[wrong[done]] = True
    return positions, kept


def _moved(mol: Chem.Mol, stereo: Stereo, positions: Positions) -> Positions:
    """Copies with each wrong mark's motions tried in turn, until one makes that mark right without a clash."""
    positions = positions.copy()
    for mark in reversed(range(len(stereo))):  # double bonds first
        if stereo.right(positions)[:, mark].all():
            continue
        for turn in _turns(mol, stereo, mark):
            rows = np.flatnonzero(~stereo.right(positions)[:, mark])
            moved = turn.of(positions[rows])
            for i in np.flatnonzero(stereo.right(moved)[:, mark]):
                if not _clash(positions[rows[i]], moved[i], turn.atoms):
                    positions[rows[i]] = moved[i]
    return positions


@dataclass(frozen=True, eq=False)
class _Turn:
    """Rotation of some atoms by 180 degrees about an axis through one atom: the sum of unit vectors along bonds.

    origin: the atom. towards: neighbours; for a lone pair, which they leave room for, all three are `away` too.
    """

    atoms: Int[NDArray[np.int64], "a"]
    origin: int
    towards: tuple[int, ...]
    away: tuple[int, ...] = ()

    def of(self, positions: Positions) -> Positions:
        origin = positions[:, [self.origin]]
        with np.errstate(invalid="ignore", divide="ignore"):
            to = _unit(positions[:, list(self.towards)] - origin).sum(1)
            if self.away:
                to = to - _unit(_unit(positions[:, list(self.away)] - origin).sum(1))
            axis = _unit(to)[:, None]
        moved = positions.copy()
        arms = positions[:, self.atoms] - origin
        moved[:, self.atoms] = origin + 2 * (arms * axis).sum(-1, keepdims=True) * axis - arms
        return moved


def _turns(mol: Chem.Mol, stereo: Stereo, mark: int) -> list[_Turn]:
    """Motions that may put a mark right, those of the fewest atoms first."""
    if mark >= len(stereo.centres):
        _, a, b, _ = stereo.double_bonds[mark - len(stereo.centres)].tolist()
        side = min(_branch(mol, b, a), _branch(mol, a, b), key=len)  # to turn the other side would be the same
        return [_Turn(side, a, (b,))] if len(side) else []
    centre = int(stereo.centres[mark])
    around = [atom.GetIdx() for atom in mol.GetAtomWithIdx(centre).GetNeighbors()]
    branches = {atom: branch for atom in around if len(branch := _branch(mol, centre, atom))}
    turns = [_Turn(np.concatenate([branches[p], branches[q]]), centre, (p, q)) for p, q in combinations(branches, 2)]
    if len(around) == 3:
        turns += [_Turn(branch, centre, (p,), tuple(around)) for p, branch in branches.items()]
    return sorted(turns, key=lambda turn: len(turn.atoms))


def _branch(mol: Chem.Mol, root: int, first: int) -> Int[NDArray[np.int64], "a"]:
    """Atoms beyond the bond from root to first, with first; none where the bond is in a ring."""
    if mol.GetBondBetweenAtoms(root, first).IsInRing():
        return np.zeros(0, dtype=np.int64)
    seen, ahead = {root, first}, [first]
    while ahead:
        for atom in mol.GetAtomWithIdx(ahead.pop()).GetNeighbors():
            if atom.GetIdx() not in seen:
                seen.add(atom.GetIdx())
                ahead.append(atom.GetIdx())
    return np.array(sorted(seen - {root}), dtype=np.int64)


def _clash(before: Float[NDArray, "n 3"], after: Float[NDArray, "n 3"], atoms: Int[NDArray[np.int64], "a"]) -> bool:
    """Whether some pair that was apart is closer than `CLASH` after these atoms have moved."""
    old, new = (np.linalg.norm(x[atoms, None] - x, axis=-1) for x in (before, after))
    return bool(((new < CLASH) & (old >= CLASH)).any())


def _volume(p: Float[NDArray, "k c 3"], q: Float[NDArray, "k c 3"], r: Float[NDArray, "k c 3"]) -> NDArray:
    return (p * np.cross(q, r)).sum(-1)


def _unit(vectors: Float[NDArray, "*s 3"]) -> Float[NDArray, "*s 3"]:
    """NaN for vectors without a direction."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _across(vectors: Float[NDArray, "k d 3"], axis: Float[NDArray, "k d 3"]) -> Float[NDArray, "k d 3"]:
    return vectors - (vectors * axis).sum(-1, keepdims=True) * axis
