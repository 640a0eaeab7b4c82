"""Growth: where new atoms may join a fragment, as a prior on their places.

A denoiser that was trained on whole molecules sees the fixed atoms through the noise, and learns where one of their
hydrogens is missing only when the layout of the molecule is long decided. What it cannot see yet is told here: new
atoms lie around the free valences. The prior has no say where the noise is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from coset.bonds import allowed_valences, bond_orders
from coset.cloud import per_atom
from coset.interfaces import Process, Schedule
from coset.molecule import Molecule
from coset.samplers.motion import Motion

SPREAD = 1.4  # Angstrom, the deviation of a molecule's atoms: what an estimate is uncertain by in pure noise
REACH, WIDTH = 1.1, 0.4  # Angstrom, times the cube root of the atoms at a site: way of their centre, their deviation
ROOM = 0.5  # of the sum of unit vectors from an atom's neighbours; 0 within a plane of three, 1 where a bond is missing


@dataclass(frozen=True)
class Growth:
    """A mixture of normals, one at each site: an atom of the fragment that can be joined.

    sites: where they are, from the fragment's centre. outward: unit vectors away from their neighbours, zero for lone
    atoms. unit: Angstrom a unit of length of the sites and of all that `__call__` is given.
    """

    sites: Float[Tensor, "s 3"]
    outward: Float[Tensor, "s 3"]
    unit: float = 1.0

    @classmethod
    def of(cls, fragment: Molecule, unit: float = 1.0) -> Growth:
        """The atoms with a free valence by the distance rule, and room for a bond."""
        positions = torch.as_tensor(fragment.positions - fragment.positions.mean(0))
        orders = torch.as_tensor(bond_orders(fragment.numbers[None], fragment.positions[None])[0]).double()
        away = normalize(positions[:, None] - positions, dim=-1)
        outward = (away * (orders > 0)[..., None]).sum(1)
        most = torch.tensor([max(allowed_valences(int(number)), default=0) for number in fragment.numbers])
        room = (outward.norm(dim=-1) > ROOM) | (orders.sum(1) == 0)
        site = (orders.sum(1) < most) & room
        return cls(positions[site] / unit, normalize(outward[site], dim=-1), unit)

    def to(self, device: torch.device) -> Growth:
        """The same there: what a sampler copied to its device at every step would hold it up."""
        return Growth(self.sites.to(device), self.outward.to(device), self.unit)

    def __call__(
        self,
        new: Float[Tensor, "b n 3"],
        mask: Float[Tensor, "b n 1"],
        motion: Motion,
        variance: Float[Tensor, "b"],
    ) -> Float[Tensor, "b n 3"]:
        """The mean of new atoms given both their estimate and the mixture. Where there is no site, the estimate.

        mask: of the new atoms. motion: of the fragment to its place. variance: of the estimate.
        """
        if not len(self.sites):
            return new
        group = (mask.sum(1, keepdim=True) / len(self.sites)).clamp_min(1).pow(1 / 3) / self.unit  # atoms fill a volume
        means = motion(self.sites.to(group) + REACH * group * self.outward.to(group)).to(new.dtype)[:, None]
        width = (WIDTH * group).square()[..., None]
        unsure = per_atom(variance.to(new.dtype))[..., None]
        away = (new[:, :, None] - means).square().sum(-1, keepdim=True)
        share = (-0.5 * away / (unsure + width)).softmax(2)
        mean = (new[:, :, None] * width + means * unsure) / (unsure + width)
        return (mean * share).sum(2) * mask

    def variance(self, alpha: Float[Tensor, "b"], sigma: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """By which estimates are uncertain: that of normal data behind the noise.

        The data's own where noise is all there is, 0 where there is none.
        """
        spread = (SPREAD / self.unit) ** 2
        return spread * sigma.square() / (sigma.square() + spread * alpha.square())


def bounding_schedule(process: Process) -> Schedule:
    """That of the process, or the one that a learned process holds to at both ends of time."""
    for holder in (process, getattr(process, "transform", None), getattr(process, "formula", None)):
        if isinstance(found := getattr(holder, "schedule", None), Schedule):
            return found
    raise ValueError(f"{type(process).__name__} has no schedule, which is needed to draw around fixed atoms")
