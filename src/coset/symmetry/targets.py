"""Training targets: what the denoiser's estimate is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coset.cloud import Cloud
from coset.interfaces import Draw, Process
from coset.symmetry.groups import Group
from coset.symmetry.posterior import Evidence, listed, weighted_mean

Estimator = Callable[[Group, Process, Draw], Cloud]


def plain(process: Process, draw: Draw) -> Cloud:
    """The clean cloud itself."""
    return draw.x0


def exact(group: Group, process: Process, draw: Draw) -> Cloud:
    """E[g x0 | z] in closed form: rotations by the matrix Fisher distribution, permutations and conformers by sums.

    Raises ValueError for groups with too many permutations to list and for noise that does not act on atoms alone.
    """
    clouds, there = listed(group, draw)
    found = Evidence.of(process, draw).of_candidates(clouds, there, group)
    return weighted_mean(draw.x0, found, found.log_weight.softmax(1))


@dataclass(frozen=True)
class OrbitMean:
    """E[g x0 | z] over a group: the mean of all poses and orders of the atoms that may lie behind z.

    The denoiser that fits it is that of the plain target on data moved by Haar draws of the group, and the gradient's
    variance is lower (TS, Tong et al. 2025, Theorem 1): the target is an expectation, not one draw. Three conditions.
    The process is affine with noise that acts on atoms alone and the loss squared: only then is averaging x0 the same
    as averaging what is trained on. The coupling of noise and data is independent (a Kabsch-aligned one breaks it). And
    a network that is not equivariant must see data moved by random elements of the group besides (`Diffusion.augment`):
    it would otherwise never meet the poses that its own sampler walks into.

    estimator: `exact`, or one that samples (`estimators`). Other conformers of a molecule in `draw.siblings` are part
    of the mean.
    """

    group: Group
    estimator: Estimator = exact

    def __call__(self, process: Process, draw: Draw) -> Cloud:
        return self.estimator(self.group, process, draw)
