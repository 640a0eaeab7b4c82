"""Multilayer perceptrons on the positions of a few points: plain, and odd by construction."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Network


class MLP(Network):
    """All positions and the time through tanh layers; respects no symmetry. h is returned as it came.

    For clouds of `atoms` points in `dimension` dimensions, without padding; raises ValueError for others.
    `side_by_side` holds several such networks as one, each for its own share of the batch: networks as small as these
    take as long one by one.
    """

    def __init__(self, atoms: int, dimension: int, widths: Sequence[int] = (10, 5)) -> None:
        super().__init__()
        self.shape, self.members = (atoms, dimension), 1
        sizes = [atoms * dimension + 1, *widths, atoms * dimension]
        linears = [nn.Linear(width, following) for width, following in pairwise(sizes)]
        self.weights = nn.ParameterList(linear.weight.detach().mT[None] for linear in linears)
        self.biases = nn.ParameterList(linear.bias.detach()[None, None] for linear in linears)

    @classmethod
    def side_by_side(cls, networks: Sequence[MLP]) -> MLP:
        """One network whose i-th member, for the i-th of equal parts of a batch, is networks[i]."""
        joined = copy.deepcopy(networks[0])
        joined.members = len(networks)
        joined.weights, joined.biases = (
            nn.ParameterList(torch.cat(same).detach() for same in zip(*layers, strict=True))
            for layers in ([n.weights for n in networks], [n.biases for n in networks])
        )
        return joined

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        if z.x.shape[1:] != self.shape or len(z) % self.members:
            raise ValueError(
                f"this network is built for {self.shape[0]} points in {self.shape[1]} dimensions and batches that "
                f"{self.members} can share; got a batch of {len(z)}, {z.x.shape[1]} points in {z.x.shape[2]}"
            )
        values = torch.cat([z.x.flatten(1), t.to(z.x.dtype)[:, None]], 1).unflatten(0, (self.members, -1))
        last = len(self.weights) - 1
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias, values, weight)
            values = values if depth == last else values.tanh()
        return replace(z, x=values.reshape(z.x.shape))


class Odd(Network):
    """f(x, t) - f(-x, t): equivariant under the inversion x -> -x whatever f is, on the line under all of O(1)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        return replace(z, x=self.network(z, t).x - self.network(replace(z, x=-z.x), t).x)
