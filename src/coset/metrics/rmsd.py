"""RMSD: how far apart are two conformers of one molecule, at best over rotations and over atoms that are alike?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem, rdBase

MOST_MAPS = 1_000  # of the test molecules of GEOM, none has more than 288
_BLOCK = 1 << 14  # 3 x 3 matrices at a time: they stay in the processor's cache
_TINY = 1e-60  # keeps a matrix of zeros from dividing by zero
_CLOSE = 1e-3  # cosines this near to 1 are computed again, to rounding
# An O or N with one heavy neighbour, single to an atom that is double to another such atom, or the other way round.
_END = "O,N;D1"
_CONJUGATED_END = f"[{_END};$([{_END}]-[*]=[{_END}]),$([{_END}]=[*]-[{_END}])]~[*]"


@dataclass(frozen=True, eq=False)
class RMSDs:
    """Distances of two ensembles of one molecule.

    matrix: in Angstrom, NaN where a conformer has a heavy atom that is nowhere. maps: how many maps of the atoms to
    themselves were tried. capped: whether there are more, so that distances are upper bounds.
    """

    matrix: Float[NDArray[np.float64], "l k"]
    maps: int
    capped: bool


def rmsd_matrix(
    mol: Chem.Mol,
    reference: Float[NDArray, "l n 3"],
    generated: Float[NDArray, "k n 3"],
    most_maps: int = MOST_MAPS,
) -> RMSDs:
    """Root-mean-square distances of heavy atoms after the best alignment, the least over the maps of `heavy_maps`.

    mol: with explicit hydrogens, in the atom order of both ensembles. Positions in Angstrom. Reflections are not
    allowed. Equals RDKit's GetBestRMS of the two conformers without any hydrogen (its RemoveHs leaves some in place,
    such as that of an imine). A single heavy atom gives 0; without heavy atoms, as in H2, all atoms count.
    Raises ValueError for shapes that disagree and for a molecule that RDKit cannot sanitise.
    """
    ensembles = [_checked(mol, each, name) for each, name in ((reference, "reference"), (generated, "generated"))]
    atoms, maps, capped = heavy_maps(mol, most_maps)
    (first, sizes), (second, other_sizes) = (_shapes(each[:, atoms]) for each in ensembles)
    alike = _likeness(first, second, maps)
    # |a - b|^2 = (|a| - |b|)^2 + 2 |a| |b| (1 - cos): no digits are lost where the two are equal
    product = sizes[:, None] * other_sizes
    squares = np.square(sizes[:, None] - other_sizes) + 2 * product * np.maximum(1 - alike, 0)
    return RMSDs(np.sqrt(squares / len(atoms)), len(maps), capped)


def heavy_maps(
    mol: Chem.Mol, most: int = MOST_MAPS
) -> tuple[Int[NDArray[np.int64], "h"], Int[NDArray[np.int64], "m h"], bool]:
    """The heavy atoms, the maps of these to one another that keep elements, charges and bonds, and whether some lack.

    Maps are numbered by place among the heavy atoms; the identity is always one. As in RDKit's GetBestRMS, hydrogen
    counts and chirality do not matter, and the ends of conjugated groups are alike: the O of a carboxylate, acid, nitro
    group, sulfone or phosphate, the N of a guanidine. Beyond `most` maps, those found first are returned.
    Raises ValueError for a molecule without atoms and for most < 1.
    """
    if most < 1:
        raise ValueError(f"one map, the identity, is always there; got most={most}, give 1 or more")
    if mol.GetNumAtoms() == 0:
        raise ValueError("a molecule without atoms has no conformers to compare; give one with atoms")
    atoms = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() != 1]
    with rdBase.BlockLogs():
        bare = Chem.Mol(mol, True)  # without conformers, which would be copied
        graph = Chem.RemoveAllHs(bare) if atoms else bare
        atoms = atoms or list(range(mol.GetNumAtoms()))
        assert graph.GetNumAtoms() == len(atoms), "all hydrogens, and only these, are removed"
        matches = graph.GetSubstructMatches(
            _with_equal_ends(graph), uniquify=False, useChirality=False, maxMatches=most + 1
        )
    maps = np.array(matches[:most], dtype=np.int64)
    identity = np.arange(len(atoms))
    if not (maps == identity).all(1).any():
        maps[-1] = identity
    return np.array(atoms), maps, len(matches) > most


def _with_equal_ends(graph: Chem.Mol) -> Chem.RWMol:
    """A query for the graph itself in which bonds to conjugated ends match single and double ones, of any charge."""
    query = Chem.RWMol(graph)
    either = Chem.BondFromSmarts("-,=")
    ends = Chem.MolFromSmarts(_CONJUGATED_END)
    for end, middle in graph.GetSubstructMatches(ends, maxMatches=graph.GetNumAtoms()):
        query.GetAtomWithIdx(end).SetFormalCharge(0)  # a neutral atom of a query matches charged ones
        query.ReplaceBond(graph.GetBondBetweenAtoms(end, middle).GetIdx(), either)
    return query


def _checked(mol: Chem.Mol, positions: NDArray, name: str) -> Float[NDArray[np.float64], "k n 3"]:
    if np.ndim(positions) != 3 or np.shape(positions)[1:] != (mol.GetNumAtoms(), 3):
        raise ValueError(
            f"{name} positions have shape {np.shape(positions)}; give (conformers, {mol.GetNumAtoms()}, 3), "
            "one row for each atom of the molecule, hydrogens included"
        )
    return np.asarray(positions, dtype=np.float64)


def _shapes(
    x: Float[NDArray[np.float64], "k n 3"],
) -> tuple[Float[NDArray[np.float64], "k n 3"], Float[NDArray[np.float64], "k"]]:
    """Centred conformers scaled to unit norm, and those norms: NaN, with a shape of zeros, where any is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        centred = x - x.mean(1, keepdims=True)
        norms = np.sqrt(np.square(centred).sum((1, 2)))
    known = np.isfinite(norms)
    centred = np.where(known[:, None, None], centred, 0.0)
    divisors = np.where(known & (norms > 0), norms, 1.0)
    return centred / divisors[:, None, None], np.where(known, norms, np.nan)


