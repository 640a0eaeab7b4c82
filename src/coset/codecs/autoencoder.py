"""Autoencoder: diffusion in a latent space of points (GeoLDM, Xu et al. 2023; RADM, Zhu et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, Condition
from coset.codecs.categories import CategoriesOutput
from coset.gaussian import standard_normal
from coset.interfaces import Codec, Network
from coset.noise import Noise
from coset.scales import CENTRED

LOGIT = 1e-10  # the least probability of a type


class Encoder(nn.Module):
    """A network from clean clouds to positions and `width` features, and two layers from these to the latent ones."""

    def __init__(self, network: Network, latent: int) -> None:
        super().__init__()
        width = network.width
        self.network, self.latent = network, latent
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, latent))

    def forward(self, clean: Cloud) -> Cloud:
        out = self.network(clean, clean.x.new_zeros(len(clean)))
        return replace(out, h=self.head(out.h) * out.mask)


class Autoencoder(Codec):
    """Latent clouds with as many points as atoms: centred positions and a few features, with a fixed noise `std`.

    encoder: to the mean latent. decoder: from a latent cloud to positions, logits of `types` and, last, where clean
    clouds hold it, the nuclear charge. std: of the noise in encoding, on centred clouds, as it is in latent space.
    Latents are divided by `scales` (positions, features) and `spread` is the deviation of decoded positions in
    Angstrom: `calibrate` measures them; until then they are 1 and the field's squared error. Where the clean cloud's
    condition holds its latent already, that is taken for the mean.
    """

    spatial = False

    def __init__(self, encoder: Encoder, decoder: Network, types: int, std: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.types, self.std = encoder, decoder, types, std
        # Parameters, so that they travel with the weights wherever those go.
        self.scales = nn.Parameter(torch.ones(2), requires_grad=False)
        self.spread = nn.Parameter(torch.tensor(0.5**0.5), requires_grad=False)

    @property
    def width(self) -> int:
        return self.encoder.latent

    def mean(self, clean: Cloud) -> Cloud:
        """The latent cloud without noise, in its own units."""
        known = clean.condition.latent if clean.condition else None
        mean = self.encoder(clean.center()) if known is None else known
        return replace(mean, condition=clean.condition and replace(clean.condition, latent=None))

    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud:
        return self._scaled(self._noisy(self.mean(clean), noise), 1 / self.scales)

    def output(self, z0: Cloud, estimate: Cloud) -> CategoriesOutput:
        return self.decode(self._scaled(estimate, self.scales))

    def decode(self, latent: Cloud) -> CategoriesOutput:
        """From a latent cloud in its own units; the network runs in its own precision."""
        narrow = latent.to(self.scales.dtype)
        out = self.decoder(narrow, narrow.x.new_zeros(len(narrow))).to(latent.x.dtype)
        probabilities = out.h[..., : self.types].softmax(-1) * out.mask
        return CategoriesOutput(replace(out, h=probabilities), float(self.spread))

    def lost(self, clean: Cloud, noise: Noise) -> dict[str, Float[Tensor, "b"]]:
        """What is lost on the way there and back, of each molecule, as means over its atoms.

        position: squared distance in Angstrom^2; type: cross-entropy in nats; charge: squared error.
        """
        clean = clean.center()
        latent = self._noisy(self.mean(clean), noise)
        out = self.decoder(latent, latent.x.new_zeros(len(latent)))
        atoms, kinds = clean.mask[..., 0], clean.h[..., : self.types]
        lost = {
            "position": (out.x - clean.x).square().sum(-1),
            "type": -(kinds * F.log_softmax(out.h[..., : self.types], -1)).sum(-1),
        }
        if clean.h.shape[-1] > self.types:
            lost["charge"] = (out.h[..., self.types] - clean.h[..., self.types]).square()
        return {name: (values * atoms).sum(1) / clean.count for name, values in lost.items()}

    def entropy(self, clean: Cloud) -> Float[Tensor, "b"]:
        each = 0.5 * math.log(2 * math.pi * math.e) + math.log(self.std)
        log_x, log_h = self.scales.double().log().tolist()
        points, features = 3 * (clean.count - 1), self.width * clean.count
        return points * (each - log_x) + features * (each - log_h)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Cloud], scaled: bool) -> None:
        """Measures `spread` and, if `scaled`, `scales`, so that latents have unit variance (Rombach et al. 2022)."""
        sums, points, features = torch.zeros(3, dtype=torch.float64), 0.0, 0.0
        for clean in batches:
            clean, latent = clean.center(), self.mean(clean)
            away = self.decode(latent).estimate.x - clean.x
            sums += torch.stack([part.double().square().sum().cpu() for part in (latent.x, latent.h, away)])
            points += float((3 * (clean.count - 1)).sum())
            features += float(latent.h.shape[-1] * clean.count.sum())
        self.spread.copy_((sums[2] / points).sqrt().clamp_min(1e-4))
        if scaled:
            self.scales.copy_(torch.stack([sums[0] / points, sums[1] / features]).sqrt().clamp_min(1e-4))

    def _noisy(self, mean: Cloud, noise: Noise | None) -> Cloud:
        return mean if noise is None else mean + standard_normal(mean, noise, CENTRED).scale(self.std)

    def _scaled(self, latent: Cloud, factors: Float[Tensor, "2"]) -> Cloud:
        of_x, of_h = factors.to(latent.x.dtype)
        return replace(latent, x=latent.x * of_x, h=latent.h * of_h)


def with_latent(clean: Cloud, latent: Cloud) -> Cloud:
    """A clean cloud whose mean latent is known."""
    return replace(clean, condition=replace(clean.condition or Condition(), latent=latent))
