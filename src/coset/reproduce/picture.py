"""Pictures of molecules in space, seen aslant: the nearer the larger; and of directions, as dots on half a sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

TURN, RISE = math.radians(30), math.radians(20)  # of the eye, about the z axis and above the plane of x and y
APART, DISTANCE = 9.0, 30.0  # Angstrom between molecules, and from the eye to their centres
COLOURS = {1: "#e4e4e4", 6: "#4a4a4a", 7: "#3050f8", 8: "#e02020", 9: "#50b050"}
OTHER, BOND, MARKED = "#a040a0", "#9a9a9a", "#e89010"
AREA = 18.0  # of an atom, points squared; hydrogen has half
DOTS = 150  # of one kind of direction


@dataclass(frozen=True, eq=False)
class Ball:
    """A molecule to be drawn. x: (n, 3) in Angstrom. marked: bonds among these atoms stand out."""

    numbers: Int[NDArray[np.int64], "n"]
    x: Float[NDArray[np.float64], "n 3"]
    bonds: Sequence[tuple[int, int]]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Spread:
    """Directions of one kind, of any length. signed: otherwise n and -n are one."""

    name: str
    vectors: Float[NDArray[np.float64], "k 3"]
    colour: str
    signed: bool = False


def seen(x: Float[NDArray[np.float64], "n 3"]) -> Float[NDArray[np.float64], "n 3"]:
    """As the eye has it: to the right, upwards, and towards the eye."""
    right = np.array([math.cos(TURN), math.sin(TURN), 0.0])
    eye = np.array([math.sin(TURN) * math.cos(RISE), -math.cos(TURN) * math.cos(RISE), math.sin(RISE)])
    return x @ np.stack([right, np.cross(eye, right), eye], -1)


def draw_molecules(axis: Any, molecules: Sequence[Ball], columns: int) -> None:
    """Molecules row by row, their bonds behind all atoms, and in a corner the axes of space that they all lie in."""
    from matplotlib.collections import LineCollection

    rows, flats, depths, bonds = -(-len(molecules) // columns), [], [], []
    for place, molecule in enumerate(molecules):
        at = np.array([place % columns, -(place // columns)]) * APART
        turned = seen(molecule.x)
        nearer = DISTANCE / (DISTANCE - turned[:, 2])
        flats.append(turned[:, :2] * nearer[:, None] + at)
        depths.append(turned[:, 2])
        for ends in molecule.bonds:
            colour, width = (MARKED, 2.2) if set(ends) <= molecule.marked else (BOND, 1.0)
            bonds.append((flats[-1][list(ends)], colour, width * nearer[list(ends)].mean() ** 2))
    if bonds:
        lines, colours, widths = zip(*bonds, strict=True)
        axis.add_collection(LineCollection(lines, colors=colours, linewidths=widths, zorder=1))
    numbers = np.concatenate([molecule.numbers for molecule in molecules])
    _atoms(axis, np.concatenate(flats), np.concatenate(depths), numbers)
    left, low = -0.75 * APART, (0.25 - rows) * APART
    axis.set(aspect="equal", xticks=[], yticks=[], xlim=(left, (columns - 0.4) * APART), ylim=(low, 0.6 * APART))
    _axes(axis, np.array([left + 1.5, low + 1.5]))


def _atoms(
    axis: Any,
    flat: Float[NDArray[np.float64], "n 2"],
    depth: Float[NDArray[np.float64], "n"],
    numbers: Int[NDArray[np.int64], "n"],
) -> None:
    """The farthest first, in layers of an Angstrom: balls of one size take a fraction of the file."""
    layers, light = np.floor(depth), numbers == 1
    for layer in np.unique(layers):
        for among, area in ((light, AREA / 2), (~light, AREA)):
            chosen = (layers == layer) & among
            size = area * (DISTANCE / (DISTANCE - layer - 0.5)) ** 4
            colours = [COLOURS.get(number, OTHER) for number in numbers[chosen].tolist()]
            axis.scatter(*flat[chosen].T, s=size, c=colours, edgecolors="#303030", linewidths=0.3, zorder=2)


def _axes(axis: Any, at: Float[NDArray[np.float64], "2"]) -> None:
    for name, end in zip("xyz", seen(np.eye(3) * 2.5)[:, :2], strict=True):
        axis.plot(*np.stack([at, at + end]).T, color="#707070", linewidth=0.8)
        axis.text(*(at + 1.4 * end), name, fontsize=6, color="#707070", ha="center", va="center")


def draw_directions(axis: Any, kinds: Sequence[Spread]) -> None:
    """On the half of the sphere that z points to, equal areas as such; hollow those that point the other way."""
    for kind in kinds:
        unit = kind.vectors / np.linalg.norm(kind.vectors, axis=1, keepdims=True)
        unit = unit[:: -(-len(unit) // DOTS) or 1]
        upper = unit * np.where(unit[:, 2:] < 0, -1, 1)
        flat, below = upper[:, :2] / np.sqrt(1 + upper[:, 2:]), (unit[:, 2] < 0) & kind.signed
        style = {"s": 5, "edgecolors": kind.colour, "linewidths": 0.5}
        axis.scatter(*flat[~below].T, facecolors=kind.colour, label=kind.name, **style)
        axis.scatter(*flat[below].T, facecolors="none", **style)
    around = np.linspace(0, 2 * np.pi, 100)
    axis.plot(np.cos(around), np.sin(around), color="#909090", linewidth=0.8)
    axis.set(aspect="equal", xticks=[], yticks=[], xlim=(-1.6, 1.6), ylim=(-1.1, 1.7))
    axis.legend(fontsize=6, loc="upper center", frameon=False)