def _likeness(
    first: Float[NDArray, "l n 3"], second: Float[NDArray, "k n 3"], maps: Int[NDArray, "m n"]
) -> Float[NDArray[np.float64], "l k"]:
    """Cosine between any two conformers in the best rotation under the best map: Kabsch (1976)."""
    found, chosen = _best_maps(first, second, maps)
    # The closed form has half the digits, too few where a distance near zero is what 1 leaves.
    rows, columns = np.nonzero(found > 1 - _CLOSE)
    for start in range(0, len(rows), _BLOCK):
        l, k = rows[start : start + _BLOCK], columns[start : start + _BLOCK]
        h = first[l].transpose(0, 2, 1) @ second[k[:, None], maps[chosen[l, k]]]
        values = np.linalg.svd(h, compute_uv=False)
        found[l, k] = values[:, 0] + values[:, 1] + np.sign(np.linalg.det(h)) * values[:, 2]
    return found


def _best_maps(
    first: Float[NDArray, "l n 3"], second: Float[NDArray, "k n 3"], maps: Int[NDArray, "m n"]
) -> tuple[Float[NDArray[np.float64], "l k"], Int[NDArray[np.int64], "l k"]]:
    """For each pair the cosine by the closed form, and the number of the map under which it is largest."""
    (l, n, _), k = first.shape, len(second)
    best, found = np.full((l, k), -np.inf), np.zeros((l, k), dtype=np.int64)
    if k == 0:
        return best, found
    at_once = max(1, min(len(maps), _BLOCK // k))
    rows = max(1, _BLOCK // (k * at_once))
    left = first.transpose(2, 0, 1)[:, None]
    for start in range(0, len(maps), at_once):
        chosen = maps[start : start + at_once]
        right = second[:, chosen].transpose(3, 2, 0, 1).reshape(3, n, -1)  # (3, n, k maps)
        for row in range(0, l, rows):
            here = slice(row, row + rows)
            alike = _closed_form(left[:, :, here] @ right).reshape(-1, k, len(chosen))
            winner = alike.argmax(-1)
            value = np.take_along_axis(alike, winner[..., None], -1)[..., 0]
            better = value > best[here]
            best[here] = np.where(better, value, best[here])
            found[here] = np.where(better, winner + start, found[here])
    return best, found


def _closed_form(h: Float[NDArray, "3 3 *p"]) -> Float[NDArray, "*p"]:
    """Sum of the singular values of 3 x 3 matrices, the least with the determinant's sign; to 1e-8 for norms near 1.

    The square of the largest, s1, is an eigenvalue of h^T h, from the cosine that solves a cubic (Smith 1961); the
    other two follow from (s2 + s3)^2 = |h|^2 - s1^2 + 2 det(h) / s1.
    """
    (xx, xy, xz), (yy, yz), (zz,) = ([(h[:, i] * h[:, j]).sum(0) for j in range(i, 3)] for i in range(3))
    trace = xx + yy + zz
    mean = trace / 3
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = np.sqrt((xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6 + _TINY)
    half = (xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)) / 2
    largest = mean + 2 * spread * np.cos(np.arccos(np.clip(half / spread**3, -1, 1)) / 3)
    s1 = np.sqrt(largest)
    return s1 + np.sqrt(np.maximum(trace - largest + 2 * _determinant(h) / s1, 0))


def _determinant(h: Float[NDArray, "3 3 *p"]) -> Float[NDArray, "*p"]:
    (a, b, c), (d, e, f), (g, i, j) = h
    return a * (e * j - f * i) - b * (d * j - f * g) + c * (d * i - e * g)
