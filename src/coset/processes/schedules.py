"""Noise schedules: t -> (alpha, sigma), data at t = 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.interfaces import Schedule


@dataclass(frozen=True)
class Polynomial(Schedule):
    """EDM's "polynomial_2" (Hoogeboom et al. 2022), variance preserving: alpha^2 = (1 - 2s) (1 - t^2)^2 + s.

    `steps` is the length T of the published grid: its last step is clipped so that alpha^2 falls by at most a
    factor 1e-3 there, which keeps alpha(1) off zero. Off the grid the same formula is used.
    """

    precision: float = 1e-5
    steps: int = 1000

    def __call__(self, t):
        alpha2 = self._alpha2(t.double())
        return alpha2.sqrt(), (1 - alpha2).sqrt()

    def log_snr(self, t):
        alpha2 = self._alpha2(t.double())
        return alpha2.log() - (1 - alpha2).log()

    def time(self, log_snr):
        alpha = ((torch.sigmoid(log_snr.double()) - self.precision) / (1 - 2 * self.precision)).clamp(0, 1).sqrt()
        return (1 - alpha).clamp_min(0).sqrt()

    def _alpha2(self, t):
        last = 1e-3 * (1 - ((self.steps - 1) / self.steps) ** 2) ** 2
        return (1 - 2 * self.precision) * (1 - t.square()).square().clamp_min(last) + self.precision


@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha = cos, sigma = sin of an angle linear in t, variance preserving (Nichol & Dhariwal 2021).

    The angle stops short of both ends, so that sigma(0)^2 = alpha(1)^2 = precision, as the polynomial schedule has it.
    """

    precision: float = 1e-5

    def __call__(self, t):
        angle = self._first + t.double() * (math.pi / 2 - 2 * self._first)
        return angle.cos(), angle.sin()

    def log_snr(self, t):
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def time(self, log_snr):
        angle = torch.atan(torch.exp(-0.5 * log_snr.double()))
        return ((angle - self._first) / (math.pi / 2 - 2 * self._first)).clamp(0, 1)

    @property
    def _first(self) -> float:
        return math.asin(math.sqrt(self.precision))


@dataclass(frozen=True)
class Linear(Schedule):
    """alpha = 1 - t, sigma = s + (1 - s) t: flow matching between data and normal noise (Lipman et al. 2023, eq. 20).

    s = sigma_min is the noise left at t = 0, in the units of the encoded data; s = 0 is the straight line between the
    two ends (rectified flow), whose likelihood is not defined. alpha(1) = 0: eps says nothing of x0 there, so
    networks predict velocity or clean data.
    """

    sigma_min: float = 1e-3

    def __call__(self, t):
        t = t.double()
        return 1 - t, self.sigma_min + (1 - self.sigma_min) * t

    def log_snr(self, t):
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def time(self, log_snr):
        # (1 - t) / (s + (1 - s) t) = ratio, solved for t; with its inverse where that is the finite one.
        ratio, inverse = torch.exp(0.5 * log_snr.double()), torch.exp(-0.5 * log_snr.double())
        near_noise = (1 - self.sigma_min * ratio) / (1 + (1 - self.sigma_min) * ratio)
        near_data = (inverse - self.sigma_min) / (inverse + 1 - self.sigma_min)
        return torch.where(log_snr < 0, near_noise, near_data).clamp(0, 1)

    def velocity(self, t):
        one = torch.ones_like(t.double())
        return -one, (1 - self.sigma_min) * one


