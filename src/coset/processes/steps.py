"""Steps of a reverse process along learned paths: from z at t to a Gaussian at s < t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Schedule
from coset.processes.paths import path_of, rebuilt, tensors
from coset.processes.transforms import Transform
from coset.processes.volatility import Volatility


@dataclass(frozen=True)
class Step(ABC):
    """eta: randomness, 1 for the process's own and 0 for the probability flow. Raises ValueError outside [0, 1]."""

    eta: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1] (0 deterministic, 1 the process's own noise); got {self.eta}")

    @abstractmethod
    def __call__(
        self,
        transform: Transform,
        volatility: Volatility,
        z: Cloud,
        t: Float[Tensor, "b"],
        s: Float[Tensor, "b"],
        x0: Cloud,
    ) -> Gaussian: ...


@dataclass(frozen=True)
class EulerMaruyama(Step):
    """z + drift (s - t), with noise eta g sqrt(t - s), as published with END (Cornet et al. 2024).

    First order. It contracts only where eta^2 g^2 (t - s) < 4 sigma^2, and amplifies noise beyond. Costs one pass of
    the field with its time derivative.
    """

    def __call__(self, transform, volatility, z, t, s, x0):
        path, dtype = path_of(transform, volatility, x0, t), z.x.dtype
        mean = z + path.drift(path.marginal.whiten(z), self.eta).scale((s - t).to(dtype))
        mean = replace(mean, x=transform.subspace.project(mean.x, mean.mask))
        std = self.eta * path.volatility * (t - s).clamp_min(0).sqrt()
        return Gaussian.isotropic(mean, std.to(dtype), transform.subspace)


@dataclass(frozen=True)
class Renewal(Step):
    """F(eps', s, x0) with eps' = keep eps + fresh: the eps that z has, partly drawn anew, moves along its path.

    For the true x0 the marginals are exact at every step size, and no step amplifies anything: the error of a step is
    that of holding x0 alone, as for DDIM (Song et al. 2021). So the samplers' second-order solvers are that here too.
    The fresh share of the variance is eta^2 (1 - SNR(t) / SNR(s)) with the schedule's SNR: that of ancestral sampling
    in its affine process, and for a fixed transform of the same schedule this is `Affine.reverse`. The volatility has
    no part in it. Costs two passes of the field and no derivative.
    """

    schedule: Schedule

    def __call__(self, transform, volatility, z, t, s, x0):
        start, end = transform(x0, t), transform(x0, s)
        renewed = -torch.expm1((self.schedule.log_snr(t) - self.schedule.log_snr(s)).clamp_max(0))
        fresh = self.eta * renewed.sqrt()
        mean = end.at(start.whiten(z).scale((1 - fresh.square()).sqrt().to(z.x.dtype)))
        scales = [_times(part, fresh.to(part.dtype)) for part in tensors(end)[2:]]
        return rebuilt(replace(end, mean=mean), (mean.x, mean.h, *scales))


def _times(values: Tensor, factor: Float[Tensor, "b"]) -> Tensor:
    return values * factor.view(-1, *[1] * (values.ndim - 1))
