"""What a network's output means: from any network to a denoiser, which returns clean data."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Denoiser, Network, Schedule
from coset.noise import Noise


class ScaledInput(Network):
    """The network sees z / sqrt(alpha^2 spread^2 + sigma^2), of unit scale at every noise level (Karras et al. 2022).

    spread: deviation of the encoded positions. For schedules whose variance explodes; the others hardly need it.
    """

    def __init__(self, network: Network, schedule: Schedule, spread: float) -> None:
        super().__init__()
        self.network, self.schedule, self.spread = network, schedule, spread

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        alpha, sigma = self.schedule(t)
        scale = (alpha.square() * self.spread**2 + sigma.square()).rsqrt()
        return self.network(z.scale(scale.to(z.x.dtype)), t)


class WithPrevious(Network):
    """For networks without symmetry: the estimate of the step before, if there is one, joins each atom's features.

    Its positions in units of `spread`, its features as they are. The network has 2 f + d feature channels for f of the
    cloud; those beyond the f are lost on the way out.
    """

    def __init__(self, network: Network, spread: float) -> None:
        super().__init__()
        self.network, self.spread, self.width = network, spread, network.width

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        before = z.condition.previous if z.condition else None
        x, h = (torch.zeros_like(z.x), torch.zeros_like(z.h)) if before is None else (before.x, before.h)
        mask = z.mask if before is None else before.mask
        features = torch.cat([z.h, h * mask, x * mask / self.spread], -1)
        out = self.network(replace(z, h=features), t)
        return replace(out, h=out.h[..., : z.h.shape[-1]])


class FromNoise(Denoiser):
    """The network predicts eps: x0 = (z - sigma eps) / alpha (Ho et al. 2020). Always in the cloud's own precision.

    Raises ValueError for schedules without signal at t = 1, where x0 cannot be read off eps.
    """

    def __init__(self, network: Network, schedule: Schedule) -> None:
        super().__init__()
        # The CPU by name: networks are counted under a meta default device, on which numbers have no value.
        alpha, _ = schedule(torch.ones(1, dtype=torch.float64, device="cpu"))
        if alpha.item() < 1e-4:
            raise ValueError(
                f"FromNoise needs a schedule with alpha(1) >= 1e-4; got {alpha.item():.1e}. "
                "Use a network that predicts clean data or velocity."
            )
        self.network, self.schedule = network, schedule

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        alpha, sigma = self.schedule(t)
        dtype = z.x.dtype
        return z.scale((1 / alpha).to(dtype)) - self.network(z, t).scale((sigma / alpha).to(dtype))


class FromVelocity(Denoiser):
    """The network predicts the velocity v of the path: x0 = b z - sigma v with the schedule's own b.

    Defined for every schedule and at both ends: v-prediction (Salimans & Ho 2022) where variance is preserved, flow
    matching's eps - x0 for the linear one (Lipman et al. 2023).
    """

    def __init__(self, network: Network, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        (_, sigma), (_, b) = self.schedule(t), self.schedule.velocity(t)
        dtype = z.x.dtype
        return z.scale(b.to(dtype)) - self.network(z, t).scale(sigma.to(dtype))


class FromClean(Denoiser):
    """The network predicts the clean cloud itself."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        return self.network(z, t)


class FromResidual(Denoiser):
    """The network predicts what is missing: x0 = z + t F, so that z is the estimate at t = 0 (END, Cornet et al. 2024).

    For processes whose data reach t = 0 with little noise.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        return z + self.network(z, t).scale(t.to(z.x.dtype))
