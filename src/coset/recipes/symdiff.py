"""SymDiff (Zhang et al., ICLR 2025) and its controls: one transformer, four ways of respecting symmetry."""

from __future__ import annotations

from coset.diffusion import Diffusion
from coset.interfaces import Denoiser
from coset.networks.dit import DiT, PoseTransformer
from coset.processes.affine import Affine
from coset.recipes.common import affine_diffusion, affine_process, channels, predicting, subspace_of, told
from coset.recipes.settings import Haar, Plain, Recursive
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.frames import HaarFrame, RecursiveFrame
from coset.symmetry.symmetrised import DrawAveraged, Symmetrised

_SMALL = {
    "width": 160, "depth": 6, "heads": 5, "kernels": 80, "batch": 128, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01,
    "amsgrad": False, "warmup": 500, "decay": 0.4, "clip": 1.0, "ema": (0.999, 0.9995), "precision": "bf16",
    "molecules": 1_000_000, "validate_every": 250_000,
}  # fmt: skip
SIZES = {
    "+++": {},
    "++": {"width": 360, "depth": 10},
    "+": {"width": 294, "depth": 8},
    "*": {"width": 768, "heads": 12},
    "small": _SMALL,
}
SIZES_LEARNED = SIZES | {
    "small": _SMALL | {"pose_width": 64, "pose_depth": 3, "pose_kernels": 32},
}


def dit(s: Plain, types: int) -> Diffusion:
    """No symmetry: a plain transformer."""
    process = affine_process(s)
    return affine_diffusion(types, process, transformer(s, types, process), s)


def dit_aug(s: Plain, types: int) -> Diffusion:
    """Symmetry from the data: a plain transformer trained on molecules in random poses."""
    process = affine_process(s)
    denoiser = transformer(s, types, process)
    return affine_diffusion(types, process, denoiser, s, augment=random_rotation)


def symdiff_h(s: Haar, types: int) -> Diffusion:
    """Symmetry from a uniformly random pose at every call, in training and in sampling (SymDiff-H)."""
    process = affine_process(s)
    denoiser = drawn(Symmetrised(transformer(s, types, process), HaarFrame(s.reflections)), s)
    return affine_diffusion(types, process, denoiser, s)


def symdiff(s: Recursive, types: int) -> Diffusion:
    """Symmetry from a learned random pose: R = g f(g^T z, eta), g Haar, f a small transformer."""
    process = affine_process(s)
    pose = PoseTransformer(s.pose_noise, s.pose_width, s.pose_depth, s.pose_heads, s.pose_kernels)
    frame = RecursiveFrame(pose, s.pose_noise, s.reflections)
    backbone = transformer(s, types, process).requires_grad_(not s.freeze_backbone)
    denoiser = drawn(Symmetrised(backbone, frame), s)
    return affine_diffusion(types, process, denoiser, s)


def drawn(denoiser: Denoiser, s: Haar) -> Denoiser:
    """One pose a call as published, or the mean over some."""
    return denoiser if s.draws == 1 else DrawAveraged(denoiser, s.draws)


def transformer(s: Plain, types: int, process: Affine) -> Denoiser:
    """SymDiff's transformer."""
    network = DiT(channels(s, types), s.width, s.depth, s.heads, s.kernels, subspace_of(s))
    return predicting(told(network, s, types), process, s)
