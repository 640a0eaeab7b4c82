"""Plain message passing over atoms, not equivariant: the network of GDM (Hoogeboom et al. 2022), and one for poses."""

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
from coset.recomputing import lean


class GNN(Network):
    """Positions enter as features of the atoms; 256 x 9 counts 3,555,859 parameters at 6 features.

    Messages run between real atoms only, which the released code forgot: its output changes with padding.
    out: features of what comes out, where it is not another estimate of what goes in; there is no time then.
    """

    def __init__(self, features: int, width: int = 256, depth: int = 9, out: int | None = None) -> None:
        super().__init__()
        self.width, self.timed = width, out is None
        self.embed = nn.Linear(3 + features + self.timed, width)
        self.messages = nn.ModuleList(MessageLayer(width) for _ in range(depth))
        self.head = nn.Linear(width, 3 + (features + 1 if out is None else out))

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        h, pairs = torch.cat([z.x, z.h], -1), real_pairs(z.mask)
        h = with_told(self.embed(with_time(h, t, z.mask) if self.timed else h), z)
        with trunk_autocast(self, z.x):
            for message in self.messages:
                h = lean(message)(h, None, pairs) * z.mask
        out = self.head(h.to(z.h.dtype)) * z.mask
        # The last channel belongs to the time that came in; EDM drops it.
        features = out[..., 3 : out.shape[-1] - self.timed]
        return replace(z, x=center(out[..., :3], z.mask), h=features)


class PoseGNN(nn.Module):
    """A 3 x 3 matrix a molecule from its positions and features as they lie: RADM's rotation network.

    The published size counts 925,451 parameters at 6 features. Pools over real atoms.
    """

    def __init__(self, features: int, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(3 + features, width), nn.Linear(width, width)
        self.messages = nn.ModuleList(MessageLayer(width) for _ in range(depth))
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 9))

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Float[Tensor, "b 3 3"]:
        pairs = real_pairs(z.mask)
        h = self.embed(torch.cat([z.x, z.h], -1))
        for message in self.messages:
            h = lean(message)(h, None, pairs) * z.mask
        return self.head((self.out(h) * z.mask).sum(1) / z.count[:, None]).view(-1, 3, 3)
