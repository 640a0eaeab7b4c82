"""Residual rotations: how a pose that is not canonical leaves molecules turned, and the mean over it (TS in a pose).

Averaged over all rotations a target forgets the pose, and a plain network would have to see molecules in all of them.
A pose leaves a little: turns whose density is exp(kappa tr(R)) about it. Training clouds are turned so, and the mean of
the clean cloud over such turns behind a noisy one stays a matrix Fisher expectation, with kappa I beside the evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.symmetry.fisher import expected_rotation
from coset.symmetry.posterior import Evidence, likelihood_of
from coset.symmetry.posterior_draws import draw_rotation


@dataclass(frozen=True)
class ResidualTurns:
    """Draws of a rotation for each cloud, with density proportional to exp(concentration tr(R))."""

    concentration: float

    @classmethod
    def of_angle(cls, degrees: float) -> ResidualTurns:
        """Turns by an angle of this root mean square, to 4 % up to 30 degrees."""
        return cls(1.5 / math.radians(degrees) ** 2)

    def __call__(self, cloud: Cloud, noise: Noise) -> Float[Tensor, "b 3 3"]:
        about = self.concentration * torch.eye(3, dtype=torch.float64, device=cloud.x.device)
        return draw_rotation(about.expand(len(cloud), 3, 3), noise)


@dataclass(frozen=True)
class ResidualMean:
    """E[R x | z] over the residual rotations R of the cloud x in its pose, of which the clean cloud is one.

    The denoiser that fits it is that of the plain target on turned clouds, with a gradient of lower variance (TS, Tong
    et al. 2025, Theorem 1, whose proof asks for no uniform law). Networks without symmetry see what they need: the
    turned clouds. The conditions on process and loss are those of `OrbitMean`.
    """

    turns: ResidualTurns

    def __call__(self, process: Process, draw: Draw) -> Cloud:
        """Raises ValueError for a draw that does not tell how its clean cloud was turned."""
        if draw.turn is None:
            raise ValueError("a mean over residual rotations needs draws that tell them; train by TurnedDenoising")
        mean = likelihood_of(process, draw.x0.to(torch.float64), draw.t).mean.x
        cross = Evidence.of(process, draw).x.mT @ mean
        # The turns' law is about the pose, and x0 lies turned from there already.
        rotation = expected_rotation(cross + self.turns.concentration * draw.turn.double().mT)
        return draw.x0.rotate(rotation.to(draw.x0.x.dtype))
