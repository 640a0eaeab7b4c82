"""Orders of atoms that a molecule has of itself, whatever order its file has them in."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from coset.cloud import Cloud

REACH = 1.5  # Angstrom, about a bond: neighbours weigh exp(-d^2 / (2 REACH^2))
_FAR = 1e4  # above every eigenvalue, which are at most twice the atoms; larger costs digits


@torch.no_grad()
def spectral_order(cloud: Cloud) -> Int[Tensor, "b n"]:
    """From one end of the molecule to the other: atoms by the Fiedler vector of their distances, padding last.

    That is the slowest vibration of the graph whose edges weigh less the longer they are (Fiedler 1973; as an order of
    atoms: CanonFlow, 2026). The same for every pose, mirror image and order of the input, but among atoms that have the
    same component, and for which end comes first where the third moment along it vanishes: molecules symmetric end to
    end. In float64; atoms' types are not looked at.
    """
    x, real = cloud.x.double(), cloud.mask[..., 0].double()
    apart = (x[:, :, None] - x[:, None]).square().sum(-1)
    weights = torch.exp(-apart / (2 * REACH**2)) * real[:, :, None] * real[:, None]
    laplacian = torch.diag_embed(weights.sum(-1) + _FAR * (1 - real)) - weights
    # The constant vector, whose eigenvalue is 0, and padding are lifted out of the way: what is slowest comes first.
    constant = real / real.sum(-1, keepdim=True).sqrt()
    lifted = laplacian + _FAR * constant[:, :, None] * constant[:, None]
    along = torch.linalg.eigh(lifted).eigenvectors[..., 0] * real
    along = torch.where(along.pow(3).sum(-1, keepdim=True) < 0, -along, along)
    return torch.where(real > 0, along, torch.inf).argsort(dim=-1, stable=True)
