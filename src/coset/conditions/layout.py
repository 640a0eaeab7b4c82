"""Layout: where each condition stands in `Condition.scalars`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

BITS = 1024  # of a fingerprint


@dataclass(frozen=True)
class Layout:
    """Kinds of conditions side by side, each a flag (1 where it is given) before its numbers.

    names: "composition" (shares of the elements in twentieths: an atom more or less is about 1), "pattern" and "morgan"
    (fingerprints, see `fingerprints`), or those of properties, one standardised number each. types: elements of the
    vocabulary. What is not given is zero altogether, so that no condition at all is what a model makes of zeros. Raises
    ValueError for a name twice.
    """

    names: tuple[str, ...]
    types: int

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"each condition can be given once; got {', '.join(self.names)}")

    @property
    def slices(self) -> dict[str, slice]:
        """Of each kind, its flag included."""
        found, start = {}, 0
        for name in self.names:
            stop = start + 1 + self.width(name)
            found[name], start = slice(start, stop), stop
        return found

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of each kind, its flag included."""
        return tuple(1 + self.width(name) for name in self.names)

    @property
    def size(self) -> int:
        return sum(self.sizes)

    @property
    def properties(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in ("composition", *FINGERPRINTS))

    def width(self, name: str) -> int:
        """Numbers of a kind, without its flag."""
        return {"composition": self.types, **dict.fromkeys(FINGERPRINTS, BITS)}.get(name, 1)

    def scalars(self, values: Mapping[str, Float[Tensor, "b k"]]) -> Float[Tensor, "b f"]:
        """Of a batch that is given some of the kinds, at least one."""
        size = len(next(iter(values.values())))
        scalars = torch.zeros(size, self.size)
        for name, given in values.items():
            place = self.slices[name]
            scalars[:, place.start] = 1.0
            scalars[:, place.start + 1 : place.stop] = given
        return scalars


FINGERPRINTS = ("pattern", "morgan")


def shares(counts: NDArray) -> NDArray[np.float32]:
    """Of the elements (..., types) in molecules with so many atoms of each, in twentieths."""
    return (20 * counts / counts.sum(-1, keepdims=True)).astype(np.float32)
