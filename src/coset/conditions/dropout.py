"""Dropout of conditions: a model that is not told everything all the time can be asked for anything, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from coset.cloud import Cloud
from coset.conditions.layout import Layout
from coset.noise import Noise


@dataclass(frozen=True)
class Dropout:
    """Forgets conditions in training (Ho & Salimans 2021), so that the model can be asked for some of them, or nothing.

    rate: share of the molecules of which nothing is told. Of the others between one and all kinds are, every number
    equally often: kinds that were forgotten on their own would hardly ever leave one alone, which is how one asks. Of
    those that are left pattern fingerprints lose bits, a share that is uniform between none and all in half of the
    molecules: a part has fewer bits than its molecule. Raises ValueError for rates outside [0, 1].
    """

    layout: Layout
    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of a dropout lies between 0 and 1; got {self.rate}")

    def __call__(self, cloud: Cloud, noise: Noise) -> Cloud:
        if cloud.condition is None or cloud.condition.scalars is None:
            return cloud
        scalars = cloud.condition.scalars.clone()
        for kept, (name, place) in zip(self._kept(noise.fork(0)).T, self.layout.slices.items(), strict=True):
            scalars[:, place] *= kept[:, None].to(scalars.dtype)
            if name == "pattern":
                scalars[:, place.start + 1 : place.stop] *= self._thinned(noise.fork(1), place.stop - place.start - 1)
        return replace(cloud, condition=replace(cloud.condition, scalars=scalars))

    def _kept(self, noise: Noise) -> Bool[Tensor, "b k"]:
        kinds = len(self.layout.names)
        anything, number = noise.fork(0).uniform(2).unbind(1)
        rank = noise.fork(1).uniform(kinds).argsort(1).argsort(1)
        return (rank <= (number * kinds).floor()[:, None]) & (anything >= self.rate)[:, None]

    def _thinned(self, noise: Noise, bits: int) -> Float[Tensor, "b f"]:
        whole, share = noise.fork(0).uniform(2).unbind(1)
        share = torch.where(whole < 0.5, torch.ones_like(share), share)
        return (noise.fork(1).uniform(bits) < share[:, None]).float()
