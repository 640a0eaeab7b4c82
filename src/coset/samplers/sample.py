"""The one sampler: from the prior down a grid of times through `Process.reverse`, then out through the codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.noise import Noise


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
) -> Cloud:
    """Clean clouds in natural units, in the shape and with the condition of `like`.

    len(times) network calls: one a step, and one at the last time whose estimate gives the positions. EDM draws
    those with the last step's noise (0.003 Angstrom; `final_noise`), here their mean is returned by default.
    """
    process, denoiser = diffusion.process, diffusion.denoiser
    z = process.prior(like).sample(noise.fork(0))
    levels = times.to(z.x.device)[:, None].expand(-1, len(z)).contiguous()
    for step, (t, s) in enumerate(pairwise(levels), start=1):
        draw = noise.at(step)
        estimate = denoiser(z, t, draw.fork(1))
        z = process.reverse(z, t, s, estimate).sample(draw.fork(0))
        z = replace(z, condition=like.condition)
        on_call()
    last = noise.at(len(times))
    output = diffusion.codec.output(z, denoiser(z, levels[-1], last.fork(1)))
    on_call()
    return output.sample(last.fork(0)) if final_noise else output.mode()
