"""A process of one's own: positions and features noised by different schedules."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.gaussian import Gaussian, standard_normal
from coset.interfaces import Process
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Polynomial


class TwoSpeeds(Process):
    """One process for the positions and another for the features, independent of each other given x0."""

    def __init__(self, positions: Process, features: Process) -> None:
        super().__init__()
        self.positions, self.features = positions, features

    def prior(self, like: Cloud) -> Gaussian:
        return _join(self.positions.prior(like), self.features.prior(like))

    def noised(self, x0: Cloud, t: Float[Tensor, "b"]) -> Gaussian:
        return _join(self.positions.noised(x0, t), self.features.noised(x0, t))

    def reverse(self, z: Cloud, t: Float[Tensor, "b"], s: Float[Tensor, "b"], x0: Cloud) -> Gaussian:
        return _join(self.positions.reverse(z, t, s, x0), self.features.reverse(z, t, s, x0))

    def velocity(self, z: Cloud, t: Float[Tensor, "b"], x0: Cloud) -> Cloud:
        return replace(self.positions.velocity(z, t, x0), h=self.features.velocity(z, t, x0).h)


def _join(x: Gaussian, h: Gaussian) -> Gaussian:
    return replace(x, mean=replace(x.mean, h=h.mean.h), h_scale=h.h_scale)


def check() -> None:
    """Noising to t and stepping back to s gives the law of noising to s: q(z_s | x0) = E q(z_s | z_t, x0)."""
    process, noise = TwoSpeeds(Affine(Polynomial()), Affine(Cosine())), Noise(torch.arange(4))
    like = Cloud(*(torch.ones(4, 6, width, dtype=torch.float64) for width in (3, 5, 1)))
    x0, eps = (standard_normal(like, noise.at(step), process.positions.subspace) for step in (0, 1))
    t, s = torch.tensor([0.3, 0.6, 0.9, 1.0]).double(), torch.tensor([0.1, 0.5, 0.2, 0.99]).double()
    noisy, wanted = process.noised(x0, t), process.noised(x0, s)
    assert squared_norm(process.reverse(noisy.mean, t, s, x0).mean - wanted.mean).max() < 1e-20
    step = process.reverse(noisy.at(eps), t, s, x0)
    kept, added, whole = step.mean - wanted.mean, step.at(eps) - step.mean, wanted.at(eps) - wanted.mean
    for part in ("x", "h"):  # the means agree, and the variances add up: every scale is one number times eps
        a, b, c = (getattr(cloud, part).square() for cloud in (kept, added, whole))
        assert (a + b - c).abs().max() < 1e-9


if __name__ == "__main__":
    check()
