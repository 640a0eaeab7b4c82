"""Diffusion in latent space: RADM (Zhu et al. 2025), GeoLDM (Xu et al. 2023) and what they are compared with.

Stage one trains an autoencoder, whose decoder may be plain because a pose, or rotated data, or nothing, stands before
it; stage two trains a diffusion of its latents. GeoLDM's released code trains both at once (`joint`).
"""

from __future__ import annotations

from typing import Any

from coset.autoencoding import Autoencoding
from coset.codecs.alignment import Aligned
from coset.codecs.autoencoder import Autoencoder, Encoder
from coset.diffusion import Diffusion
from coset.interfaces import Codec, Frame, Network
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.gnn import GNN, PoseGNN
from coset.networks.indexed import CHANNELS, Indexed
from coset.objectives.denoising import Denoising
from coset.objectives.turned import TurnedDenoising
from coset.processes.affine import Affine
from coset.recipes.common import (
    SCHEDULES,
    affine_diffusion,
    affine_process,
    channels,
    predicting,
    scaled_features,
    subspace_of,
    told,
)
from coset.recipes.latent_settings import Encoded, Encoding, Latent
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.frames import IdentityFrame, NearestFrame, PrincipalFrame
from coset.symmetry.orders import spectral_order
from coset.symmetry.residual import ResidualMean, ResidualTurns
from coset.symmetry.targets import plain

GNN_SIZE = {"network": "gnn", "width": 256, "depth": 9}
SMALL = {
    "codec_width": 64, "decoder_depth": 4, "pose_width": 64, "codec_molecules": 1_000_000, "codec_lr": 1e-3,
    "codec_batch": 128, "batch": 128, "molecules": 1_000_000, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01,
    "amsgrad": False, "warmup": 500, "decay": 0.4, "clip": 1.0, "ema": (0.999, 0.9995), "validate_every": 50_000,
}  # fmt: skip
SMALL_GNN = SMALL | {"network": "gnn", "width": 96, "depth": 5}
SMALL_DIT = SMALL | {"network": "dit", "width": 128, "depth": 6, "heads": 4}
SIZES = {"published": {}, "small": SMALL_DIT}
SIZES_B = {"published": {"width": 768, "heads": 12}, "small": SMALL_DIT}
SIZES_GNN = {"published": GNN_SIZE, "small": SMALL_GNN}
PCA = {"frame": "pca"}
SIZES_PCA = {"published": GNN_SIZE | PCA, "small": SMALL_GNN | PCA}
PLAIN: dict[str, Any] = {"frame": "none"}
SIZES_PLAIN = {"published": GNN_SIZE | PLAIN, "small": SMALL_GNN | PLAIN}
ROTATED = PLAIN | {"rotated": True}
SIZES_ROTATED = {"published": GNN_SIZE | ROTATED, "small": SMALL_GNN | ROTATED}
EQUIVARIANT = PLAIN | {"network": "egnn", "decoder": "egnn", "joint": True}
SIZES_GEOLDM = {
    "published": {**EQUIVARIANT, "width": 256, "depth": 9, "batch": 64},
    "small": {**SMALL, **EQUIVARIANT, "width": 96, "depth": 5},
}
SIZES_CODEC = {
    "published": {},
    "small": {
        "codec_width": 64, "decoder_depth": 4, "pose_width": 64, "molecules": 1_000_000, "lr": 1e-3, "batch": 128,
        "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "clip": 1.0, "validate_every": 50_000,
    },
}  # fmt: skip


def autoencoder(s: Encoding, types: int) -> Autoencoding:
    """Stage one of the latent recipes alone: a pose, an encoder and a decoder."""
    process = Affine(SCHEDULES["polynomial"])
    return Autoencoding(codec_of(s, types, process), process, random_rotation if s.rotated else None)


def radm_dit_s(s: Latent, types: int) -> Diffusion:
    """Symmetry from a learned pose before an autoencoder: RADM, a plain transformer on its latents (DiT-S)."""
    return _latent(s, types)


def radm_dit_b(s: Latent, types: int) -> Diffusion:
    """RADM with the larger transformer (DiT-B)."""
    return _latent(s, types)


def radm_gnn(s: Latent, types: int) -> Diffusion:
    """RADM with plain message passing on the latents."""
    return _latent(s, types)


def radm_pca(s: Latent, types: int) -> Diffusion:
    """RADM's ablation: principal axes in the place of the learned pose."""
    return _latent(s, types)


