"""Neural: processes whose noisy clouds move along learned paths, and their reverse (END, Cornet et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.gaussian import Gaussian
from coset.interfaces import Path, PathProcess
from coset.processes.paths import path_of
from coset.processes.steps import EulerMaruyama, Renewal, Step
from coset.processes.transforms import Transform
from coset.processes.volatility import OfSchedule, Volatility


class Neural(PathProcess):
    """z_t = F(eps, t, x0), reversed by dz = [dF/dt at fixed eps - g^2 / 2 score] dt + g dW.

    transform: F, learned or fixed. volatility: g(t). step: how `reverse` makes a step of the reverse process.
    The target of training is not affine in x0: averaging x0 over a group is not averaging the drift. A scale that is
    singular makes its own molecule NaN, and no other.
    """

    def __init__(self, transform: Transform, volatility: Volatility, step: Step | None = None) -> None:
        super().__init__()
        self.transform, self.volatility, self.step = transform, volatility, step or EulerMaruyama()

    def with_eta(self, eta: float) -> Neural:
        """The same process with another reverse chain: 1 its own noise, 0 the probability flow."""
        return self.with_step(replace(self.step, eta=eta))

    def with_step(self, step: Step) -> Neural:
        """The same process with its reverse cut into other steps."""
        return Neural(self.transform, self.volatility, step)

    def prior(self, like: Cloud) -> Gaussian:
        return self.transform.prior(like)

    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        return self.transform(x0, t)

    def path(self, x0: Cloud, t: Float[Tensor, "b"], order: int = 1) -> Path:
        """One pass of the field with its time derivative, for noised, velocity, score and drift together."""
        return path_of(self.transform, self.volatility, x0, t, order)

    def estimated_path(self, estimate: Cloud, t: Float[Tensor, "b"]) -> Path:
        return self.path(estimate, t)

    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        """The law of one step of the reverse process."""
        return self.step(self.transform, self.volatility, z, t, s, x0)

    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        path = self.path(x0, t)
        return path.velocity(path.marginal.whiten(z))

    def drift(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        """Of the reverse process with its own noise."""
        path = self.path(x0, t)
        return path.drift(path.marginal.whiten(z))


class DirectDrift(PathProcess):
    """A learned process whose drift is predicted without it: sampling costs the denoiser alone.

    Training noises along the `learned` process and asks for its drift. What the denoiser returns is turned into a drift
    by the `formula`, a transform without a network: drift = a(t) z + b(t) estimate, so that every drift has its
    estimate. That is the clean cloud where both processes agree; near t = 0 they do for shifts with power 2 or more
    (`Learned`), and the last estimate of a sampler is clean data as ever.

    A drift does not tell velocity and score apart, so eta stays that of training: there is no `with_eta`. Raises
    ValueError for a formula of another schedule, whose ends are elsewhere, and for `Renewal` unless its schedule is
    that of formula and volatility: in others its drift is another one.
    """

    def __init__(self, learned: Neural, formula: Transform) -> None:
        super().__init__()
        schedule, step, volatility = formula.schedule, learned.step, learned.volatility
        if schedule != learned.transform.schedule:
            raise ValueError(
                f"the formula must end where the process does, at {learned.transform.schedule}; got {schedule}"
            )
        own = isinstance(volatility, OfSchedule) and volatility.schedule == schedule
        if isinstance(step, Renewal) and not (own and step.schedule == schedule):
            raise ValueError(f"Renewal makes direct drifts only with {schedule} and its volatility; use EulerMaruyama")
        self.learned, self.formula = learned, formula

    def prior(self, like: Cloud) -> Gaussian:
        return self.learned.prior(like)

    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        return self.learned.noised(x0, t)

    def path(self, x0: Cloud, t: Float[Tensor, "b"], order: int = 1) -> Path:
        return self.learned.path(x0, t, order)

    def estimated_path(self, estimate: Cloud, t: Float[Tensor, "b"]) -> Path:
        return path_of(self.formula, self.learned.volatility, estimate, t)

    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        """x0: a denoiser's estimate; for the true x0 this is the formula's step, not the learned process's."""
        return self.learned.step(self.formula, self.learned.volatility, z, t, s, x0)

    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        raise ValueError("a direct drift has no velocity apart from its noise; sample it with the ancestral solver")
