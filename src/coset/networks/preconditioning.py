"""Preconditioning: what a network sees and says at each noise level, so that both are of unit scale (Karras et al.)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, per_atom
from coset.interfaces import Denoiser, Network, Schedule
from coset.noise import Noise

FARTHEST_LEVEL = 4.0  # |ln(sigma / alpha) / 4|; only schedules without signal or noise at an end go beyond


@dataclass(frozen=True)
class Karras:
    """c_in, c_skip and c_out of Karras et al. (2022, table 1) for data of deviation `spread`, in sigma / alpha.

    The estimate is skip x + out F, where F sees `into` x. At every noise level into x and the F that is exact have unit
    variance, and the error of F is amplified least.
    """

    spread: float

    def into(self, sigma: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return (sigma.square() + self.spread**2).rsqrt()

    def skip(self, sigma: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return self.spread**2 / (sigma.square() + self.spread**2)

    def out(self, sigma: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return sigma * self.spread * (sigma.square() + self.spread**2).rsqrt()


@dataclass(frozen=True)
class OneHot:
    """The counterpart for types, `scale` times one-hot: what an atom's own noisy features say of its type, by Bayes.

    log p(k | h) = scale h_k / sigma^2 + context, so a network that predicts logits need only learn the context, and the
    estimate, scale times the softmax, is always a mean of types. The factor is capped at `most` / scale: beyond, two
    types are as good as never confused, and logits would overflow.
    """

    scale: float
    most: float = 20.0

    def evidence(self, h: Float[Tensor, "b n f"], sigma: Float[Tensor, "b"]) -> Float[Tensor, "b n f"]:
        """The logits of h alone, all types being equally likely before."""
        return h * per_atom((self.scale / sigma.square()).clamp_max(self.most / self.scale))


class Preconditioned(Denoiser):
    """The network's positions are F of `Karras`, its features logits on top of `OneHot`'s evidence.

    It sees positions of unit scale, the types' probabilities by their own features, and ln(sigma / alpha) / 4 in the
    place of the time. `condition.previous` reaches it as it is. As sigma tends to 0 the estimate tends to the input
    whatever the network says, and for a network that says 0 it tends to the mean of the data as sigma grows.
    """

    def __init__(self, network: Network, schedule: Schedule, positions: Karras, types: OneHot) -> None:
        super().__init__()
        self.network, self.schedule, self.positions, self.types = network, schedule, positions, types

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        dtype, mask = z.x.dtype, z.mask
        level = (-self.schedule.log_snr(t) / 8).clamp(-FARTHEST_LEVEL, FARTHEST_LEVEL)
        sigma, total = sigma_of(level), self._total(t)
        # z = alpha (x + sigma n), and alpha may be 0: it is never divided by.
        unit = z.x * per_atom(total.to(dtype))
        evidence = self.types.evidence(z.h * per_atom((total / self.positions.into(sigma)).to(dtype)), sigma.to(dtype))
        out = self.network(replace(z, x=unit, h=evidence.softmax(-1) * mask), level.to(dtype))
        skip = self.positions.skip(sigma) / self.positions.into(sigma)
        x = unit * per_atom(skip.to(dtype)) + out.x * per_atom(self.positions.out(sigma).to(dtype))
        return replace(out, x=x, h=self.types.scale * (evidence + out.h).softmax(-1) * mask)

    def _total(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """1 / sqrt(alpha^2 spread^2 + sigma^2), which gives z unit variance."""
        alpha, sigma = self.schedule(t)
        return (alpha.square() * self.positions.spread**2 + sigma.square()).rsqrt()


def sigma_of(level: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """sigma / alpha from the level that a preconditioned network sees in the place of the time."""
    return (4 * level).exp()
