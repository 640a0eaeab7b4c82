"""The one sampler: from the prior down a grid of times by a solver, then out through the codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.diffusion import Diffusion
from coset.noise import Noise
from coset.samplers.solvers import Ancestral, Memory, Solver, Times

Function = Callable[..., Any]


def empty_cloud(sizes: Int[Tensor, "b"], features: int, atoms: int | None = None) -> Cloud:
    """A cloud of zeros with these numbers of atoms, padded to the largest (or to `atoms`)."""
    atoms = int(sizes.max()) if atoms is None else atoms
    mask = (torch.arange(atoms, device=sizes.device) < sizes[:, None]).float()[..., None]
    return Cloud(mask.new_zeros(len(sizes), atoms, 3), mask.new_zeros(len(sizes), atoms, features), mask)


def as_they_are(function: Function) -> Function:
    """Parts of the sampler run as they are written."""
    return function


@torch.no_grad()
def sample(
    diffusion: Diffusion,
    like: Cloud,
    noise: Noise,
    times: Float[Tensor, "k"],
    final_noise: bool = False,
    on_call: Callable[[], None] = lambda: None,
    solver: Solver | None = None,
    through: Callable[[Function], Function] = as_they_are,
) -> Cloud:
    """Clean clouds in natural units, in the shape and with the condition of `like`.

    solver: how a step is made, `Ancestral` by default. Network calls: as many a step as the solver needs, and one at
    the last time whose estimate gives the positions. EDM draws those with the last step's noise (0.003 Angstrom;
    `final_noise`), here their mean is returned by default. on_call: told of every call. through: what the step and the
    last call are run through, such as a compiler. Nothing here waits for the device.
    """
    solver, memory = solver or Ancestral(), None
    step_of, last_of = through(_step), through(_last)
    z = diffusion.process.prior(like).sample(noise.fork(0))
    # Tensors of their own, steps too: a compiler would look at what they are views of, and take numbers for constants.
    levels = [t.repeat(len(z)) for t in times.to(z.x.device)]
    steps = [step.clone() for step in torch.arange(len(times) + 1, device=z.x.device)]
    for step, begin, (t, s) in zip(steps[1:], times.tolist(), pairwise(levels), strict=False):
        now = solver.at(begin)
        z, memory = step_of(now, diffusion, z, t, s, memory, noise.at(step), like.condition)
        for _ in range(now.calls):
            on_call()
    clean = last_of(diffusion, z, levels[-1], noise.at(steps[-1]), final_noise)
    on_call()
    return clean


def _step(
    solver: Solver, diffusion: Diffusion, z: Cloud, t: Times, s: Times, memory: Memory, noise: Noise,
    condition: Condition | None,
) -> tuple[Cloud, Memory]:  # fmt: skip
    """From z at t to s, with the condition for the step after."""
    z, memory = solver.step(diffusion.process, diffusion.denoiser, z, t, s, memory, noise)
    return replace(z, condition=informed(condition, memory)), memory


def _last(diffusion: Diffusion, z: Cloud, t: Times, noise: Noise, final_noise: bool) -> Cloud:
    """The clean cloud at the end of the chain."""
    output = diffusion.codec.output(z, diffusion.denoiser(z, t, noise.fork(1)))
    return output.sample(noise.fork(0)) if final_noise else output.mode()


def informed(condition: Condition | None, memory: Memory) -> Condition | None:
    """The condition with the estimate of the step before, for networks that look at it (self-conditioning).

    The others have no use for it, and need not say so.
    """
    if memory is None:
        return condition
    _, estimate = memory
    return replace(condition or Condition(), previous=replace(estimate, condition=None))
