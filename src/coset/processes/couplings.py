"""Couplings: which noise is put beside which clean cloud in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import roma
import torch
from torch import Tensor

from coset.cloud import Cloud

Coupling = Callable[[Cloud, Cloud], Cloud]
"""(clean cloud, draw of the prior) to the draw that it is coupled with."""


def independent(x0: Cloud, end: Cloud) -> Cloud:
    """The draw itself: the only coupling under which orbit means are exact (`symmetry.targets`)."""
    return end


def paired(x0: Cloud, end: Cloud) -> Cloud:
    """The noise that a trained model made the clean cloud of (`Condition.end`), which makes paths straight.

    Liu et al. (2023), "reflow". Raises ValueError for clouds that do not carry it.
    """
    known = None if x0.condition is None else x0.condition.end
    if known is None:
        raise ValueError(
            "paired ends need the noise that each clean cloud was made of; give the cloud a Condition(end=...) first"
        )
    return replace(end, x=known)


def aligned(x0: Cloud, end: Cloud) -> Cloud:
    """The draw turned to the pose nearest to the clean cloud (Kabsch 1976), both centred: shorter and straighter paths.

    What stands beside a clean cloud then depends on it, so that a noisy cloud says more of its pose than its likelihood
    does, and the mean over poses by that likelihood is no longer the mean of the training target.
    """
    cross = torch.einsum("bni,bnj->bij", x0.x.double(), end.x.double())
    # A degenerate cross-covariance (one or two atoms, a line) has many best rotations: any of them serves.
    rotation = cast(Tensor, roma.special_procrustes(cross, gradient_eps=0.0)).to(end.x.dtype)
    return replace(end, x=end.x @ rotation.mT)
