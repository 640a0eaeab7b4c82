"""Networks that know where in their molecule's order an atom stands."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Network

WAVES = 8  # of the order, from half of one over the molecule to four
CHANNELS = 2 * WAVES


class Indexed(Network):
    """A network whose atoms know their place, from 0 at the first to 1 at the last, as waves beside their features.

    network: for `CHANNELS` features more than it is given here; what it says of these is dropped. Equivariant to
    rotations where the network is, to permutations never: it is for molecules whose atoms come in an order of their
    own. Padding, which comes last, changes nothing.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.width = network, network.width

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        out = self.network(replace(z, h=torch.cat([z.h, places(z.mask).to(z.h.dtype)], -1)), t)
        return replace(out, h=out.h[..., : z.h.shape[-1]])


def places(mask: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n k"]:
    """Sines and cosines of each atom's place in its molecule; zero on padding."""
    place = (mask.cumsum(1) - 0.5) / mask.sum(1, keepdim=True)
    angles = math.pi * place * torch.arange(1, WAVES + 1, device=mask.device)
    return torch.cat([angles.sin(), angles.cos()], -1) * mask
