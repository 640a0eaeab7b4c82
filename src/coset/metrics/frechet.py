"""Fréchet: how far apart are two sets of descriptors, as Gaussians?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d) of d descriptors."""

    mean: Float[NDArray[np.float64], "d"]
    covariance: Float[NDArray[np.float64], "d d"]

    @classmethod
    def of(cls, table: Float[NDArray, "m d"]) -> Moments:
        """Of m rows. Raises ValueError for fewer than two, which have no covariance."""
        if len(table) < 2:
            raise ValueError(f"A covariance needs two rows or more, got {len(table)}.")
        return cls(table.mean(0), np.atleast_2d(np.cov(table, rowvar=False)))

    def standardised(self, by: Moments) -> Moments:
        """In units of the standard deviations of `by`; a descriptor that never varies there keeps its unit."""
        scale = np.sqrt(np.diagonal(by.covariance))
        scale = np.where(scale > 0, scale, 1.0)
        return Moments((self.mean - by.mean) / scale, self.covariance / np.outer(scale, scale))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2), the squared distance of two Gaussians (Dowson & Landau 1982).

    Squared, as the inception and ChemNet distances of that name are printed. With (C1^1/2 C2 C1^1/2)^1/2, of equal
    trace, no root is complex.
    """
    root = _root(first.covariance)
    cross = np.linalg.eigvalsh(root @ second.covariance @ root)
    apart = np.square(first.mean - second.mean).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(apart + traces - 2 * np.sqrt(np.maximum(cross, 0)).sum()))


def descriptor_distance(sample: Float[NDArray, "m d"], data: Moments) -> float:
    """The Fréchet distance between descriptors of a sample and those of the data, in units of the data's deviations.

    It sees *which* molecules are drawn (rings, groups, branching) and no geometry. It is not FCD (Preuer et al. 2018):
    that one takes activations of ChemNet, whose weights are not part of this library, so the two share neither scale
    nor ranking. A small sample lies too far away, by about a constant over its number: compare equal numbers only, and
    with the data's own at that number. NaN for fewer than two rows.
    """
    if len(sample) < 2:
        return float("nan")
    return frechet_distance(Moments.of(sample).standardised(data), data.standardised(data))


def _root(matrix: Float[NDArray, "d d"]) -> Float[NDArray, "d d"]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