def graphldm(s: Latent, types: int) -> Diffusion:
    """RADM's ablation: no pose and no symmetry."""
    return _latent(s, types)


def graphldm_aug(s: Latent, types: int) -> Diffusion:
    """RADM's ablation: symmetry from the data, in random poses."""
    return _latent(s, types)


def geoldm(s: Latent, types: int) -> Diffusion:
    """Equivariant by its networks: GeoLDM, encoder, decoder and denoiser of them all."""
    return _latent(s, types)


def _latent(s: Latent, types: int) -> Diffusion:
    if s.rotated and s.encoder == "gnn":
        raise ValueError("rotated turns latents, which needs an equivariant encoder: set encoder to egnn or none")
    if s.rotated and s.frame != "none":
        raise ValueError(
            "rotated turns what was posed, and nothing is left of the pose: set frame to none, or rotated to false and "
            "residual to some degrees"
        )
    process = affine_process(s)
    codec = codec_of(s, types, process)
    if not s.joint and s.encoder != "none":
        codec.requires_grad_(False)  # trained before
    denoiser = predicting(told(_network(s, codec.width), s, types), process, s)
    augment = random_rotation if s.rotated else None
    diffusion = affine_diffusion(types, process, denoiser, s, augment, codec=codec, joint=s.joint)
    return diffusion if s.residual == 0 else _turned(diffusion, s)


def _turned(diffusion: Diffusion, s: Latent) -> Diffusion:
    """Trained on what the pose leaves turned, towards the clean cloud or its mean over that (TS)."""
    if s.rotated or s.target not in ("plain", "exact"):
        raise ValueError(
            "residual turns are about a pose, with the plain or the exact target; set rotated to false and target to "
            "plain or exact, or residual to 0"
        )
    turns, loss = ResidualTurns.of_angle(s.residual), diffusion.objective
    assert isinstance(loss, Denoising)
    target = plain if s.target == "plain" else ResidualMean(turns)
    diffusion.objective = TurnedDenoising(loss.weight, target, loss.times, loss.subspace, loss.padded, turns=turns)
    return diffusion


def _network(s: Latent, features: int) -> Network:
    ordered = s.order == "spectral"
    seen = features + CHANNELS * ordered
    if s.network == "dit":
        network: Network = DiT(seen, s.width, s.depth, s.heads, s.kernels, subspace_of(s), gated=False)
    else:
        network = {"gnn": GNN, "egnn": EGNN}[s.network](seen, s.width, s.depth)
    return Indexed(network) if ordered else network


def codec_of(s: Encoded, types: int, process: Affine) -> Codec:
    """Of the clean cloud's types and maybe nuclear charge, in the pose; without an encoder EDM's features there."""
    inner: Codec
    seen = channels(s, types)
    if s.encoder == "none":
        inner = scaled_features(process, s, types)
    else:
        make = {"gnn": GNN, "egnn": EGNN}
        encoder = Encoder(make[s.encoder](seen, s.codec_width, s.encoder_depth, out=s.codec_width), s.latent)
        encoder.requires_grad_(s.trained_encoder)
        decoder = make[s.decoder](s.latent, s.codec_width, s.decoder_depth, out=seen)
        inner = Autoencoder(encoder, decoder, types, s.latent_std)
    return Aligned(_frame(s, seen), inner, spectral_order if s.order == "spectral" else None, seen)


def _frame(s: Encoded, features: int) -> Frame:
    if s.frame == "learned":
        return NearestFrame(PoseGNN(features, s.pose_width, s.pose_depth), s.reflections)
    if s.frame == "pca":
        return PrincipalFrame(s.reflections, random=False)
    return IdentityFrame()


def stage_one(s: Latent) -> Encoding:
    """Settings of the autoencoder that a latent recipe begins with."""
    shared = {name: getattr(s, name) for name in Encoded.model_fields}
    budget = {"data": s.data, "seed": s.seed, "molecules": s.codec_molecules, "lr": s.codec_lr, "batch": s.codec_batch}
    more = {"beta2": s.beta2, "weight_decay": s.weight_decay, "amsgrad": s.amsgrad, "warmup": s.warmup, "clip": s.clip}
    more |= {"minutes": s.minutes, "pairs": s.pairs, "recompute": s.recompute}
    rest = {"compile": s.compile, "precision": s.precision, "validate_every": s.codec_validate_every}
    return Encoding(**shared, **budget, **more, **rest, checkpoint_minutes=s.checkpoint_minutes)
