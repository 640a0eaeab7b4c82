"""Clouds that know their molecular graph: random trees with random features."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from coset.cloud import Cloud, Condition
from example_clouds import random_cloud

SIZES = [5, 1, 7, 2]
ATTRIBUTES, RELATIONS = 3, 2
T = torch.tensor([0.05, 0.4, 0.6, 0.95], dtype=torch.float64)


def graph_cloud(sizes: list[int] = SIZES, dtype: torch.dtype = torch.float64, spread: float = 1.5) -> Cloud:
    """Centred normal positions; every atom but the first is bonded to an earlier one; no features."""
    z = random_cloud(sizes, features=0, dtype=dtype).scale(spread)
    generator = torch.Generator().manual_seed(1)
    b, n = z.x.shape[:2]
    numbers = torch.randint(1, 10, (b, n, 1), generator=generator)
    nodes = torch.cat([numbers, torch.randn(b, n, ATTRIBUTES, generator=generator)], -1).to(dtype) * z.mask
    bonds = torch.zeros(b, n, n, dtype=dtype)
    for row, size in enumerate(sizes):
        for atom in range(1, size):
            other = int(torch.randint(atom, (), generator=generator))
            bonds[row, atom, other] = bonds[row, other, atom] = 1
    more = torch.randn(b, n, n, RELATIONS - 1, generator=generator).to(dtype) * (z.mask @ z.mask.mT)[..., None]
    edges = torch.cat([bonds[..., None], more], -1)
    condition = Condition(nodes=nodes, edges=edges, modes=modes_of(bonds, sizes))
    return replace(z, condition=condition)


def modes_of(bonds: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """u_k / sqrt(lambda_k) in column k, and zeros in the first and in padding."""
    out = torch.zeros_like(bonds)
    for row, size in enumerate(sizes):
        adjacency = bonds[row, :size, :size]
        values, vectors = torch.linalg.eigh(adjacency.sum(1).diag() - adjacency)
        out[row, :size, 1:size] = vectors[:, 1:] / values[1:].sqrt()
    return out


def longer(z: Cloud, extra: int) -> Cloud:
    """The same molecules with more padding."""
    assert z.condition is not None and z.condition.edges is not None
    rows, square = (0, 0, 0, extra), (0, extra, 0, extra)
    known = z.condition
    condition = Condition(
        nodes=F.pad(known.nodes, rows),
        edges=F.pad(z.condition.edges, (0, 0, *square)),
        modes=F.pad(known.modes, square),
    )
    return Cloud(*(F.pad(part, rows) for part in (z.x, z.h, z.mask)), condition)


def alone(z: Cloud, row: int) -> Cloud:
    """One molecule of the batch, without padding."""
    size, known = int(z.count[row]), z.condition
    one = slice(row, row + 1)
    assert known is not None and known.edges is not None
    condition = Condition(
        nodes=known.nodes[one, :size], edges=known.edges[one, :size, :size], modes=known.modes[one, :size, :size]
    )
    return Cloud(*(part[one, :size] for part in (z.x, z.h, z.mask)), condition)
