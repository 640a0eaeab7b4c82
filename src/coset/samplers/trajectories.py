"""Trajectories: the ways of molecules through time, forward and in sampling, and how straight they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.interfaces import Process
from coset.noise import Noise
from coset.samplers.sample import sample
from coset.samplers.solvers import Ancestral, Solver


@dataclass(frozen=True)
class PathShape:
    """How straight the paths of b molecules are, each a polyline in the space of all 3N coordinates of its atoms.

    length, chord: along the path and from end to end, in the unit of the positions. turning: total curvature (Milnor
    1950), the angles between neighbouring segments summed up, in radians; it tends to the integral of the curvature
    over the length. excess: T int |dx/dt|^2 dt / chord^2 - 1, with T from first to last time: S of rectified flow (Liu
    et al. 2022, int |x_1 - x_0 - dx/dt|^2 dt) in units of chord^2.

    Straightness, turning and excess are blind to pose, reflection, unit of length and direction of travel. Straightness
    and turning are blind as well to how time runs along the path, so that schedules can be compared. The excess is not:
    it is 0 for a straight path at constant speed alone. All three see rescaling that changes with time: the
    variance-preserving and the exploding form of one process have other paths. Between the points a path is longer and
    turns more than its polyline. A path that stays at one place is straight.
    """

    length: Float[Tensor, "b"]
    chord: Float[Tensor, "b"]
    turning: Float[Tensor, "b"]
    excess: Float[Tensor, "b"]

    @property
    def straightness(self) -> Float[Tensor, "b"]:
        """chord / length in [0, 1]; 1 for a straight path, 2 / pi for half a circle."""
        return torch.where(self.length == 0, 1.0, self.chord / self.length)


def path_shape(points: Float[Tensor, "k b n d"], times: Float[Tensor, "k"]) -> PathShape:
    """Of the positions at rising or falling times, in float64; rows of padding are zero.

    A molecule with undefined positions has an undefined shape, and the others theirs. Raises ValueError for fewer than
    two points, and for times that are not one a point or do not run one way.
    """
    spans = times.double().diff()
    if len(points) != len(times) or not len(spans) or not bool((spans > 0).all() or (spans < 0).all()):
        raise ValueError(
            f"a path needs two points or more with rising or falling times; got {len(points)} points and the times "
            f"{times.tolist()[:5]}"
        )
    moves = points.double().diff(dim=0).flatten(2)
    lengths = moves.norm(dim=2)
    chord = (points[-1].double() - points[0].double()).flatten(1).norm(dim=1)
    energy = spans.sum().abs() * (lengths.square() / spans.abs().to(lengths.device)[:, None]).sum(0)
    excess = torch.where(energy == 0, 0.0, energy / chord.square() - 1)
    return PathShape(lengths.sum(0), chord, _turning(moves, lengths), excess.clamp_min(0))


def _turning(moves: Float[Tensor, "k b c"], lengths: Float[Tensor, "k b"]) -> Float[Tensor, "b"]:
    """Angles between the directions of neighbouring segments, summed; a segment without length has the last one's."""
    total, heading = torch.zeros_like(lengths[0]), torch.zeros_like(moves[0])
    for move, length in zip(moves, lengths[..., None], strict=True):
        ahead = torch.where(length == 0, heading, move / length)
        # Kahan's formula: exact for small angles, whose cosine is 1 to the last digit.
        angle = 2 * torch.atan2((ahead - heading).norm(dim=1), (ahead + heading).norm(dim=1))
        total = total + torch.where((heading == 0).all(1), 0.0, angle)
        heading = ahead
    return total + 0 * lengths.sum(0)  # a path of one segment turns nowhere, unless it is undefined


@torch.no_grad()
def noising_path(process: Process, x0: Cloud, noise: Noise, times: Float[Tensor, "k"]) -> Float[Tensor, "k b n d"]:
    """Positions of z_t = F(eps, t, x0) at each time, with the eps that `noise` gives: one for the whole path."""
    levels = times.to(x0.x.device)[:, None].expand(-1, len(x0)).contiguous()
    return torch.stack([process.noised(x0, t).sample(noise).x for t in levels])


def sampling_path(
    diffusion: Diffusion, like: Cloud, noise: Noise, times: Float[Tensor, "k"], solver: Solver | None = None
) -> tuple[Float[Tensor, "k b n d"], Cloud]:
    """Positions of z along the deterministic chain from prior to data, and the clean clouds it ends with.

    Steps of the solver (`Ancestral` by default) at eta = 0: polylines that tend to the trajectories of the probability
    flow. Where the denoiser is random there are none, and its noise counts as turning. Raises ValueError for processes
    without eta, such as those of a direct drift.
    """
    recorder = _Recorded(solver or Ancestral())
    clean = sample(diffusion.with_eta(0.0), like, noise, times, solver=recorder)
    return torch.stack(recorder.visited), clean


@dataclass(frozen=True)
class _Recorded(Solver):
    """Another solver; remembers the positions before the first step and after each."""

    solver: Solver
    visited: list[Float[Tensor, "b n d"]] = field(default_factory=list)

    def step(self, process, denoise, z, t, s, memory, noise):
        there, memory = self.solver.step(process, denoise, z, t, s, memory, noise)
        self.visited.extend([there.x] if self.visited else [z.x, there.x])
        return there, memory
