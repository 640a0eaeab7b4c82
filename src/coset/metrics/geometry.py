"""Geometry: bond lengths, bond angles and torsions of molecules, counted by kind."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from coset.metrics.distribution import count_values

STRAIGHT = 165.0  # degrees; a dihedral beside a wider angle, or one narrower than 15, means nothing
_CROWD = 7  # atoms with so many neighbours or more are of one kind, and in the middle of no angle or torsion
_ELEMENTS, _SITES = 119, 119 * (_CROWD + 1)  # values of an atomic number, alone and with a number of neighbours


class Scale(NamedTuple):
    """Number and width of the bins of a histogram; the last one holds what lies beyond."""

    bins: int
    width: float


LENGTHS, ANGLES, TORSIONS = Scale(3000, 0.1), Scale(180, 1.0), Scale(180, 1.0)  # pm, degrees, degrees
SCALES = LENGTHS, ANGLES, TORSIONS


class Geometry(NamedTuple):
    """Joint histograms over kind and value, each bin one integer key: kind * bins + bin, see `SCALES`.

    lengths: bonds in pm; a kind is two elements with the numbers of their neighbours (CH2-CH2, say).
    angles: in degrees; a kind is the middle element with its number of neighbours and the elements of the ends.
    torsions: |dihedral| in degrees, 0 cis to 180 trans: the circle folded, so that -179 and 179 are one value and
    mirror images are equal; a kind is four elements and the numbers of neighbours of the middle two.
    """

    lengths: Counter[int]
    angles: Counter[int]
    torsions: Counter[int]


def count_geometry(
    numbers: Int[NDArray, "b n"], positions: Float[NDArray, "b n 3"], orders: Int[NDArray, "b n n"]
) -> Geometry:
    """Counts the bond lengths, bond angles and torsions of molecules whose bonds are known.

    numbers: zero where padded. positions: Angstrom. orders: see `bond_orders`. Kinds tell atoms apart by their numbers
    of neighbours, not bonds by their order: the rule takes the order from the length itself, so a shorter bond would
    become another kind in place of showing as shorter. Atoms at one place are not bonded here.
    """
    bonds = _directed_bonds(numbers, positions, orders)
    return Geometry(_lengths(bonds), _angles(bonds), _torsions(bonds))


def angle_elements(kind: int) -> tuple[int, int, int]:
    """Atomic numbers end, middle, end of a kind of angles; numbers of neighbours aside."""
    rest, last = divmod(kind, _ELEMENTS)
    site, first = divmod(rest, _ELEMENTS)
    return first, site // (_CROWD + 1), last


def torsion_elements(kind: int) -> tuple[int, int, int, int]:
    """Atomic numbers along the chain of a kind of torsions, the same from either end; numbers of neighbours aside."""
    halves = [divmod(half, _ELEMENTS) for half in divmod(kind, _SITES * _ELEMENTS)]
    (a, b), (d, c) = ((end, site // (_CROWD + 1)) for site, end in halves)
    return min((a, b, c, d), (d, c, b, a))


class _Bonds(NamedTuple):
    """Every bond in both directions, e of them, sorted by the atom that each starts from; a atoms of all molecules.

    first: place of an atom's first bond. number, degree: atomic number and number of neighbours. unit: direction.
    """

    source: Int[NDArray, "e"]
    target: Int[NDArray, "e"]
    unit: Float[NDArray, "e 3"]
    length: Float[NDArray, "e"]
    first: Int[NDArray, "a"]
    number: Int[NDArray, "a"]
    degree: Int[NDArray, "a"]

    @property
    def site(self) -> Int[NDArray, "a"]:
        return self.number * (_CROWD + 1) + np.minimum(self.degree, _CROWD)


def _directed_bonds(
    numbers: Int[NDArray, "b n"], positions: Float[NDArray, "b n 3"], orders: Int[NDArray, "b n n"]
) -> _Bonds:
    batch, first, second = np.nonzero(orders)
    step = positions[batch, second] - positions[batch, first]
    length = np.linalg.norm(step, axis=-1)
    apart = length > 1e-6
    source, target = ((batch * numbers.shape[1] + end)[apart] for end in (first, second))
    degree = np.bincount(source, minlength=numbers.size)
    unit = step[apart] / length[apart, None]
    number = numbers.reshape(-1).astype(np.int64)
    return _Bonds(source, target, unit, length[apart], np.cumsum(degree) - degree, number, degree)


def _lengths(bonds: _Bonds) -> Counter[int]:
    once = np.flatnonzero(bonds.source < bonds.target)
    ends = np.sort([bonds.site[bonds.source[once]], bonds.site[bonds.target[once]]], axis=0)
    return _counted(ends[0] * _SITES + ends[1], 100 * bonds.length[once], LENGTHS)


def _angles(bonds: _Bonds) -> Counter[int]:
    """Of every two bonds that start from one atom."""
    left = np.flatnonzero(bonds.degree[bonds.source] < _CROWD)
    middle = bonds.source[left]
    later = bonds.first[middle] + bonds.degree[middle] - 1 - left
    right = _ranges(left + 1, later)
    left, middle = np.repeat(left, later), np.repeat(middle, later)
    ends = np.sort(bonds.number[[bonds.target[left], bonds.target[right]]], axis=0)
    kind = (bonds.site[middle] * _ELEMENTS + ends[0]) * _ELEMENTS + ends[1]
    return _counted(kind, _degrees(_dot(bonds.unit[left], bonds.unit[right])), ANGLES)


def _torsions(bonds: _Bonds) -> Counter[int]:
    """Of every chain a-b-c-d of four atoms, once: about each bond b-c, each bond b-a with each bond c-d."""
    crowded = bonds.degree >= _CROWD
    axis = np.flatnonzero((bonds.source < bonds.target) & ~crowded[bonds.source] & ~crowded[bonds.target])
    row, left, cos_left = _branches(bonds, axis, bonds.source[axis], bonds.target[axis])
    axis = axis[row]
    row, right, cos_right = _branches(bonds, axis, bonds.target[axis], bonds.source[axis])
    axis, left, cos_left = axis[row], left[row], cos_left[row]
    a, b, c, d = bonds.target[left], bonds.source[axis], bonds.target[axis], bonds.target[right]
    # the parts of b-a and c-d that are normal to b-c, of unit bonds
    cosine = (_dot(bonds.unit[left], bonds.unit[right]) + cos_left * cos_right) / np.sqrt(
        (1 - cos_left**2) * (1 - cos_right**2)
    )
    site, number = bonds.site, bonds.number
    halves = site[b] * _ELEMENTS + number[a], site[c] * _ELEMENTS + number[d]
    least, most = np.minimum(*halves), np.maximum(*halves)
    chain = a != d  # else it is a ring of three
    return _counted((least * _SITES * _ELEMENTS + most)[chain], _degrees(cosine)[chain], TORSIONS)


def _branches(
    bonds: _Bonds, axis: Int[NDArray, "r"], start: Int[NDArray, "r"], end: Int[NDArray, "r"]
) -> tuple[Int[NDArray, "s"], Int[NDArray, "s"], Float[NDArray, "s"]]:
    """The bonds of atom `start` other than the axis start-end: row of the axis, bond, cosine of the angle between.

    Those nearly along the axis are left out, see `STRAIGHT`.
    """
    count = bonds.degree[start]
    row = np.repeat(np.arange(len(axis)), count)
    branch = _ranges(bonds.first[start], count)
    sign = np.where(bonds.source[axis] == start, 1.0, -1.0)[row]
    cosine = sign * _dot(bonds.unit[branch], bonds.unit[axis[row]])
    bent = (bonds.target[branch] != end[row]) & (np.abs(cosine) < -np.cos(np.radians(STRAIGHT)))
    return row[bent], branch[bent], cosine[bent]


def _ranges(starts: Int[NDArray, "r"], counts: Int[NDArray, "r"]) -> Int[NDArray, "s"]:
    """starts[0], starts[0] + 1, ... so many of each, one row after the other."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + within


def _dot(a: Float[NDArray, "s 3"], b: Float[NDArray, "s 3"]) -> Float[NDArray, "s"]:
    return np.einsum("si,si->s", a, b)


def _degrees(cosine: Float[NDArray, "s"]) -> Float[NDArray, "s"]:
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _counted(kind: Int[NDArray, "s"], value: Float[NDArray, "s"], scale: Scale) -> Counter[int]:
    return count_values(kind * scale.bins + np.minimum(value / scale.width, scale.bins - 1).astype(np.int64))
