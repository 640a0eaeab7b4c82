"""Dropout of conditions: a model that is not told everything all the time can be asked for anything, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from coset.cloud import Cloud
from coset.conditions.layout import Layout
from coset.noise import Noise


@dataclass(frozen=True)
class Dropout:
    """Forgets conditions in training, each kind of each molecule on its own (Ho & Salimans 2021).

    rate: with which a kind is forgotten. Of those that are left pattern fingerprints lose bits, a share that is uniform
    between none and all in half of the molecules: a part has fewer bits than its molecule, and is asked for in
    sampling. Raises ValueError for rates outside [0, 1].
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
        for number, (name, place) in enumerate(self.layout.slices.items()):
            own = noise.number(number)
            kept = (own.uniform() >= self.rate).to(scalars.dtype)
            scalars[:, place] = scalars[:, place] * kept[:, None]
            if name == "pattern":
                scalars[:, place.start + 1 : place.stop] *= self._thinned(own.fork(1), place.stop - place.start - 1)
        return replace(cloud, condition=replace(cloud.condition, scalars=scalars))

    def _thinned(self, noise: Noise, bits: int) -> torch.Tensor:
        whole, share = noise.fork(0).uniform(2).unbind(1)
        share = torch.where(whole < 0.5, torch.ones_like(share), share)
        return (noise.fork(1).uniform(bits) < share[:, None]).float()
