"""Networks that are told what they are to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, Condition
from coset.interfaces import Network


class Conditioned(Network):
    """For any network with tokens: an embedding of `Condition.scalars` is added to the token of every atom.

    kinds: numbers of each kind of scalars, in their order; each has a first layer of its own, for beside the thousand
    bits of a fingerprint the few numbers of a composition would hardly be heard. hidden: units of the embedding, whose
    last layer begins with zeros, so that a network that is trained already begins as it was. Scalars that are not there
    are zeros. Equivariant where the network is, for scalars do not turn. Raises ValueError for a network without
    tokens.
    """

    def __init__(self, network: Network, kinds: Sequence[int], hidden: int) -> None:
        super().__init__()
        if not network.width:
            raise ValueError(f"a network of tokens can be told something; {type(network).__name__} has none")
        self.network, self.kinds, self.width = network, tuple(kinds), network.width
        self.embed = nn.ModuleList(nn.Linear(size, hidden) for size in self.kinds)
        self.last = nn.Linear(hidden, self.width)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        condition = z.condition or Condition()
        known = condition.scalars
        known = z.x.new_zeros(len(z), sum(self.kinds)) if known is None else known.to(z.x.dtype)
        heard = [embed(part) for embed, part in zip(self.embed, known.split(self.kinds, -1), strict=True)]
        told = replace(condition, told=self.last(F.silu(torch.stack(heard).sum(0))))
        out = self.network(replace(z, condition=told), t)
        if out.condition is told:
            return replace(out, condition=z.condition)
        return out if out.condition is None else replace(out, condition=replace(out.condition, told=None))
