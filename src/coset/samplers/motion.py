"""Rigid motions of point clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import per_atom


@dataclass(frozen=True)
class Motion:
    """A rotation about one point, and the way from there to another: x -> R (x - start) + end, in float64."""

    rotation: Float[Tensor, "b 3 3"]
    start: Float[Tensor, "b 1 3"]
    end: Float[Tensor, "b 1 3"]

    @classmethod
    def between(
        cls, body: Float[Tensor, "b k 3"], onto: Float[Tensor, "b k 3"], variance: Float[Tensor, "b"] | None = None
    ) -> Motion:
        """That of least squared distance of the moved body to its target (Kabsch 1976), never a reflection.

        Where several are as good, as for one atom or for atoms on a line, one of them; all of them move the body to the
        same place. A target that is not finite moves its own body to nowhere, and no other. variance: of the target's
        coordinates; the larger, the less is turned.
        """
        body, onto = body.double(), onto.double()
        start, end = body.mean(1, keepdim=True), onto.mean(1, keepdim=True)
        covariance = (onto - end).mT @ (body - start)
        if variance is not None:
            still = torch.eye(3, dtype=torch.float64, device=body.device)
            covariance = covariance + per_atom(body.shape[1] * variance.double()) * still
        # A decomposition of what is not finite would be an error, and the whole batch its victim.
        rotation = cast(Tensor, roma.special_procrustes(covariance.nan_to_num(0.0, 0.0, 0.0)))
        return cls(rotation, start, end)

    def __call__(self, x: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        return (x.double() - self.start) @ self.rotation.mT + self.end