@dataclass(frozen=True)
class Bridge(Schedule):
    """alpha = 1 - t, sigma^2 = (s + (1 - s) t)^2 + noise^2 t (1 - t): flow matching along noisy paths.

    A straight line between data and normal noise with a Brownian bridge beside it (Tong et al. 2024; ETFlow, Hassan et
    al. 2024, eq. 4), which is a wider Gaussian where the two ends are independent. noise: of the bridge, in units of
    the encoded data; 0 is `Linear` with s = sigma_min.
    """

    noise: float = 0.1
    sigma_min: float = 1e-3

    def __call__(self, t):
        line, bridge = self.parts(t)
        return 1 - t.double(), (line.square() + bridge.square()).sqrt()

    def parts(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Deviations of the line's end and of the bridge, in float64."""
        t = t.double()
        # No root where there is no bridge: its slope at both ends is infinite.
        bridge = self.noise * (t * (1 - t)).clamp_min(0).sqrt() if self.noise else torch.zeros_like(t)
        return self.sigma_min + (1 - self.sigma_min) * t, bridge

    def log_snr(self, t):
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def time(self, log_snr):
        # alpha^2 = SNR sigma^2 is quadratic in t; divided by 1 + SNR, so that both ends stay finite.
        snr, one = torch.sigmoid(log_snr.double()), torch.sigmoid(-log_snr.double())
        s, rise, noise2 = self.sigma_min, 1 - self.sigma_min, self.noise**2
        a, b, c = snr * (rise**2 - noise2) - one, snr * (2 * s * rise + noise2) + 2 * one, snr * s**2 - one
        return (-2 * c / (b + (b.square() - 4 * a * c).clamp_min(0).sqrt())).clamp(0, 1)

    def velocity(self, t):
        alpha, sigma = self(t)
        slope = self.slope(t)
        wronskian = alpha * slope + sigma.square()  # times sigma
        return -sigma / wronskian, slope / wronskian

    def slope(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """sigma sigma', half the slope of the variance."""
        line, _ = self.parts(t)
        return (1 - self.sigma_min) * line + 0.5 * self.noise**2 * (1 - 2 * t.double())


@dataclass(frozen=True)
class Exploding(Schedule):
    """alpha = 1, sigma^(1/rho) linear between both ends: variance exploding on Karras et al.'s grid (2022, eq. 5).

    sigma_min, sigma_max: noise at t = 0 and t = 1 in the units of the encoded data; sigma_max must dwarf the data.
    """

    sigma_min: float = 1e-3
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"noise must grow with time: expected 0 < sigma_min < sigma_max; got {self.sigma_min:g} and "
                f"{self.sigma_max:g}"
            )

    def __call__(self, t):
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        t = t.double()
        return torch.ones_like(t), (low + (high - low) * t) ** self.rho

    def log_snr(self, t):
        return -2 * self(t)[1].log()

    def time(self, log_snr):
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((torch.exp(-0.5 * log_snr.double() / self.rho) - low) / (high - low)).clamp(0, 1)

    def velocity(self, t):
        one = torch.ones_like(t.double())
        return 0 * one, one


@dataclass(frozen=True)
class LinearNoise(Schedule):
    """sigma linear in t between both ends, variance preserving: the grid of TS's toys (Tong et al. 2025, section 5.1).

    As published, alpha(1) = 0.045 is far from 0, so that the prior, centred at 0, differs a little from q(z_1 | x0).
    """

    first: float = 0.01
    last: float = 0.999

    def __call__(self, t):
        sigma = self.first + (self.last - self.first) * t.double()
        return (1 - sigma.square()).sqrt(), sigma

    def log_snr(self, t):
        _, sigma = self(t)
        return torch.log1p(-sigma.square()) - 2 * sigma.log()

    def time(self, log_snr):
        sigma = torch.sigmoid(-log_snr.double()).sqrt()
        return ((sigma - self.first) / (self.last - self.first)).clamp(0, 1)


@dataclass(frozen=True)
class LinearLogSNR(Schedule):
    """log SNR linear in t, variance preserving (Kingma et al. 2021): from `first` at t = 0 to `last` at t = 1."""

    first: float = 10.0
    last: float = -10.0

    def __call__(self, t):
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def log_snr(self, t):
        return self.first + (self.last - self.first) * t.double()

    def time(self, log_snr):
        return ((log_snr.double() - self.first) / (self.last - self.first)).clamp(0, 1)


@dataclass(frozen=True)
class Geometric(Schedule):
    """alpha = 1 - t, sigma = delta^(1 - t): between data with noise delta and a standard normal, END's own.

    delta: noise at t = 0 in the units of the encoded data (Cornet et al. 2024).
    """

    delta: float = 0.01

    def __call__(self, t):
        left = 1 - t.double()
        return left, torch.exp(math.log(self.delta) * left)

    def log_snr(self, t):
        left = 1 - t.double()
        return 2 * (left.log() - math.log(self.delta) * left)

    def time(self, log_snr):
        # y + L exp(y) = log SNR / 2 for y = log(1 - t) and L = -log delta; convex, so Newton falls to the root.
        rate = -math.log(self.delta)
        half = (0.5 * log_snr.double()).clamp(-350, rate)  # the latter is t = 0
        y = half.clamp_max(0.0)
        for _ in range(30):
            y = y - (y + rate * y.exp() - half) / (1 + rate * y.exp())
        return (1 - y.exp()).clamp(0, 1)
