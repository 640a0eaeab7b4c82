"""Settings of codecs and of the diffusions of their latents."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from coset.recipes.settings import Scheduled, Training


class Encoded(BaseModel):
    """A codec of latent recipes. frame: the pose before it, by a network that learns it, principal axes, or none.

    order: of the atoms, as the data have it, or from one end of the molecule to the other (spectral), which the
    denoiser then knows. reflections: the pose may be a mirror image. rotated: trained on molecules in random poses.
    encoder: an equivariant network, plain message passing, or none for a diffusion in the pose itself, without a latent
    space; it stays at its random initial weights unless trained_encoder is set, as in RADM and in GeoLDM's released
    code. decoder: as the encoder. latent: feature channels of a latent atom; latent_std: of the encoding's noise.
    scaled: latents are divided by their deviation. charge: whether the nuclear charge is encoded beside the types.
    codec_width, encoder_depth, decoder_depth, pose_width, pose_depth: sizes.
    """

    charge: bool = True
    frame: Literal["learned", "pca", "none"] = "learned"
    order: Literal["data", "spectral"] = "data"
    reflections: bool = False
    rotated: bool = False
    encoder: Literal["egnn", "gnn", "none"] = "egnn"
    trained_encoder: bool = False
    decoder: Literal["egnn", "gnn"] = "gnn"
    latent: int = Field(1, ge=1)
    latent_std: float = Field(10**-2.5, gt=0)
    scaled: bool = False
    codec_width: int = Field(256, ge=1)
    encoder_depth: int = Field(1, ge=1)
    decoder_depth: int = Field(9, ge=1)
    pose_width: int = Field(256, ge=1)
    pose_depth: int = Field(2, ge=1)


class Encoding(Encoded, Training):
    """Stage one alone; RADM's training of it (200 epochs of QM9)."""

    molecules: int | None = Field(20_000_000, ge=1)
    ema: tuple[float, ...] = (0.999,)
    keep: Literal["last", "best"] = "best"
    decay: float = Field(1.0, ge=0, le=1)
    validate_every: int = Field(100_000, ge=1)
    sample_molecules: int = Field(0, ge=0, le=0)
    yardstick_molecules: int = Field(0, ge=0, le=0)


class Latent(Encoded, Scheduled):
    """A diffusion of latents; RADM's training of it.

    codec: a trained autoencoder, by name or path, or a latent model that holds one; without, stage one trains it first
    in the run's folder, for codec_molecules and with the other codec_ settings. joint: both at once, as GeoLDM's code.
    network: the denoiser's, a transformer (dit; heads, kernels) or one of messages (gnn, egnn).
    residual: r.m.s. angle in degrees by which a pose leaves molecules turned: what is diffused is turned so in
    training, and target=exact is the mean over such turns in place of all rotations (which a plain network in a pose
    never sees).
    """

    codec: str = ""
    joint: bool = False
    codec_molecules: int = Field(20_000_000, ge=1)
    codec_batch: int = Field(64, ge=1)
    codec_lr: float = Field(1e-4, gt=0)
    codec_validate_every: int = Field(100_000, ge=1)
    batch: int = Field(256, ge=1)
    molecules: int | None = Field(550_000_000, ge=1)
    free_noise: bool = False
    network: Literal["dit", "gnn", "egnn"] = "dit"
    width: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    kernels: int = Field(0, ge=0)
    residual: float = Field(0.0, ge=0, le=60)
