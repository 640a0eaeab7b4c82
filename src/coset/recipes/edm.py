"""EDM and its relatives (Hoogeboom et al. 2022): equivariant networks, a plain network, the latter rotated."""

from __future__ import annotations

from coset.diffusion import Augmentation, Diffusion
from coset.interfaces import Network
from coset.networks.egnn import EGNN
from coset.networks.eqgat import EQGAT, Shape
from coset.networks.gnn import GNN
from coset.recipes.common import affine_diffusion, affine_process, channels, predicting, told
from coset.recipes.settings import MessagePassing, Scheduled, Vectorial
from coset.symmetry.augmentation import random_rotation

SIZES = {
    "published": {},
    "small": {
        "width": 96, "depth": 5, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500,
        "decay": 0.4, "clip": 1.0, "ema": (0.999, 0.9995), "molecules": 1_000_000, "validate_every": 250_000,
    },
}  # fmt: skip
SIZES_EQGAT = {
    "published": {},
    "small": SIZES["small"] | {"width": 64, "vector_width": 32, "edge_width": 32, "depth": 4},
}


def edm(s: MessagePassing, types: int) -> Diffusion:
    """Equivariant by its network: EGNN, noise prediction, polynomial schedule."""
    return _composed(EGNN(channels(s, types), s.width, s.depth), s, types)


def edm_eqgat(s: Vectorial, types: int) -> Diffusion:
    """Equivariant by its network: END's, of scalar and vector channels, in EDM's place for it."""
    shape = Shape(s.width, s.vector_width, s.edge_width, s.depth)
    return _composed(EQGAT(channels(s, types), shape), s, types)


def gdm(s: MessagePassing, types: int) -> Diffusion:
    """No symmetry: a message-passing network that sees raw coordinates."""
    return _composed(GNN(channels(s, types), s.width, s.depth), s, types)


def gdm_aug(s: MessagePassing, types: int) -> Diffusion:
    """Symmetry from the data: `gdm` trained on molecules in random poses."""
    return _composed(GNN(channels(s, types), s.width, s.depth), s, types, random_rotation)


def _composed(network: Network, s: Scheduled, types: int, augment: Augmentation | None = None) -> Diffusion:
    process = affine_process(s)
    denoiser = predicting(told(network, s, types), process, s)
    return affine_diffusion(types, process, denoiser, s, augment)
