"""END (Cornet et al., NeurIPS 2024) and its controls: one network to denoise, another that learns the noising."""

from __future__ import annotations

from coset.codecs.features import Features
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser, PathProcess, Schedule
from coset.networks.dit import DiT, DiTField, PoseTransformer
from coset.networks.egnn import EGNN
from coset.networks.eqgat import EQGAT, EQGATField, Shape
from coset.networks.outputs import FromResidual
from coset.objectives.drift import DriftMatching
from coset.processes.neural import DirectDrift, Neural
from coset.processes.schedules import Geometric, LinearLogSNR
from coset.processes.spreads import Matrix, Scalar, Scheduled, Spread, exponential, softplus_power
from coset.processes.steps import EulerMaruyama, Renewal, Step
from coset.processes.transforms import Fixed, Learned, channels
from coset.processes.volatility import OfSchedule
from coset.recipes.common import forgetful, told
from coset.recipes.settings import Drifting, Posed
from coset.symmetry.frames import RecursiveFrame, VectorFrame
from coset.symmetry.symmetrised import PosedField, Symmetrised

DELTA = 0.01  # noise left at t = 0
CLOCK = LinearLogSNR()  # whose volatility is the published 20 sigmoid(-10 + 20 t)
_SMALL = {
    "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.01, "amsgrad": False, "warmup": 500, "decay": 0.4,
    "ema": (0.999, 0.9995), "molecules": 1_000_000, "validate_every": 250_000,
}  # fmt: skip
SIZES = {"published": {}, "small": _SMALL | {"width": 64, "vector_width": 32, "edge_width": 32, "depth": 4}}
SIZES_POSED = {
    "medium": {},
    "small": _SMALL | {"width": 96, "depth": 4, "heads": 4, "kernels": 48, "pose_width": 32, "pose_depth": 2},
}
SAMPLING = {"grid_power": 1.0}


def end(s: Drifting, types: int) -> Diffusion:
    """Learned noising with a mean, a scale and a matrix of each atom's own; equivariant by its networks."""
    return _composed(_learned(s, types, Matrix(growth_of(s))), s, types)


def end_scalar(s: Drifting, types: int) -> Diffusion:
    """Learned noising with a mean and a scale of each atom's own."""
    return _composed(_learned(s, types, Scalar(growth_of(s))), s, types)


def end_mu_only(s: Drifting, types: int) -> Diffusion:
    """Learned noising with a mean of each atom's own; the scale is the schedule's."""
    return _composed(_learned(s, types, Scheduled()), s, types)


def end_fixed(s: Drifting, types: int) -> Diffusion:
    """END's network and loss on a noising that nothing is learned of."""
    return _composed(Neural(Fixed(Geometric(DELTA)), OfSchedule(CLOCK), step_of(s)), s, types)


def end_direct(s: Drifting, types: int) -> Diffusion:
    """Learned noising whose drift is predicted without it, so that a step of sampling is one network call."""
    process = _learned(s, types, Matrix(growth_of(s)), CLOCK, power=2)
    return _composed(DirectDrift(process, Fixed(CLOCK)), s, types)


def end_symdiff(s: Posed, types: int) -> Diffusion:
    """Learned noising by plain transformers: the noising's in a canonical pose, the denoiser's in SymDiff's random."""
    spread = Matrix(growth_of(s))
    plain = DiTField(types, *channels(spread, types), s.width, s.depth, s.heads, s.kernels)
    field = PosedField(plain, VectorFrame(EGNN(types, s.pose_width, s.pose_depth)))
    process = Neural(Learned(field, Geometric(DELTA), spread), OfSchedule(CLOCK), step_of(s))
    pose = PoseTransformer(3, s.pose_width, s.pose_depth, s.pose_heads, s.pose_kernels)
    denoiser = FromResidual(told(DiT(types, s.width, s.depth, s.heads, s.kernels), s, types))
    return _diffusion(process, Symmetrised(denoiser, RecursiveFrame(pose, reflections=False)), s, types)


def _learned(s: Drifting, types: int, spread: Spread, schedule: Schedule | None = None, power: int = 1) -> Neural:
    field = EQGATField(types, *channels(spread, types), shape_of(s))
    return Neural(Learned(field, schedule or Geometric(DELTA), spread, power), OfSchedule(CLOCK), step_of(s))


def _composed(process: PathProcess, s: Drifting, types: int) -> Diffusion:
    return _diffusion(process, FromResidual(told(EQGAT(types, shape_of(s)), s, types)), s, types)


def _diffusion(process: PathProcess, denoiser: Denoiser, s: Drifting, types: int) -> Diffusion:
    codec = Features(types, std=DELTA, charge=False)
    loss = DriftMatching(by_atoms=s.by_atoms, curvature=s.curvature)
    return Diffusion(codec, process, denoiser, loss, forgetful(s, types))


def shape_of(s: Drifting) -> Shape:
    return Shape(s.width, s.vector_width, s.edge_width, s.depth)


def step_of(s: Drifting) -> Step:
    """Of the reverse process: as published, or the one whose marginals are exact."""
    return EulerMaruyama() if s.step == "euler" else Renewal(CLOCK)


def growth_of(s: Drifting):
    return exponential if s.growth == "exponential" else softplus_power
