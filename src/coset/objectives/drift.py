"""Matching drifts: the loss of processes that move along paths (END, Cornet et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, squared_norm
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser, PathProcess, Process
from coset.noise import Noise
from coset.objectives.denoising import Times
from coset.scales import CENTRED, Subspace


@dataclass(frozen=True)
class StratifiedTimes:
    """t_i = 1 - ((u + i / b) mod 1) in (0, 1], one uniform u a batch: evenly spread times ("antithetic" in END)."""

    def __call__(self, noise: Noise) -> Float[Tensor, "b"]:
        u = noise.batch.uniform(dtype=torch.float64)
        return noise.own(1 - (u[:1] + torch.arange(len(u), device=u.device) / len(u)) % 1)


@dataclass(frozen=True)
class DriftMatching:
    """|drift - drift of the estimate|^2 / g^2 / size, one draw of t and eps a molecule.

    size is the number of values of the molecule, (3 + F) N: the positions' share of the mean is 3 / (3 + F), 3/8 for
    five features as published. Gradients reach the process through target and z as well as through the estimate.

    by_atoms: a mean over the atoms of the batch, as published, in which large molecules weigh more. curvature: weight
    of |d^2 F / dt^2|^2 / size along the path drawn, which straightens the paths; it costs a second derivative.
    """

    times: Times = StratifiedTimes()
    subspace: Subspace = CENTRED
    by_atoms: bool = False
    curvature: float = 0.0

    def __call__(self, process: Process, denoiser: Denoiser, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        """Raises ValueError for processes without paths."""
        if not isinstance(process, PathProcess):
            raise ValueError(
                f"drifts are matched on processes with paths, such as Neural; got {type(process).__name__}"
            )
        t = self.times(noise.fork(0))
        eps = standard_normal(x0, noise.fork(1), self.subspace)
        path = process.path(x0, t, order=2 if self.curvature else 1)
        z = path.marginal.at(eps)
        guess = process.estimated_path(denoiser(z, t, noise.fork(2)), t)
        error = path.drift(eps) - guess.drift(guess.marginal.whiten(z))
        loss = squared_norm(error.scale((1 / path.volatility).to(z.x.dtype)))
        if path.acceleration is not None:
            loss = loss + self.curvature * squared_norm(path.acceleration.at(eps))
        return loss / self._size(x0, noise)

    def _size(self, x0: Cloud, noise: Noise) -> Float[Tensor, "b"]:
        atoms = x0.count
        if self.by_atoms:
            batch = atoms if noise.company is None else noise.company.atoms.to(atoms.dtype)
            atoms = batch.mean().expand(len(x0))
        return atoms * (x0.x.shape[-1] + x0.h.shape[-1])
