"""Dense message passing over all pairs of real atoms (Satorras et al. 2021; EDM, Hoogeboom et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PairLinear(nn.Linear):
    """Linear([h_i, h_j, edge_ij]) for all pairs without making the concatenation.

    The weight's columns are applied to atoms before pairs are formed: W1 h_i + W2 h_j + W3 e_ij.
    """

    def __init__(self, width: int, edges: int, out: int) -> None:
        super().__init__(2 * width + edges, out)
        self.width = width

    def forward(
        self,
        h: Float[Tensor, "b n w"],
        edges: Float[Tensor, "b n n e"] | None,
        shift: Float[Tensor, "b 1 o"] | None = None,
    ) -> Float[Tensor, "b n n o"]:
        """shift: added to all pairs of a molecule."""
        receiver, sender, pair = self.weight.tensor_split((self.width, 2 * self.width), dim=1)
        received = F.linear(h, receiver, self.bias)
        received = received if shift is None else received + shift
        out = received[:, :, None] + F.linear(h, sender)[:, None]
        return out if edges is None else out + F.linear(edges, pair)


class MessageLayer(nn.Module):
    """h_i <- h_i + MLP(h_i, sum_j gate_ij m_ij), m_ij = MLP(h_i, h_j, edge_ij)."""

    def __init__(self, width: int, edges: int = 0) -> None:
        super().__init__()
        self.first, self.second = PairLinear(width, edges, width), nn.Linear(width, width)
        self.gate = nn.Linear(width, 1)
        self.node = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Float[Tensor, "b n w"], edges: Tensor | None, pairs: Float[Tensor, "b n n 1"]) -> Tensor:
        messages = F.silu(self.second(F.silu(self.first(h, edges))))
        summed = (messages * (torch.sigmoid(self.gate(messages)) * pairs)).sum(2)
        return h + self.node(torch.cat([h, summed.to(h.dtype)], -1))


def real_pairs(mask: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n n 1"]:
    """1 for pairs of distinct real atoms."""
    different = 1 - torch.eye(mask.shape[1], dtype=mask.dtype, device=mask.device)
    return (mask * mask.mT * different)[..., None]


def with_time(h: Float[Tensor, "b n f"], t: Float[Tensor, "b"], mask: Tensor) -> Float[Tensor, "b n g"]:
    """Appends t as one more channel of every atom."""
    time = t.to(h.dtype)[:, None, None].expand(-1, h.shape[1], 1)
    return torch.cat([h, time * mask], -1)
