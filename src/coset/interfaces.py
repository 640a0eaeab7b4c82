"""The interfaces: the page to read first.

Every **denoiser returns the clean estimate** x0(z, t). Every **process gives Gaussians**. Data at t = 0, noise at
t = 1, always. `Process.reverse` with the true x0 is the training target, with the estimate it is the sampler; so
one kernel serves loss, bound and sampler, and the way symmetry is respected is free to sit in the denoiser
(symmetrisation), the target, the process or the codec.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, Condition
from coset.gaussian import Gaussian
from coset.noise import Noise

__all__ = [
    "Codec",
    "Condition",
    "Denoiser",
    "Draw",
    "Field",
    "Frame",
    "Network",
    "Output",
    "Path",
    "PathProcess",
    "Process",
    "Schedule",
    "Target",
]


class Network(nn.Module, ABC):
    """Maps a noisy cloud to a cloud of the same shape; what it means is for a `Denoiser` to say.

    width: channels of an atom's token, to which it adds `condition.told` (`networks.embeddings.with_told`); 0 for a
    network that cannot be told anything.
    """

    width: int = 0

    @abstractmethod
    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud: ...


class Field(nn.Module, ABC):
    """Values an atom: scalars that no rotation changes, vectors that turn with the cloud.

    What processes and frames that learn are made of. Padded rows are zero.
    """

    @abstractmethod
    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b n k"], Float[Tensor, "b n m d"]]: ...


class Denoiser(nn.Module, ABC):
    """Estimates the clean cloud behind z at time t. Random denoisers draw from `noise`."""

    @abstractmethod
    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud: ...


class Schedule(ABC):
    """Signal and noise levels of an affine process: z_t = alpha(t) x0 + sigma(t) eps."""

    @abstractmethod
    def __call__(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """alpha(t), sigma(t) in float64: near both ends float32 would lose them."""

    @abstractmethod
    def log_snr(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """log(alpha^2 / sigma^2)."""

    @abstractmethod
    def time(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """The inverse of `log_snr`."""

    def velocity(self, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """a, b of the velocity v = a x0 + b eps, with alpha b - sigma a = 1, so that x0 = b z - sigma v.

        v points along the path, dz/dt over its own Wronskian alpha sigma' - alpha' sigma: that of Salimans & Ho (2022)
        for variance-preserving schedules, eps - x0 for flow matching. The default here is the former.
        """
        alpha, sigma = self(t)
        return -sigma, alpha


class Process(nn.Module, ABC):
    """A noising process and its reverse, as Gaussians."""

    @abstractmethod
    def prior(self, like: Cloud) -> Gaussian:
        """The distribution at t = 1, in the shape of `like`."""

    @abstractmethod
    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        """q(z_t | x0)."""

    @abstractmethod
    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        """q(z_s | z_t, x0) for s < t."""

    @abstractmethod
    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        """The probability-flow drift dz/dt."""


@dataclass(frozen=True)
class Path:
    """The way of a noisy cloud z_t = F(eps, t, x0) at one time: all that a reverse differential equation needs.

    marginal: q(z_t | x0), with F = marginal.at(eps). rate: the same with the time derivatives of its mean and scales,
    so that dF/dt at fixed eps is rate.at(eps); it is no distribution. acceleration: the second derivatives, where asked
    for. volatility: g(t) of the reverse process dz = drift dt + g dW.
    """

    marginal: Gaussian
    rate: Gaussian
    volatility: Float[Tensor, "b"]
    acceleration: Gaussian | None = None

    def velocity(self, eps: Cloud) -> Cloud:
        """dF/dt at fixed eps."""
        return self.rate.at(eps)

    def drift(self, eps: Cloud, eta: float = 1.0) -> Cloud:
        """dF/dt - eta^2 g^2 / 2 score (Anderson 1982); any eta has the same marginals, 0 the probability flow."""
        push = self.marginal.score_at(eps).scale((-0.5 * (eta * self.volatility).square()).to(eps.x.dtype))
        return self.velocity(eps) + push


class PathProcess(Process, ABC):
    """A process whose noisy clouds move along differentiable paths, trained by matching the drift of its reverse."""

    @abstractmethod
    def path(self, x0: Cloud, t: Float[Tensor, "b"], order: int = 1) -> Path:
        """That of a clean cloud, with as many time derivatives as `order`, 1 or 2."""

    @abstractmethod
    def estimated_path(self, estimate: Cloud, t: Float[Tensor, "b"]) -> Path:
        """That of a denoiser's estimate, as sampling has it: `path`, or a formula in its place."""


class Frame(nn.Module, ABC):
    """A pose R, possibly random; equivariant in law unless its docstring says otherwise."""

    @abstractmethod
    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]: ...


class Output(ABC):
    """p(clean | z_0), the last factor of the generative model."""

    @abstractmethod
    def log_prob(self, clean: Cloud) -> Float[Tensor, "b"]:
        """Nats; positions as a density, categorical features as probabilities."""

    @abstractmethod
    def sample(self, noise: Noise) -> Cloud: ...

    @abstractmethod
    def mode(self) -> Cloud: ...


class Codec(nn.Module, ABC):
    """Between clean data in natural units and what the diffusion sees.

    unit: Angstrom an encoded unit of length. spatial: whether encoded positions are those of the atoms, in this unit
    and any pose; those of a latent space are not.
    """

    unit: float = 1.0
    spatial: bool = True

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of feature channels that the diffusion sees."""

    @abstractmethod
    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud: ...

    @abstractmethod
    def output(self, z0: Cloud, estimate: Cloud) -> Output:
        """From the chain's end z_0 and the denoiser's last estimate at t = 0."""

    def lost(self, clean: Cloud, noise: Noise) -> dict[str, Float[Tensor, "b"]]:
        """What is lost on the way there and back, by name: a codec that learns is trained by the sum of all."""
        return {}

    def entropy(self, clean: Cloud) -> Float[Tensor, "b"]:
        """Nats of what `encode` draws from the noise, given the clean cloud; 0 where it draws nothing."""
        return clean.x.new_zeros(len(clean))


@dataclass(frozen=True)
class Draw:
    """What a loss sees of one training draw. noise: for targets that draw themselves.

    siblings: other clean clouds of the same molecule, those of molecule i in rows i m, ..., i m + m - 1 of m each.
    turn: the rotation by which x0 was turned from where the data have it, where the loss turns it.
    """

    x0: Cloud
    eps: Cloud
    z: Cloud
    t: Float[Tensor, "b"]
    noise: Noise | None = None
    siblings: Cloud | None = None
    turn: Float[Tensor, "b 3 3"] | None = None


Target = Callable[[Process, Draw], Cloud]
