"""Transformers in poses that the molecule itself gives: principal axes, or a learned canonical pose."""

from __future__ import annotations

from coset.diffusion import Diffusion
from coset.networks.egnn import EGNN
from coset.recipes.common import affine_diffusion, affine_process, channels
from coset.recipes.settings import Canonical, Principal
from coset.recipes.symdiff import transformer
from coset.symmetry.frames import PrincipalFrame, VectorFrame
from coset.symmetry.symmetrised import FrameAveraged, Symmetrised


def dit_pca(s: Principal, types: int) -> Diffusion:
    """Symmetry from the principal axes, one of their four poses by chance at every call."""
    process = affine_process(s)
    denoiser = Symmetrised(transformer(s, types, process), PrincipalFrame(s.reflections))
    return affine_diffusion(types, process, denoiser, s)


def dit_frames(s: Principal, types: int) -> Diffusion:
    """Symmetry from the principal axes, all four poses averaged (frame averaging, Puny et al. 2022)."""
    process = affine_process(s)
    denoiser = FrameAveraged(transformer(s, types, process), PrincipalFrame(s.reflections))
    return affine_diffusion(types, process, denoiser, s)


def dit_canonical(s: Canonical, types: int) -> Diffusion:
    """Symmetry from a canonical pose that a small equivariant network learns (Kaba et al. 2023)."""
    process = affine_process(s)
    frame = VectorFrame(EGNN(channels(s, types), s.pose_width, s.pose_depth), s.reflections)
    denoiser = Symmetrised(transformer(s, types, process), frame)
    return affine_diffusion(types, process, denoiser, s)
