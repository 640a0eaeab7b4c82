"""What networks read of the molecular graph that a cloud's condition holds."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, Condition

ELEMENTS = 100  # atomic numbers that are embedded


def known_nodes(z: Cloud, attributes: int) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b n k"]]:
    """Atomic numbers and the other attributes of the atoms, from `condition.nodes`; ValueError where they are not."""
    nodes = (z.condition or Condition()).nodes
    nodes = _present(nodes, "nodes", 1 + attributes, "atomic number first")
    return nodes[..., 0].long(), nodes[..., 1:].to(z.x.dtype)


def known_edges(z: Cloud, relations: int) -> Float[Tensor, "b n n e"]:
    """Channels of the pairs, from `condition.edges`; ValueError where they are not."""
    edges = (z.condition or Condition()).edges
    return _present(edges, "edges", relations, "1 on bonds first").to(z.x.dtype)


def known_modes(z: Cloud, count: int) -> Float[Tensor, "b n k"]:
    """The first modes of the molecular graph but the constant one, of mean square 1; zero where there are no more.

    Raises ValueError where `condition.modes` is not there.
    """
    modes = (z.condition or Condition()).modes
    if modes is None:
        raise ValueError("this network needs condition.modes (b, n, n); got none: condition the cloud on its graph")
    chosen = modes[..., 1 : 1 + count].to(z.x.dtype)
    chosen = F.pad(chosen, (0, count - chosen.shape[-1]))
    return F.normalize(chosen, dim=1, eps=1e-6) * z.mask.sum(1, keepdim=True).sqrt()


def _present(values: Tensor | None, name: str, channels: int, order: str) -> Tensor:
    if values is None or values.shape[-1] != channels:
        found = "none" if values is None else f"{values.shape[-1]}"
        raise ValueError(
            f"this network needs condition.{name} with {channels} channels ({order}); got {found}: "
            "condition the cloud on a molecular graph of these features"
        )
    return values
