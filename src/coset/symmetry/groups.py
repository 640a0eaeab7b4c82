"""Groups that act on clouds: rotations, reflections, permutations of atoms, and their products.

An `Element` holds one group element a molecule: an orthogonal matrix, an order of the atoms, or both; they commute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset.cloud import Cloud
from coset.noise import Noise
from coset.symmetry.rotations import haar

MOST_ELEMENTS = 5040  # of a listed group: S_7


@dataclass(frozen=True)
class Element:
    """x_i -> R x_order[i], h_i -> h_order[i], one for each molecule; None is the identity."""

    rotation: Float[Tensor, "b d d"] | None = None
    order: Int[Tensor, "b n"] | None = None

    def act(self, cloud: Cloud) -> Cloud:
        """Raises ValueError where the element does not fit the cloud's dimensions."""
        if self.order is not None:
            if self.order.shape != cloud.mask.shape[:2]:
                raise ValueError(
                    f"a permutation of shape {tuple(self.order.shape)} cannot act on a cloud of {cloud.mask.shape[1]} "
                    f"atoms a molecule and {len(cloud)} molecules; give one order of the atoms a molecule"
                )
            cloud = cloud.permute(self.order)
        if self.rotation is not None:
            if self.rotation.shape[-1] != cloud.x.shape[-1]:
                raise ValueError(
                    f"a rotation of {self.rotation.shape[-1]} dimensions cannot act on positions of "
                    f"{cloud.x.shape[-1]}; draw it for this cloud"
                )
            cloud = cloud.rotate(self.rotation.to(cloud.x.dtype))
        return cloud

    def inverse(self) -> Element:
        rotation = None if self.rotation is None else self.rotation.mT
        return Element(rotation, None if self.order is None else self.order.argsort(1))

    def compose(self, first: Element) -> Element:
        """The element that acts as `first` and then as this one."""
        rotation = first.rotation if self.rotation is None else self.rotation
        if self.rotation is not None and first.rotation is not None:
            rotation = self.rotation @ first.rotation
        order = first.order if self.order is None else self.order
        if self.order is not None and first.order is not None:
            order = first.order.gather(1, self.order)  # x_i -> (first x)_order[i] = x_first[order[i]]
        return Element(rotation, order)


class Group(ABC):
    """A compact group acting on clouds.

    rotations: whether it holds SO(d) (False: no rotation), reflections: whether it holds O(d), as continuous factors;
    everything else is finite and can be listed by `permutations`.
    """

    rotations: bool = False
    reflections: bool = False

    @abstractmethod
    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        """A Haar draw for each molecule."""

    def permutations(self, cloud: Cloud) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g"]]:
        """All permutations of the group, the identity first, and which of them each molecule has.

        Raises ValueError where there are too many to list.
        """
        identity = torch.arange(cloud.mask.shape[1], device=cloud.x.device).expand(len(cloud), 1, -1)
        return identity, torch.ones(len(cloud), 1, dtype=torch.bool, device=cloud.x.device)

    def __mul__(self, other: Group) -> Group:
        return Product(self, other)


@dataclass(frozen=True)
class Trivial(Group):
    """The identity alone: averages over it are the plain target, or one over a molecule's own conformers."""

    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        return Element()


@dataclass(frozen=True)
class Rotations(Group):
    """SO(d), or O(d) with reflections, d the dimension of the positions; O(1) flips the sign."""

    reflections: bool = False
    rotations = True

    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        return Element(haar(noise, self.reflections, cloud.x.shape[-1]))


@dataclass(frozen=True)
class LikeAtoms(Group):
    """S_n over atoms with equal features of the cloud that it is asked about, which is to be a clean one."""

    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        kinds = kinds_of_atoms(cloud)
        # Sorted by kind and, within one, by chance: which atom stands where the like ones stand in the given order.
        chance = noise.uniform(cloud.mask.shape[1], dtype=torch.float64).to(kinds.device)
        shuffled, standing = (kinds + 0.5 * chance).argsort(1), kinds.sort(dim=1, stable=True).indices
        return Element(order=torch.empty_like(standing).scatter_(1, standing, shuffled))

    def permutations(self, cloud: Cloud) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g"]]:
        kinds, row = kinds_of_atoms(cloud).cpu().unique(dim=0, return_inverse=True)  # listed once a kind of molecule
        orders, there = _stacked([_like_permutations(each.tolist()) for each in kinds], cloud)
        row = row.to(orders.device)
        return orders[row], there[row]


