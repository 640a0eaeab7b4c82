"""Our own recipe: an equivariant pair transformer, Karras's preconditioning, and self-conditioning.

What each part is for, and which were left out because they did not pay, is measured by `coset reproduce
recipe-ablation`. Sources: preconditioning of Karras et al. (2022), self-conditioning of Chen et al. (2023). Settings
that are off by default: distances in the loss (the energy loss for molecules, NeurIPS 2025), more training at low noise
as GeoBFN and UniGEM have it, the exact rotation-averaged target of `coset.symmetry`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.bonds import thresholds
from coset.codecs.categories import Categories
from coset.diffusion import Augmentation, Diffusion, Objective
from coset.interfaces import Network, Schedule
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.outputs import WithPrevious
from coset.networks.pairformer import Pairformer, Shape
from coset.networks.preconditioning import Karras, OneHot, Preconditioned
from coset.objectives.composed import Composed, NoiseMixture
from coset.objectives.consistency import Consistency, Narrowing
from coset.objectives.terms import BondEntropy, CrossEntropy, DistanceError, KarrasWeight, PositionError, Term
from coset.processes.affine import Affine
from coset.processes.schedules import Exploding
from coset.recipes.common import forgetful, target_of, told
from coset.recipes.settings import Composite, Paired, Student, Unpaired
from coset.symmetry.augmentation import random_rotation

SIZES = {
    "s": {"width": 192, "depth": 6, "heads": 6, "pair": 64, "move": 128},
    "xs": {"width": 128, "depth": 4, "heads": 4, "pair": 32, "move": 64},
    "s1": {"width": 160, "depth": 6, "heads": 5, "pair": 48, "move": 96},
    "m": {"width": 256, "depth": 9, "heads": 8, "pair": 96, "move": 160, "batch": 1024, "lr": 1e-3},
    "l": {"width": 416, "depth": 10, "heads": 13, "pair": 96, "move": 192, "batch": 1024, "lr": 7e-4},
}  # fmt: skip
STUDENT_SIZES = {"xs": SIZES["xs"], **SIZES}  # the packaged model's first
PLAIN_SIZES = {
    "s": {"width": 192, "depth": 8, "heads": 6, "kernels": 96},
    "xs": {"width": 128, "depth": 6, "heads": 4, "kernels": 64},
}
SAMPLING = {"grid": "karras", "churn": 1.4}
SAMPLING_FEW = {"solver": "renewed", "grid": "karras", "steps": 3, "until": 0.1}


def coset(s: Paired, types: int) -> Diffusion:
    """Equivariant pair transformer, preconditioned and self-conditioned: our own."""
    stages, orders = min(s.stages, s.depth), 4 if s.bond_weight else 0
    shape = Shape(s.width, s.depth, s.heads, s.pair, s.move, stages, s.self_conditioning, orders)
    bonds = ((s.bond_weight, BondEntropy(bond_limits(types), s.type_scale)),) if s.bond_weight else ()
    return _composed(Pairformer(types, Karras(s.spread), shape), s, types, bonds)


def coset_plain(s: Unpaired, types: int) -> Diffusion:
    """The same process and loss with a plain transformer trained on molecules in random poses."""
    features = 2 * types + 3 if s.self_conditioning else types
    transformer = DiT(features, s.width, s.depth, s.heads, s.kernels)
    network = WithPrevious(transformer, s.spread) if s.self_conditioning else transformer
    return _composed(network, s, types, augment=random_rotation)


def distill(s: Student, types: int) -> Diffusion:
    """`coset` for a few steps: a trained model (`init`) tuned until its estimates agree all along a path."""
    shape = Shape(s.width, s.depth, s.heads, s.pair, s.move, min(s.stages, s.depth), s.self_conditioning, 0)
    schedule = schedule_of(s)
    nearer = Narrowing(schedule, s.gap_first, s.gap_last, round((s.molecules or 1_000_000) / s.batch))
    loss = Consistency(_terms(s, schedule), _times(s, schedule), nearer)
    return _diffusion(Pairformer(types, Karras(s.spread), shape), s, types, loss)


def bond_limits(types: int) -> Tensor:
    """Distances in Angstrom below which QM9's elements have a bond of order 1, 2 and 3.

    Raises ValueError for another number of types: which elements they are is not for a recipe to know.
    """
    if types != len(QM9):
        raise ValueError(f"bond_weight knows the bonds of QM9's {len(QM9)} elements; got {types} types, so set it to 0")
    numbers = list(QM9.numbers)
    return torch.tensor(thresholds()[:, numbers][:, :, numbers] / 100, device="cpu")


def _composed(
    network: Network,
    s: Composite,
    types: int,
    more: tuple[tuple[float, Term], ...] = (),
    augment: Augmentation | None = None,
) -> Diffusion:
    schedule = schedule_of(s)
    terms = _terms(s, schedule) + more
    loss = Composed(terms, target_of(s), _times(s, schedule), self_conditioning=s.self_conditioning)
    return _diffusion(network, s, types, loss, augment)


def _diffusion(
    network: Network, s: Composite, types: int, loss: Objective, augment: Augmentation | None = None
) -> Diffusion:
    schedule = schedule_of(s)
    denoiser = Preconditioned(told(network, s, types), schedule, Karras(s.spread), OneHot(s.type_scale))
    codec = Categories(types, s.sigma_min, s.type_scale)
    return Diffusion(codec, Affine(schedule), denoiser, loss, forgetful(s, types, augment))


def schedule_of(s: Composite) -> Exploding:
    return Exploding(s.sigma_min, s.sigma_max)


def _times(s: Composite, schedule: Schedule) -> NoiseMixture:
    return NoiseMixture(schedule, s.noise_median, s.noise_deviation, s.noise_share, s.noise_low, s.noise_high)


def _terms(s: Composite, schedule: Schedule) -> tuple[tuple[float, Term], ...]:
    """Of positions, distances and types; those of weight 0 are not computed."""
    weight = KarrasWeight(schedule, s.spread)
    terms: list[tuple[float, Term]] = [
        (s.position_weight, PositionError(weight)),
        (s.distance_weight, DistanceError(weight, schedule, s.distance_reach)),
        (s.type_weight, CrossEntropy(s.type_scale)),
    ]
    return tuple(term for term in terms if term[0])
