"""Networks that are told what they are to draw."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Network


class Conditioned(Network):
    """For any network: an embedding of `Condition.scalars` joins each atom's features.

    The network has `width` feature channels more than the cloud; those are lost on the way out. Scalars that are not
    there are zeros. Equivariant where the network is, for scalars do not turn.
    """

    def __init__(self, network: Network, scalars: int, width: int) -> None:
        super().__init__()
        self.network, self.scalars, self.width = network, scalars, width
        self.embed = nn.Sequential(nn.Linear(scalars, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        condition = z.condition
        known, earlier = (condition.scalars, condition.previous) if condition else (None, None)
        if known is None:
            known = z.x.new_zeros(len(z), self.scalars)
        told = self.embed(known.to(z.x.dtype))[:, None] * z.mask
        if condition is not None and earlier is not None:
            # An earlier estimate has as many channels as what it is an estimate of.
            condition = replace(condition, previous=replace(earlier, h=F.pad(earlier.h, (0, self.width))))
        out = self.network(replace(z, h=torch.cat([z.h, told], -1), condition=condition), t)
        if out.condition is not None and earlier is not None:
            out = replace(out, condition=replace(out.condition, previous=earlier))
        return replace(out, h=out.h[..., : z.h.shape[-1]])
