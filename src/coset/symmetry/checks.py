"""Checks of symmetry, for tests of any model: exactly, and in law by Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.noise import Noise
from coset.symmetry.rotations import haar

RandomMap = Callable[[Cloud, Noise], Cloud | Tensor]


def assert_equivariant(
    function: Callable[..., Cloud],
    cloud: Cloud,
    t: Float[Tensor, "b"],
    noise: Noise | None = None,
    atol: float = 1e-5,
    reflections: bool = True,
    trials: int = 4,
) -> None:
    """Raises AssertionError unless function(Q z) = Q function(z) for rotations Q and permutations of the atoms.

    function: a network or a denoiser, called with (cloud, t), and `noise` where given. Rotations are Haar draws
    from SO(3), with reflections every other one times -1; padding is permuted too. Draws made for each atom, such as
    those of `RecursiveFrame`, do not follow a permutation: for them see `equivariance_in_law`.
    """

    def call(z: Cloud) -> Cloud:
        return function(z, t) if noise is None else function(z, t, noise)

    with torch.no_grad():
        plain = call(cloud)
        for trial in range(trials):
            draws = Noise.from_seed(trial, torch.arange(len(cloud), device=cloud.x.device))
            rotation = _pose(haar(draws.fork(0), reflections=False), trial, reflections).to(cloud.x.dtype)
            order = draws.fork(1).uniform(cloud.x.shape[1]).argsort(1)
            _assert_close(call(cloud.rotate(rotation)), plain.rotate(rotation), atol, "rotations")
            _assert_close(call(cloud.permute(order)), plain.permute(order), atol, "permutations of the atoms")


def _pose(rotation: Tensor, trial: int, reflections: bool) -> Tensor:
    """Every other trial is a reflection, -1 times a rotation: left to chance, a few trials might hold none."""
    return -rotation if reflections and trial % 2 == 0 else rotation


def _assert_close(found: Cloud, expected: Cloud, atol: float, group: str) -> None:
    for name in ("x", "h"):
        if not getattr(expected, name).numel():
            continue  # clouds without features
        away = float((getattr(found, name) - getattr(expected, name)).abs().max())
        largest = float(getattr(expected, name).abs().max())
        if not away <= atol:  # NaN fails too
            raise AssertionError(
                f"not equivariant under {group}: {name} differs by {away:.2g} where its largest value is "
                f"{largest:.2g}; allowed is {atol:.2g}"
            )


@dataclass(frozen=True)
class ZScores:
    """Differences of two means in their standard errors: about 1 in root mean square where the law holds."""

    rms: float
    largest: float


@torch.no_grad()
def equivariance_in_law(
    function: RandomMap,
    cloud: Cloud,
    draws: int,
    seed: int = 0,
    reflections: bool = True,
    rotations: int = 4,
    chunk: int = 1024,
) -> ZScores:
    """Compares E F(Q z) with Q E F(z) over many draws of the noise, for several fixed rotations Q.

    function: (cloud, noise) to a cloud, or to matrices (b, 3, 3) whose columns are vectors, such as the poses of a
    frame. cloud: one molecule, best without padding; copies of it, each with its own seed, make batches of `chunk`.
    Equal means are necessary for equality in law, not sufficient: a Haar pose has mean zero whatever is done to it.
    Raises ValueError for more than one molecule.
    """
    if len(cloud) != 1:
        raise ValueError(f"the law is tested at one molecule; got a batch of {len(cloud)}: take one of them")

    def means(z: Cloud, part: int, turned: Tensor) -> tuple[Tensor, Tensor]:
        indices = torch.arange(part * draws, (part + 1) * draws, device=z.x.device).split(chunk)
        outputs = [_flat(function(_copies(z, len(i)), Noise.from_seed(seed, i)), turned) for i in indices]
        values = torch.cat(outputs).double()
        return values.mean(0), values.var(0) / draws

    scores, still = [], torch.eye(3).to(cloud.x)
    drawn = haar(Noise.from_seed(seed, torch.arange(rotations, device=cloud.x.device)), reflections=False)
    for number, turn in enumerate(drawn.to(cloud.x.dtype)):
        rotation = _pose(turn, number, reflections)
        mean, variance = means(cloud.rotate(rotation[None]), 2 * number, still)
        expected, other = means(cloud, 2 * number + 1, rotation)
        # The floor is for values without spread, which can only agree to rounding.
        error = (variance + other).sqrt().clamp_min(1e-6 * float(expected.abs().max()) + 1e-12)
        scores.append((mean - expected) / error)
    z = torch.cat(scores)
    return ZScores(float(z.square().mean().sqrt()), float(z.abs().max()))


def _flat(output: Cloud | Tensor, rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "b k"]:
    """The output turned by one rotation, as a row of numbers a draw."""
    if isinstance(output, Cloud):
        return torch.cat([(output.x @ rotation.mT).flatten(1), output.h.flatten(1)], 1)
    return (rotation.to(output.dtype) @ output).flatten(1)


def _copies(part: Any, times: int) -> Any:
    """A cloud of one molecule, with its condition, as a batch of copies."""
    if isinstance(part, Tensor):
        return part.expand(times, *part.shape[1:])
    if isinstance(part, Cloud | Condition):
        return replace(part, **{name: _copies(value, times) for name, value in vars(part).items()})
    return part
