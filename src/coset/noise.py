"""Noise: counter-based random numbers, so that a molecule's draws depend on its own seed and the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

# Two's complement of the odd constants of splitmix64 (Steele, Lea & Flood, OOPSLA 2014).
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def mix(bits: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """splitmix64's finaliser: a bijection of 64-bit integers that scatters neighbouring ones."""
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    return bits ^ _shift(bits, 31)


@dataclass(frozen=True)
class Company:
    """The batch that some molecules were taken from. seeds, atoms: of all of it. rows: which of them were taken."""

    seeds: Int[Tensor, "m"]
    atoms: Int[Tensor, "m"]
    rows: Int[Tensor, "b"]


@dataclass(frozen=True)
class Noise:
    """Random numbers for b molecules, a pure function of (seed, step, stream, position).

    They do not depend on the batch, the padding, the worker or the device, they need no state to resume, and
    they compile. `at` moves to another step of a chain, `fork` to an independent stream of the same step.
    `uniform` and `normal` of one stream share their bits: fork before drawing twice. company: where these molecules
    are a part of a batch, for what is drawn or measured of the batch as a whole (`batch`, `own`).
    """

    seeds: Int[Tensor, "b"]
    step: int | Int[Tensor, ""] = 0
    stream: int = 0
    company: Company | None = None

    @classmethod
    def from_seed(cls, seed: int, index: Int[Tensor, "b"]) -> Noise:
        """Noise of molecules number `index` of a run with one seed."""
        return cls(mix(mix(torch.zeros_like(index) + (seed + 1)) + index))

    def at(self, step: int | Int[Tensor, ""]) -> Noise:
        return replace(self, step=step)

    def fork(self, stream: int) -> Noise:
        """An independent stream; forks of forks differ as long as each fork is below 16."""
        return replace(self, stream=16 * self.stream + stream + 1)

    def number(self, index: int) -> Noise:
        """The index-th of any number of independent noises, of the same step and stream."""
        company = self.company and replace(self.company, seeds=mix(mix(self.company.seeds) + index))
        return replace(self, seeds=mix(mix(self.seeds) + index), company=company)

    def take(self, rows: Int[Tensor, "k"], atoms: Int[Tensor, "b"]) -> Noise:
        """Noise of some of the molecules, whose company are all of these. atoms: of all."""
        return replace(self, seeds=self.seeds[rows], company=Company(self.seeds, atoms, rows))

    @property
    def batch(self) -> Noise:
        """That of the whole batch; itself where nothing was taken from it."""
        return self if self.company is None else replace(self, seeds=self.company.seeds, company=None)

    def own(self, values: Shaped[Tensor, "m *s"]) -> Shaped[Tensor, "b *s"]:
        """Of values of the whole batch those of these molecules."""
        return values if self.company is None else values[self.company.rows]

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b *shape"]:
        """Uniform on [0, 1). The numbers at position (i, j, ...) do not depend on shape[0]."""
        # Rounding to fewer digits would turn the largest numbers into 1.
        return self._uniform(shape, lane=0).clamp(max=1 - torch.finfo(dtype).eps / 2).to(dtype)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b *shape"]:
        """Standard normal (Box & Muller 1958). The numbers at position (i, j, ...) do not depend on shape[0]."""
        radius = (-2 * torch.log1p(-self._uniform(shape, lane=0))).sqrt()
        return (radius * torch.cos(2 * math.pi * self._uniform(shape, lane=1))).to(dtype)

    def _uniform(self, shape: tuple[int, ...], lane: int) -> Float[Tensor, "b *shape"]:
        # Hash after hash and no product of counters: those overflow Python's integers and the compiler's indices.
        key = mix(mix(mix(self.seeds) + self.step) + (2 * self.stream + lane))
        index = mix(torch.arange(1, math.prod(shape) + 1, device=key.device)).view(shape)
        bits = mix(key.view(-1, *[1] * len(shape)) + index)
        return _shift(bits, 11).double() * 2.0**-53
