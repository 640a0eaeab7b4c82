"""Latents: what a trained codec makes of every molecule, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.codecs.alignment import Aligned
from coset.codecs.autoencoder import Autoencoder, with_latent
from coset.data.batches import passes
from coset.data.catalog import Dataset
from coset.interfaces import Codec
from coset.training.checkpoint import load_tensors, save_tensors, tensor_crc

FILE = "latents.safetensors"
CHUNK = 512  # molecules encoded at once
CALIBRATION = 5_000  # molecules
Clean = Callable[[NDArray[np.int64]], Cloud]


@dataclass(frozen=True)
class Latents:
    """Mean latents of a data set's training and validation molecules, in the units of latent space.

    values: position and features, atom after atom (a, 3 + f). first: each molecule's first atom, by its row in the
    store.
    """

    values: Float[Tensor, "a f"]
    first: Int[NDArray[np.int64], "m"]

    def join(self, clean: Cloud, rows: NDArray[np.int64]) -> Cloud:
        """The clean clouds of these rows with their latents in their conditions."""
        real = clean.mask[..., 0] > 0
        place = torch.as_tensor(self.first[rows])[:, None] + torch.arange(real.shape[1])
        found = self.values[torch.where(real.cpu(), place, 0)].to(clean.mask) * clean.mask
        return with_latent(clean, Cloud(found[..., :3], found[..., 3:], clean.mask))


def latent_codec(codec: Codec) -> tuple[Aligned, Autoencoder] | None:
    """A pose and the autoencoder behind it, if that is what a codec is."""
    if isinstance(codec, Aligned) and isinstance(codec.codec, Autoencoder):
        return codec, codec.codec
    return None


@torch.no_grad()
def calibrate(codec: Codec, dataset: Dataset, clean: Clean, scaled: bool) -> None:
    """Measures the scales of a trained autoencoder, if that is what a codec is, on some of its training molecules."""
    parts = latent_codec(codec)
    if parts is None:
        return
    aligned, autoencoder = parts
    rows = dataset.train[:CALIBRATION]
    batches = passes(dataset.store.sizes[rows], molecules=256, rows=rows)
    autoencoder.calibrate((aligned.posed(clean(batch)) for batch in batches), scaled)


def encoded(codec: Codec, dataset: Dataset, clean: Clean, path: Path, fingerprint: dict[str, int]) -> Latents:
    """Latents from `path`, or computed and kept there. fingerprint: of the training molecules.

    Raises ValueError for a file that is damaged, or belongs to another codec or other molecules.
    """
    rows = np.sort(np.concatenate([dataset.train, dataset.valid]))
    sizes = dataset.store.sizes
    about = {"codec": codec_crc(codec), "data": fingerprint, "molecules": len(rows)}
    first = np.zeros(len(dataset.store), np.int64)
    first[rows] = np.cumsum(sizes[rows]) - sizes[rows]
    if path.exists():
        tensors, found = load_tensors(path)
        if found != about or "latents" not in tensors:
            raise ValueError(
                f"{path} holds latents of another codec or of other molecules; remove it to have it made anew"
            )
        return Latents(tensors["latents"], first)
    parts = latent_codec(codec)
    assert parts is not None
    aligned, autoencoder = parts
    values = torch.empty(int(sizes[rows].sum()), 3 + autoencoder.width)
    with torch.no_grad():
        for batch in passes(sizes[rows], molecules=CHUNK, rows=rows):
            batch = np.asarray(batch)
            cloud = aligned.posed(clean(batch))
            mean, real = autoencoder.mean(cloud), cloud.mask[..., 0].cpu() > 0
            place = torch.as_tensor(first[batch])[:, None] + torch.arange(real.shape[1])
            values[place[real]] = torch.cat([mean.x, mean.h], -1).float().cpu()[real]
    save_tensors(path, {"latents": values}, about)
    return Latents(values, first)


def codec_crc(codec: Codec) -> str:
    """CRC-32 of its parameters."""
    found = 0
    for parameter in codec.parameters():
        found = tensor_crc(parameter.detach().cpu(), found)
    return f"{found:08x}"
