"""Warm starts: a new run begun with the weights of a trained model, of its own recipe or of a part of it."""

from __future__ import annotations

import torch

from coset.diffusion import Diffusion


@torch.no_grad()
def warm_start(diffusion: Diffusion, trained: Diffusion, source: str) -> int:
    """Copies what the two have in common; returns the number of parameters (numbers, not tensors) copied.

    Names are compared from the network on, whatever wraps it: a plain denoiser's network is found again inside a
    symmetrised one (fine-tuning, SymDiff 5.1). The rest keeps its fresh weights. Raises ValueError where nothing fits.
    """
    known = {_from_network(name): parameter for name, parameter in trained.named_parameters()}
    copied = 0
    for name, parameter in diffusion.named_parameters():
        found = known.get(_from_network(name))
        if found is not None and found.shape == parameter.shape:
            parameter.copy_(found)
            copied += parameter.numel()
    if not copied:
        raise ValueError(
            f"nothing of {source} fits this model: no network of the same kind and size; "
            "give the width, depth and heads that it was trained with, or another init"
        )
    return copied


def _from_network(name: str) -> str:
    """denoiser.denoiser.network.head.weight -> network.head.weight; frames keep their full name."""
    *wrappers, inner = name.split("network.")
    return name if not wrappers or "frame" in name.split(".") else f"network.{inner}"
