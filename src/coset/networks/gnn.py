"""A plain message-passing network over atoms, not equivariant: the network of GDM (Hoogeboom et al. 2022)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, center
from coset.interfaces import Network
from coset.networks.embeddings import with_told
from coset.networks.messages import MessageLayer, real_pairs, with_time
from coset.networks.precision import trunk_autocast


class GNN(Network):
    """Positions enter as features of the atoms; 256 x 9 counts 3,555,859 parameters at 6 features.

    Messages run between real atoms only, which the released code forgot: its output changes with padding.
    """

    def __init__(self, features: int, width: int = 256, depth: int = 9) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(3 + features + 1, width)
        self.messages = nn.ModuleList(MessageLayer(width) for _ in range(depth))
        self.head = nn.Linear(width, 3 + features + 1)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        pairs = real_pairs(z.mask)
        h = with_told(self.embed(with_time(torch.cat([z.x, z.h], -1), t, z.mask)), z)
        with trunk_autocast(self, z.x):
            for message in self.messages:
                h = message(h, None, pairs) * z.mask
        out = self.head(h.to(z.h.dtype)) * z.mask
        return replace(z, x=center(out[..., :3], z.mask), h=out[..., 3:-1])
