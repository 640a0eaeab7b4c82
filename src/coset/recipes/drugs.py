"""Drug-like molecules, GEOM-Drugs before all: 16 elements, up to 181 atoms, no channel of nuclear charge.

The compositions of QM9 at other sizes. Budgets are the published epochs as molecules seen, each 80 % of GEOM-Drugs'
conformers; where no paper states one they are ours, and said to be. Batches have the published number of molecules
within a budget of padded pairs of atoms, and networks of pairs recompute their layers, for memory's sake. The "small"
sizes are for tables at CPU scale: some hundred thousand parameters each, and like amounts of arithmetic a molecule.
"""

from __future__ import annotations

from typing import Any

from coset.diffusion import Diffusion
from coset.recipes import coset, edm, end, latent, symdiff
from coset.recipes.latent_settings import Latent
from coset.recipes.settings import Drifting, MessagePassing, Paired, Plain, Recursive

TYPES = 16
EPOCH = 5_538_013  # conformers: 80 % of the 6,922,516 of lowest energy, 30 a molecule
DATA: dict[str, Any] = {"data": "geom-drugs", "pairs": 2**19}
TYPES_ALONE = DATA | {"charge": False}
LEAN = {"recompute": True}
_SMALL = {
    "data": "geom-drugs", "batch": 32, "pairs": 2**16, "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01,
    "amsgrad": False, "warmup": 200, "decay": 0.4, "clip": 1.0, "ema": (0.99, 0.999), "molecules": 100_000,
    "validate_every": 25_000, "validate_molecules": 500, "sample_molecules": 50,
}  # fmt: skip
_SMALL_ALONE = _SMALL | {"charge": False}
_SMALL_DIT = _SMALL_ALONE | {"width": 80, "depth": 4, "heads": 4, "kernels": 40}

SIZES_EDM = {
    # The released weights have seen 14 epochs of the 3,000 that are asked for.
    "published": {**TYPES_ALONE, **LEAN, "width": 256, "depth": 4, "molecules": 14 * EPOCH},
    "small": {**_SMALL_ALONE, "width": 64, "depth": 4},
}
# 40 epochs in the hours and at the steps a second that are printed make batches of 250: QM9's 256.
_DIT = {**TYPES_ALONE, "pairs": 2**20, "molecules": 40 * EPOCH}
SIZES_DIT = {
    "+++": {**_DIT, "width": 384, "depth": 8},
    "++": {**_DIT, "width": 264, "depth": 8},
    "+": {**_DIT, "width": 228, "depth": 6},
    "small": _SMALL_DIT,
}
SIZES_SYMDIFF = {
    **{size: {**SIZES_DIT[size], "pose_depth": 4} for size in ("+++", "++", "+")},
    "small": {**_SMALL_DIT, "pose_width": 32, "pose_depth": 2, "pose_kernels": 16},
}
_RADM = {
    **TYPES_ALONE, **LEAN, "pairs": 2**20, "decoder_depth": 4, "latent": 2, "codec_batch": 32,
    "codec_molecules": 4 * EPOCH, "molecules": 55 * EPOCH,
}  # fmt: skip
_SMALL_RADM = {
    **_SMALL_ALONE, "width": 80, "depth": 4, "heads": 4, "latent": 2, "codec_width": 48, "decoder_depth": 3,
    "pose_width": 48, "codec_molecules": 100_000, "codec_lr": 1e-3, "codec_batch": 32, "codec_validate_every": 25_000,
}  # fmt: skip
SIZES_RADM_S = {"published": _RADM, "small": _SMALL_RADM}
SIZES_RADM_B = {"published": {**_RADM, "width": 768, "heads": 12}, "small": _SMALL_RADM}
SIZES_END = {
    "ours": {**DATA, **LEAN, "pairs": 2**17, "molecules": 20 * EPOCH},
    "small": {**_SMALL, "width": 40, "vector_width": 20, "edge_width": 16, "depth": 3},
}
# Centred coordinates of drug-like molecules deviate by 2.5 Angstrom, 1.8 times QM9's. Noise reaches as much further up,
# and as far down as it does there, for bonds are no longer: the median moves half the way, and both ends stay two
# deviations off.
_NOISE = {"spread": 2.5, "sigma_max": 54.0, "noise_median": 0.4, "noise_deviation": 1.35}
SIZES_COSET = {
    "s": {**DATA, **LEAN, **_NOISE, **coset.SIZES["s"], "molecules": 10 * EPOCH},
    "small": {
        **_SMALL, **_NOISE, "lr": 2e-3, "width": 80, "depth": 4, "heads": 4, "pair": 32, "move": 48, "stages": 2,
    },
}  # fmt: skip


def edm_drugs(s: MessagePassing, types: int) -> Diffusion:
    """EDM for drug-like molecules: four layers."""
    return edm.edm(s, types)


def dit_aug_drugs(s: Plain, types: int) -> Diffusion:
    """The plain transformer in random poses for drug-like molecules."""
    return symdiff.dit_aug(s, types)


def symdiff_drugs(s: Recursive, types: int) -> Diffusion:
    """SymDiff for drug-like molecules: fewer layers, also of the pose."""
    return symdiff.symdiff(s, types)


def radm_drugs_s(s: Latent, types: int) -> Diffusion:
    """RADM for drug-like molecules: a decoder of four layers (DiT-S).

    Published: stage one at a rate that falls along a cosine to 1e-5; here it falls linearly to zero. Its latent width
    is not stated; this is GeoLDM's for drugs.
    """
    return latent.radm_dit_s(s, types)


def radm_drugs_b(s: Latent, types: int) -> Diffusion:
    """RADM for drug-like molecules with the larger transformer (DiT-B)."""
    return latent.radm_dit_b(s, types)


def end_drugs(s: Drifting, types: int) -> Diffusion:
    """Learned noising for drug-like molecules: END's networks for QM9, for those for drugs are not public."""
    return end.end(s, types)


def coset_drugs(s: Paired, types: int) -> Diffusion:
    """Our own recipe for drug-like molecules: more noise, for they are larger."""
    return coset.coset(s, types)
