"""The one sampler: from the prior down a grid of times by a solver, then out through the codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.diffusion import Diffusion
from coset.noise import Noise
from coset.samplers.solvers import Ancestral, Memory, Solver


def empty_cloud(sizes: Int[Tensor, "b"], features: int, atoms: int | None = None) -> Cloud:
    """A cloud of zeros with these numbers of atoms, padded to the largest (or to `atoms`)."""
    atoms = int(sizes.max()) if atoms is None else atoms
    mask = (torch.arange(atoms, device=sizes.device) < sizes[:, None]).float()[..., None]
    return Cloud(mask.new_zeros(len(sizes), atoms, 3), mask.new_zeros(len(sizes), atoms, features), mask)


@torch.no_grad()
def sample(
    diffusion: Diffusion,
    like: Cloud,
    noise: Noise,
    times: Float[Tensor, "k"],
    final_noise: bool = False,
    on_call: Callable[[], None] = lambda: None,
    solver: Solver | None = None,
) -> Cloud:
    """Clean clouds in natural units, in the shape and with the condition of `like`.

    solver: how a step is made, `Ancestral` by default. Network calls: as many a step as the solver needs, and one at
    the last time whose estimate gives the positions. EDM draws those with the last step's noise (0.003 Angstrom;
    `final_noise`), here their mean is returned by default.
    """
    process, denoiser, solver, memory = diffusion.process, diffusion.denoiser, solver or Ancestral(), None

    def denoise(z: Cloud, t: Tensor, draw: Noise) -> Cloud:
        on_call()
        return denoiser(z, t, draw)

    z = process.prior(like).sample(noise.fork(0))
    levels = times.to(z.x.device)[:, None].expand(-1, len(z)).contiguous()
    for step, (t, s) in enumerate(pairwise(levels), start=1):
        z, memory = solver.at(float(times[step - 1])).step(process, denoise, z, t, s, memory, noise.at(step))
        z = replace(z, condition=informed(like.condition, memory))
    last = noise.at(len(times))
    output = diffusion.codec.output(z, denoise(z, levels[-1], last.fork(1)))
    return output.sample(last.fork(0)) if final_noise else output.mode()


def informed(condition: Condition | None, memory: Memory) -> Condition | None:
    """The condition with the estimate of the step before, for networks that look at it (self-conditioning).

    The others have no use for it, and need not say so.
    """
    if memory is None:
        return condition
    _, estimate = memory
    return replace(condition or Condition(), previous=replace(estimate, condition=None))
