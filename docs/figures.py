"""Draws the figures of the concept pages from computations: `python docs/figures.py [NAME ...]`. A few minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from batch_figures import batches, noise
from chain_figures import convention
from drawing import Figure
from law_figures import law
from learned_figures import learned_noise
from noise_figures import likelihood, processes, recipe
from symmetry_figures import symmetry, symmetry_data, symmetry_model, symmetry_process, symmetry_target

FOLDER = Path(__file__).parent / "figures"

FIGURES: dict[str, Callable[[], Figure]] = {
    each.__name__: each
    for each in (
        convention, processes, symmetry, symmetry_model, symmetry_target, symmetry_process, symmetry_data,
        law, noise, batches, likelihood, recipe, learned_noise,
    )
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny, and threads that wait for each other cost more than they bring
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name]().save(FOLDER / f"{name}.svg")
        print(f"{name}.svg", flush=True)


if __name__ == "__main__":
    main()
