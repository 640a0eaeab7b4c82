"""Features: scaled positions, one-hot types and nuclear charge, as EDM diffuses them (Hoogeboom et al. 2022, 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import ndtr

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.interfaces import Codec, Output
from coset.noise import Noise
from coset.scales import CENTRED


class Features(Codec):
    """x / scale_x, one-hot / scale_types, charge / scale_charge; the clean cloud holds natural units.

    Without `charge` that channel of the clean cloud is left out.

    std is sigma(0) / alpha(0), the noise left at the end of the chain. Raises ValueError where it could confuse
    neighbouring classes or charges (EDM's guard: 8 std below one class's distance).
    """

    def __init__(
        self,
        types: int,
        std: float,
        charge: bool = True,
        scale_x: float = 1.0,
        scale_types: float = 4.0,
        scale_charge: float = 10.0,
    ) -> None:
        super().__init__()
        largest = max(scale_types, scale_charge if charge else 0.0)
        if 8 * std >= 1 / largest:
            raise ValueError(
                f"features scaled by 1/{largest:g} are too small for a final noise of {std:.3g}: "
                f"8 x noise must be below 1/scale; lower the scale or the schedule's precision"
            )
        self.types, self.std, self.charge, self.unit = types, std, charge, scale_x
        scales = [scale_types] * types + [scale_charge] * charge
        self.scales: Tensor
        self.register_buffer("scales", torch.tensor(scales), persistent=False)

    @property
    def width(self) -> int:
        return self.types + self.charge

    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud:
        h = clean.h[..., : self.width] / self.scales.to(clean.h.dtype)
        return replace(clean, x=clean.x / self.unit, h=h).center()

    def output(self, z0: Cloud, estimate: Cloud) -> FeaturesOutput:
        scales = self.scales.to(z0.h.dtype)
        positions = replace(estimate, x=estimate.x * self.unit)
        return FeaturesOutput(positions, z0.h * scales, self.std * self.unit, self.std * scales, self.types)


@dataclass(frozen=True)
class FeaturesOutput(Output):
    """Types and charge from z_0, positions from the last estimate (EDM, eq. 9 and section 3.2).

    positions.x (b, n, 3) in Angstrom; features (b, n, f): z_0 in natural units; std_x, std_h: noise left in each.
    """

    positions: Cloud
    features: Float[Tensor, "b n f"]
    std_x: float
    std_h: Float[Tensor, "f"]
    types: int

    def mode(self) -> Cloud:
        kinds = torch.nn.functional.one_hot(self.features[..., : self.types].argmax(-1), self.types)
        h = torch.cat([kinds.to(self.features.dtype), self.features[..., self.types :].round()], -1)
        return replace(self.positions, h=h * self.positions.mask)

    def sample(self, noise: Noise) -> Cloud:
        """Positions with the last step's noise; types are as good as certain given z_0 and taken at their mode."""
        mode = self.mode()
        eps = standard_normal(mode, noise, CENTRED)
        return replace(mode, x=mode.x + self.std_x * eps.x)

    def log_prob(self, clean: Cloud) -> Float[Tensor, "b"]:
        mask = clean.mask[..., 0]
        dimension = 3 * (clean.count - 1)
        away = (clean.center().x - self.positions.x).square().sum((1, 2)) / self.std_x**2
        log_x = -0.5 * away - dimension * (math.log(self.std_x) + 0.5 * math.log(2 * math.pi))
        kinds = _log_cell(self.features[..., : self.types] - 1, self.std_h[: self.types]).log_softmax(-1)
        log_h = (kinds * clean.h[..., : self.types]).sum(-1)
        width = self.features.shape[-1]
        charges = _log_cell(
            clean.h[..., self.types : width] - self.features[..., self.types :], self.std_h[self.types :]
        )
        return log_x + ((log_h + charges.sum(-1)) * mask).sum(1)


def _log_cell(away: Tensor, std: Tensor) -> Tensor:
    """log of the normal mass of a unit cell around a value `away` from its centre, floored at log 1e-10."""
    return torch.log(ndtr((away + 0.5) / std) - ndtr((away - 0.5) / std) + 1e-10)
