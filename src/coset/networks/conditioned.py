"""Networks that are told what they are to draw."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, Condition
from coset.interfaces import Network


class Conditioned(Network):
    """For any network with tokens: an embedding of `Condition.scalars` is added to the token of every atom.

    hidden: units of the embedding, whose last layer begins with zeros, so that a network that is trained already
    begins as it was. Scalars that are not there are zeros. Equivariant where the network is, for scalars do not turn.
    Raises ValueError for a network without tokens.
    """

    def __init__(self, network: Network, scalars: int, hidden: int) -> None:
        super().__init__()
        if not network.width:
            raise ValueError(f"a network of tokens can be told something; {type(network).__name__} has none")
        self.network, self.scalars, self.width = network, scalars, network.width
        self.embed = nn.Sequential(nn.Linear(scalars, hidden), nn.SiLU(), nn.Linear(hidden, self.width))
        for values in self.embed[2].parameters():
            nn.init.zeros_(values)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        condition = z.condition or Condition()
        known = z.x.new_zeros(len(z), self.scalars) if condition.scalars is None else condition.scalars
        told = replace(condition, told=self.embed(known.to(z.x.dtype)))
        out = self.network(replace(z, condition=told), t)
        if out.condition is told:
            return replace(out, condition=z.condition)
        return out if out.condition is None else replace(out, condition=replace(out.condition, told=None))
