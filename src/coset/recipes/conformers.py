"""Conformers from graphs: ETFlow (Hassan et al. 2024), ETDiff, both with symmetrised targets (TS, Tong et al. 2025);
plain transformers in their place; both reflowed (Liu et al. 2023); MCF's way (Wang et al. 2024)."""

from __future__ import annotations

import torch

from coset.codecs.identity import Identity
from coset.diffusion import Diffusion
from coset.graphs.graph import APEX, EDGES, NODES, TRIANGLE
from coset.interfaces import Network
from coset.networks.et import ET
from coset.networks.graph_transformer import GraphTransformer
from coset.networks.outputs import FromNoise, FromVelocity
from coset.objectives.denoising import Denoising, NoiseWeight
from coset.objectives.flow import Flow, InsideTimes
from coset.processes.affine import Affine
from coset.processes.couplings import aligned, paired
from coset.processes.harmonic import Harmonic
from coset.processes.schedules import Bridge, Cosine
from coset.recipes.common import target_of
from coset.recipes.conformer_settings import (
    Ensembled,
    Equivariant,
    OverGraph,
    Reflowed,
    ReflowedEquivariant,
    ReflowedOverGraph,
    Spectral,
)
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.groups import Automorphisms, Group, Rotations, Trivial
from coset.symmetry.targets import plain

TURN = {"target": "exact", "coupling": "independent"}
SMALL = {"batch": 64, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "decay": 0.4,
         "clip": 1.0, "ema": (0.999, 0.9995)}  # fmt: skip
ET_SMALL = {**SMALL, "width": 64, "depth": 6, "heads": 4, "radial": 32}
ET_XS = {**ET_SMALL, "width": 48, "depth": 4, "precision": "bf16"}
DIT_SMALL = {**SMALL, "width": 128, "depth": 6, "heads": 4}
DIT_XS = {**DIT_SMALL, "width": 96, "precision": "bf16"}

ALIGNED = {"prior": "harmonic", "coupling": "aligned"}
FREE_ENDS = {"prior": "isotropic", "coupling": "independent"}
SIZES_ETFLOW = {
    "o3": {**ALIGNED, "loss": "per_atom", "reflections": True},
    "so3": {**ALIGNED, "loss": "per_atom"},
    "small": {**ALIGNED, **ET_SMALL},
    "xs": {**ALIGNED, **ET_XS},
}
SIZES_ETDIFF = {
    "so3": {**FREE_ENDS, "loss": "per_atom"},
    "small": {**FREE_ENDS, **ET_SMALL},
    "xs": {**FREE_ENDS, **ET_XS},
}
SIZES_ETFLOW_TS = {
    "so3": {"prior": "harmonic", **TURN},
    "small": {"prior": "harmonic", **TURN, **ET_SMALL},
    "xs": {"prior": "harmonic", **TURN, **ET_XS},
}
SIZES_ETDIFF_TS = {
    "so3": {"prior": "isotropic", **TURN},
    "small": {"prior": "isotropic", **TURN, **ET_SMALL},
    "xs": {"prior": "isotropic", **TURN, **ET_XS},
}
SIZES_DIT = {"base": {}, "small": DIT_SMALL, "xs": DIT_XS}
SIZES_DIT_TS = {"base": TURN, "small": {**TURN, **DIT_SMALL}, "xs": {**TURN, **DIT_XS}}
TUNED = {"lr": 5e-4, "warmup": 100}
# The packaged model's first, which is the teacher by default.
SIZES_DIT_REFLOW = {"small": {**DIT_SMALL, **TUNED}, "xs": {**DIT_XS, **TUNED}, "base": {}}
SIZES_ETFLOW_REFLOW = {"so3": {}, "small": {**ET_SMALL, **TUNED}, "xs": {**ET_XS, **TUNED}}
SAMPLING_FEW = {"steps": 4}
SIZES_MCF = {"base": {"lr": 1e-4}, "small": DIT_SMALL, "xs": DIT_XS}