@dataclass(frozen=True)
class Automorphisms(Group):
    """Permutations that leave a molecule's graph as it is: `Condition.automorphisms`, which ride on the cloud."""

    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        orders, there = self.permutations(cloud)
        chosen = (noise.uniform(dtype=torch.float64).to(there.device) * there.sum(1)).long()
        return Element(order=orders[torch.arange(len(orders), device=orders.device), chosen])

    def permutations(self, cloud: Cloud) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g"]]:
        known = None if cloud.condition is None else cloud.condition.automorphisms
        if known is None:
            raise ValueError("this cloud carries no automorphisms; give it a Condition(automorphisms=...) first")
        if known.shape[0] != len(cloud) or known.shape[2] != cloud.mask.shape[1]:
            raise ValueError(
                f"automorphisms of shape {tuple(known.shape)} do not fit a cloud of {len(cloud)} molecules of "
                f"{cloud.mask.shape[1]} atoms; their shape is (molecules, group elements, atoms)"
            )
        return known.clamp_min(0), known[..., 0] >= 0


@dataclass(frozen=True)
class Product(Group):
    """Pairs of elements of two groups, at most one of which rotates."""

    first: Group
    second: Group

    def __post_init__(self) -> None:
        if self.first.rotations and self.second.rotations:
            raise ValueError("a product has one group of rotations at most; write O(d) as Rotations(reflections=True)")

    @property
    def rotations(self) -> bool:  # type: ignore[override]
        return self.first.rotations or self.second.rotations

    @property
    def reflections(self) -> bool:  # type: ignore[override]
        return self.first.reflections or self.second.reflections

    def sample(self, cloud: Cloud, noise: Noise) -> Element:
        return self.first.sample(cloud, noise.fork(0)).compose(self.second.sample(cloud, noise.fork(1)))

    def permutations(self, cloud: Cloud) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g"]]:
        (outer, outer_there), (inner, inner_there) = self.first.permutations(cloud), self.second.permutations(cloud)
        b, g, n = outer.shape
        k = inner.shape[1]
        orders = inner[:, None].expand(b, g, k, n).gather(3, outer[:, :, None].expand(b, g, k, n))
        return orders.reshape(b, g * k, n), (outer_there[:, :, None] & inner_there[:, None]).reshape(b, g * k)


def kinds_of_atoms(cloud: Cloud) -> Int[Tensor, "b n"]:
    """A number for each atom, equal within a molecule where features are equal; padding is a kind of its own."""
    rows = torch.cat([cloud.h, cloud.mask], -1)
    same = (rows[:, :, None] == rows[:, None]).all(-1)
    return same.long().argmax(-1)  # the first atom of the same kind


def _like_permutations(kinds: list[int]) -> list[list[int]]:
    found = [list(range(len(kinds)))]
    for kind in sorted(set(kinds)):
        places = [i for i, other in enumerate(kinds) if other == kind]
        orders = list(permutations(places)) if len(places) < 8 else []
        if not orders or len(found) * len(orders) > MOST_ELEMENTS:
            raise ValueError(
                f"the permutations of like atoms here are more than {MOST_ELEMENTS}: too many to list; "
                "average over them with a Metropolis chain"
            )
        found = [_placed(order, places, chosen) for order in found for chosen in orders]
    return found


def _placed(order: list[int], places: list[int], chosen: tuple[int, ...]) -> list[int]:
    changed = list(order)
    for place, atom in zip(places, chosen, strict=True):
        changed[place] = atom
    return changed


def _stacked(lists: list[list[list[int]]], cloud: Cloud) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g"]]:
    most = max(len(each) for each in lists)
    orders = torch.arange(cloud.mask.shape[1]).repeat(len(lists), most, 1)
    there = torch.zeros(len(lists), most, dtype=torch.bool)
    for row, each in enumerate(lists):
        orders[row, : len(each)] = torch.tensor(each)
        there[row, : len(each)] = True
    return orders.to(cloud.x.device), there.to(cloud.x.device)
