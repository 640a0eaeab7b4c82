"""Harmonic: noise in the shape of a molecule of springs, so that bonded atoms are near one another from the start."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Process
from coset.processes.affine import backward
from coset.processes.schedules import Bridge
from coset.scales import CENTRED, Isotropic, Modal


@dataclass(frozen=True)
class Springs:
    """Normal modes of a molecule whose bonds are springs of unit strength: u_k and 1 / sqrt(lambda_k).

    Modes without a length, those of the uniform shift and of padding, are zero.
    """

    vectors: Float[Tensor, "b n n"]
    lengths: Float[Tensor, "b n"]

    @classmethod
    def of(cls, cloud: Cloud) -> Springs:
        """Raises ValueError for a cloud that does not carry its modes."""
        modes = None if cloud.condition is None else cloud.condition.modes
        if modes is None:
            raise ValueError("harmonic noise needs a molecule's bonds; give the cloud a Condition(modes=...) first")
        modes = modes.to(cloud.x.dtype)
        lengths = modes.square().sum(1).sqrt()
        return cls(modes / torch.where(lengths > 0, lengths, 1.0)[:, None], lengths)

    def into(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b k d"]:
        """Amplitudes of the modes."""
        return self.vectors.mT @ x

    def back(self, amplitudes: Float[Tensor, "b k d"]) -> Float[Tensor, "b n d"]:
        return self.vectors @ amplitudes

    def spread(self, line: Float[Tensor, "b"], bridge: Float[Tensor, "b"]) -> Float[Tensor, "b k"]:
        """Deviation of each mode: of the harmonic noise at this level with isotropic noise beside it. 1 for no mode."""
        std = (self.lengths.double() * line[:, None]).square() + bridge.square()[:, None]
        return torch.where(self.lengths > 0, std.sqrt(), 1.0)


class Harmonic(Process):
    """`Affine` with x_1 ~ N(0, L^+), L the Laplacian of the graph of bonds (`Condition.modes`): the harmonic prior.

    z_t = (1 - t) x0 + line(t) L^(-1/2) eps + bridge(t) eps' (ETFlow, Hassan et al. 2024, section 3.2; the prior is
    EigenFold's, Jing et al. 2023). Each mode is an affine process of its own, and for all of them averaging x0 is
    averaging the training target; L commutes with rotations and with automorphisms of the graph. Features, if any, have
    isotropic noise. eta: randomness of the reverse chain, 0 the probability flow.
    """

    def __init__(self, schedule: Bridge, eta: float = 0.0) -> None:
        super().__init__()
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1] (0 deterministic, 1 ancestral); got {eta}")
        self.schedule, self.eta, self.subspace = schedule, eta, CENTRED

    def with_eta(self, eta: float) -> Harmonic:
        """The same process with another reverse chain."""
        return Harmonic(self.schedule, eta)

    def prior(self, like: Cloud) -> Gaussian:
        return self.noised(like.scale(0.0), like.count.new_ones(len(like)))

    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        springs, dtype = Springs.of(x0), x0.x.dtype
        alpha, sigma = self.schedule(t)
        std = springs.spread(*self.schedule.parts(t))
        scale = Modal(springs.vectors, std.to(dtype))
        return Gaussian(x0.scale(alpha.to(dtype)), scale, Isotropic(sigma.to(dtype)), self.subspace)

    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        springs, dtype = Springs.of(z), z.x.dtype
        alpha_t, alpha_s = 1 - t.double(), 1 - s.double()
        mode_t, mode_s = (springs.spread(*self.schedule.parts(time)) for time in (t, s))
        keep, weight, std = (
            part.to(dtype) for part in backward(alpha_t[:, None], alpha_s[:, None], mode_t, mode_s, self.eta)
        )
        x = springs.back(keep[..., None] * springs.into(z.x) + weight[..., None] * springs.into(x0.x))
        sigma_t, sigma_s = (self.schedule(time)[1] for time in (t, s))
        keep, weight, noise = (part.to(dtype) for part in backward(alpha_t, alpha_s, sigma_t, sigma_s, self.eta))
        mean = replace(z, x=x, h=z.h * keep[:, None, None] + x0.h * weight[:, None, None])
        return Gaussian(mean, Modal(springs.vectors, std), Isotropic(noise), self.subspace)

    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        springs, dtype = Springs.of(z), z.x.dtype
        alpha, (line, bridge) = 1 - t.double(), self.schedule.parts(t)
        variance = springs.spread(line, bridge).square()
        # sigma sigma' of each mode: the line's part in its own length, the bridge's the same for all.
        rise, sway = (1 - self.schedule.sigma_min) * line, 0.5 * self.schedule.noise**2 * (1 - 2 * t.double())
        ratio = (springs.lengths.double().square() * rise[:, None] + sway[:, None]) / variance
        amplitude = (-1 - ratio * alpha[:, None]).to(dtype)[..., None] * springs.into(x0.x)
        x = springs.back(ratio.to(dtype)[..., None] * springs.into(z.x) + amplitude)
        own = self.schedule.slope(t) / self.schedule(t)[1].square()
        h = z.h * own.to(dtype)[:, None, None] + x0.h * (-1 - own * alpha).to(dtype)[:, None, None]
        return replace(z, x=x, h=h)