def etflow(s: Equivariant, types: int) -> Diffusion:
    """ETFlow: flow matching from a harmonic prior, aligned to each conformer, with an equivariant transformer."""
    return _flow(_equivariant(s), s)


def etdiff(s: Equivariant, types: int) -> Diffusion:
    """ETDiff (TS, Tong et al. 2025): ETFlow's network and paths from isotropic noise, not aligned."""
    return _flow(_equivariant(s), s)


def etflow_ts(s: Equivariant, types: int) -> Diffusion:
    """ETFlow with its target symmetrised over rotations and automorphisms, in closed form; its noise is not aligned."""
    return _flow(_equivariant(s), s)


def etdiff_ts(s: Equivariant, types: int) -> Diffusion:
    """ETDiff with its target symmetrised over rotations and automorphisms, in closed form."""
    return _flow(_equivariant(s), s)


def dit_conf(s: OverGraph, types: int) -> Diffusion:
    """A plain transformer biased by the graph's pairs, trained on molecules in random poses."""
    return _flow(_plain(s), s, rotated=True)


def dit_conf_ts(s: OverGraph, types: int) -> Diffusion:
    """The plain transformer on molecules in random poses, its target symmetrised over them and over automorphisms."""
    return _flow(_plain(s), s, rotated=True)


def dit_conf_reflow(s: ReflowedOverGraph, types: int) -> Diffusion:
    """`dit_conf` for few steps: tuned along straight lines from noise to what a trained model makes of it (reflow).

    Both ends of a path are turned together. The teacher answers in the same way in every pose only as far as it has
    learned to, so this gives paths of the teacher averaged over poses; noise and conformers keep their laws.
    """
    return _flow(_plain(s), s, rotated=True)


def etflow_reflow(s: ReflowedEquivariant, types: int) -> Diffusion:
    """ETFlow and its kin for few steps: tuned along straight lines from noise to what a trained model makes of it."""
    return _flow(_equivariant(s), s)


def mcf(s: Spectral, types: int) -> Diffusion:
    """MCF's way: diffusion by a plain transformer that knows the graph by its Laplacian's eigenvectors."""
    schedule = Cosine()
    network = GraphTransformer(
        attributes=NODES - 1, relations=0, width=s.width, depth=s.depth, heads=s.heads, modes=s.modes
    )
    alpha, sigma = schedule(torch.zeros(1, dtype=torch.float64, device="cpu"))
    loss = Denoising(NoiseWeight(schedule), plain)
    augment = random_rotation if s.rotated else None
    return Diffusion(Identity(float(sigma / alpha)), Affine(schedule), FromNoise(network, schedule), loss, augment)


def _equivariant(s: Equivariant) -> Network:
    return ET(
        attributes=NODES - 1, relations=EDGES, width=s.width, depth=s.depth, heads=s.heads, radial=s.radial,
        cutoff=s.cutoff, reflections=s.reflections,
    )  # fmt: skip


def _plain(s: OverGraph) -> Network:
    hands = (APEX, TRIANGLE) if s.hands else None
    return GraphTransformer(NODES - 1, EDGES, width=s.width, depth=s.depth, heads=s.heads, hands=hands)


def _flow(network: Network, s: Ensembled, rotated: bool = False) -> Diffusion:
    schedule = Bridge(s.path_noise)
    process = Harmonic(schedule) if s.prior == "harmonic" else Affine(schedule, eta=0.0)
    coupling, times = {"aligned": aligned, "independent": None}[s.coupling], InsideTimes()
    if isinstance(s, Reflowed):
        coupling, times = paired, InsideTimes(lean=s.time_lean)
    loss = Flow(target_of(s, _orbit(s)), coupling, times, per_atom=s.loss == "per_atom")
    augment = random_rotation if rotated else None
    return Diffusion(Identity(schedule.sigma_min), process, FromVelocity(network, schedule), loss, augment)


def _orbit(s: Ensembled) -> Group:
    turns = Trivial() if s.orbit == "automorphisms" else Rotations(reflections=s.target_group == "o3")
    return turns if s.orbit == "rotations" else turns * Automorphisms()
