"""The variational bound on -log p(molecule | its number of atoms), in nats."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.gaussian import Gaussian, standard_normal
from coset.interfaces import Codec, Denoiser, Process, Schedule
from coset.noise import Noise


class Steps(ABC):
    """How the chain from t = 1 to t = 0 is cut into `count` steps."""

    count: int

    @abstractmethod
    def __call__(self, place: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """t and s < t of the step at a place in [0, 1) along the chain, from data to noise."""


@dataclass(frozen=True)
class EqualSteps(Steps):
    """Steps of equal length in t: the published bounds have 1000 (EDM's integer times)."""

    count: int = 1000

    def __call__(self, place):
        begin = (place.double() * self.count).floor()
        return (begin + 1) / self.count, begin / self.count


@dataclass(frozen=True)
class ContinuousSteps(Steps):
    """A million steps of equal length in log SNR: the bound of continuous time (Kingma et al. 2021, 4.1) but for 2e-5.

    Beyond `most_noise`, a log SNR at which noise hides the data altogether, the last step leads to t = 1. Raises
    ValueError for schedules without noise at t = 0, where no likelihood exists.
    """

    schedule: Schedule
    count: int = 1_000_000
    most_noise: float = -20.0

    def __call__(self, place):
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=place.device)
        first, last = self.schedule.log_snr(ends).clamp_min(self.most_noise)
        if not torch.isfinite(first):
            raise ValueError(f"a likelihood needs noise at t = 0, and {self.schedule} has none; raise its sigma_min")
        begin = (place.double() * self.count).floor()
        s, t = (self.schedule.time(first + (last - first) * (begin + end) / self.count) for end in (0, 1))
        return torch.where(begin + 1 < self.count, t, 1.0), s


@dataclass(frozen=True)
class Terms:
    """Parts of the bound, each (b,) in nats: the prior's KL, the chain of steps, -log p(clean | z_0)."""

    prior: Float[Tensor, "b"]
    steps: Float[Tensor, "b"]
    output: Float[Tensor, "b"]

    @property
    def total(self) -> Float[Tensor, "b"]:
        return self.prior + self.steps + self.output


@dataclass(frozen=True)
class Bound:
    """KL(q(z_1 | x) || prior) + sum over steps of KL(q(z_s | z_t, x) || p(z_s | z_t)) - log p(x | z_0).

    An unbiased estimate from one step of the chain a molecule (Ho et al. 2020, eq. 5; Hoogeboom et al. 2022, 3.2).
    Positions count as a density in Angstrom on the (3 N - 3)-dimensional space of centred molecules: the codec's
    output knows their scale, so the change of volume is in its term, and so is the entropy of what a codec draws in
    encoding. Types and charges count as probabilities.

    draws: for random denoisers (symmetrised ones), whose kernel p(z_s | z_t) = E_w p(z_s | z_t, w) is a mixture. With
    one draw of w the bound is the loss's own (Jensen); with K the mixture is estimated by the mean over K draws, which
    tightens it to the exact kernel as K grows (importance weighting: Burda et al. 2016).
    """

    steps: Steps = EqualSteps()
    draws: int = 1

    @torch.no_grad()
    def __call__(
        self,
        codec: Codec,
        process: Process,
        denoiser: Denoiser,
        clean: Cloud,
        noise: Noise,
        place: Float[Tensor, "b"] | None = None,
    ) -> Terms:
        """clean: in natural units. place: where on the chain each molecule's step lies, in [0, 1); drawn without it.

        The network runs in the precision of `clean`, everything else in float64.
        """
        x0 = codec.encode(clean, noise.fork(0)).to(torch.float64)
        place = noise.fork(1).uniform(dtype=torch.float64) if place is None else place
        one, zero = torch.ones_like(place), torch.zeros_like(place)

        def estimates(z: Cloud, t: Tensor, noise: Noise) -> list[Cloud]:
            narrow = z.to(clean.x.dtype)
            return [denoiser(narrow, t, noise.number(draw)).to(torch.float64) for draw in range(self.draws)]

        t, s = self.steps(place)
        z = process.noised(x0, t).sample(noise.fork(2))
        q, p = process.reverse(z, t, s, x0), [process.reverse(z, t, s, x) for x in estimates(z, t, noise.fork(3))]
        z0 = process.noised(x0, zero).sample(noise.fork(4))
        outputs = [codec.output(z0, x).log_prob(clean.to(torch.float64)) for x in estimates(z0, zero, noise.fork(5))]
        return Terms(
            prior=process.noised(x0, one).kl(process.prior(x0)),
            steps=self.steps.count * _kl_to_mixture(q, p, noise.fork(6)),
            output=math.log(self.draws) - torch.stack(outputs).logsumexp(0) - codec.entropy(clean),
        )


def _kl_to_mixture(q: Gaussian, p: list[Gaussian], noise: Noise) -> Float[Tensor, "b"]:
    """An unbiased estimate of E log q / mean(p), at least KL(q || the mixture's law); p share the scale of q.

    With one p it is their KL itself, without noise.
    """
    away = [q.whiten(each.mean) for each in p]
    eps = standard_normal(q.mean, noise, q.subspace)
    # log p/q at q.at(eps) is eps . away - |away|^2 / 2. What is linear in the mean of all `away` has mean zero and most
    # of the variance, and is left out.
    linear = torch.stack([_dot(eps, each) for each in away])
    logs = linear - linear.mean(0) - 0.5 * torch.stack([squared_norm(each) for each in away])
    return math.log(len(p)) - logs.logsumexp(0)


def _dot(first: Cloud, second: Cloud) -> Float[Tensor, "b"]:
    return (first.x * second.x).sum((1, 2)) + (first.h * second.h).sum((1, 2))
