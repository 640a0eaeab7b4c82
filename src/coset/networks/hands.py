"""Hands: where the corners of a stereocentre's triangle would have to lie, for networks that are not equivariant.

Which hand a noisy centre has is the sign of a product of three vectors, and the way to the other one is across a plane.
A plain network would have to find both from coordinates. Here it is given them, as numbers of each corner.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

HANDS = 4  # numbers of an atom


def told_hands(
    x: Float[Tensor, "b n 3"], apexes: Float[Tensor, "b n n"], triangles: Float[Tensor, "b n n"]
) -> Float[Tensor, "b n 4"]:
    """For a corner p of a directed triangle p -> q -> r -> p with apex s: the normal n = (q - p) x (r - p), and
    n . (p - s), which is positive where the hand is the one asked for; n and p - s shortened to 1 at most. Zero for
    other atoms.

    apexes: 1 between a corner and its apex, both ways; triangles: 1 from p to q. An atom of several triangles has the
    sums of its neighbours in the place of each. Positions x in Angstrom, from anywhere. Turned with a molecule n turns;
    in a mirror image with its triangles the other way n is mirrored, and the last number stays.
    """
    ahead, behind, above = (_steps(x, pairs) for pairs in (triangles, triangles.mT, apexes))
    normal = _shortened(torch.linalg.cross(ahead, behind))
    return torch.cat([normal, -(normal * _shortened(above)).sum(-1, keepdim=True)], -1)


def _steps(x: Float[Tensor, "b n 3"], pairs: Float[Tensor, "b n n"]) -> Float[Tensor, "b n 3"]:
    """Sums over pairs (i, j) of x_j - x_i."""
    return pairs @ x - pairs.sum(-1, keepdim=True) * x


def _shortened(vectors: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
    return vectors / (1 + vectors.square().sum(-1, keepdim=True)).sqrt()
