"""Cost of diffusion in latent space: a training step and a sampling step of RADM's denoisers and of GeoLDM against EDM,
at the published sizes. Prints medians and ratios of one interleaved run. Latents of RADM are computed before, as its
training keeps them; GeoLDM trains its decoder beside the diffusion.

    python benchmarks/latent_diffusion.py [--threads 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics

import torch

from coset.cloud import Cloud
from coset.codecs.autoencoder import with_latent
from coset.diffusion import Diffusion
from coset.recipes.registry import build, find_recipe
from coset.training.latents import latent_codec
from learned_process import MOLECULES, batch, medians, sampling

RECIPES = ("edm", "geoldm", "radm_gnn", "radm_dit_s", "radm_dit_b")
# Seconds of an epoch of QM9 and of 100 molecules in 1,000 steps on an RTX 4090, as printed (RADM, Table 3).
PUBLISHED = {
    "training": {"edm": 107.9, "geoldm": 118.2, "radm_gnn": 79.6, "radm_dit_s": 38.8, "radm_dit_b": 68.9},
    "sampling": {"edm": 55, "geoldm": 49, "radm_gnn": 24, "radm_dit_s": 7, "radm_dit_b": 19},
}


def training(model: Diffusion):
    """Forward and backward, without the optimiser's step."""
    clean, noise = batch()
    clean = clean if model.joint else cached(model, clean)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        model(clean, noise).mean().backward()

    return run


@torch.no_grad()
def cached(model: Diffusion, clean: Cloud) -> Cloud:
    """The clean cloud with its latent, if there is one."""
    parts = latent_codec(model.codec)
    return clean if parts is None else with_latent(clean, parts[1].mean(parts[0].posed(clean)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = {name: build(name, find_recipe(name).resolve({}), types=5).train() for name in RECIPES}
    atoms = batch()[0].x.shape[1]
    print(f"{MOLECULES} molecules of up to {atoms} atoms, {arguments.threads} thread(s), torch {torch.__version__}\n")
    print("| step | recipe | ms, median | lowest - highest | EDM's over it | as printed |\n|---|---|---|---|---|---|")
    for what, prepare in {"training": training, "sampling": sampling}.items():
        found = medians({name: prepare(model) for name, model in models.items()}, arguments.rounds)
        printed, first = PUBLISHED[what], statistics.median(found["edm"])
        for name, seconds in found.items():
            median, spread = statistics.median(seconds), f"{1000 * seconds[0]:.0f} - {1000 * seconds[-1]:.0f}"
            ratio, expected = first / median, printed["edm"] / printed[name]
            print(f"| {what} | {name} | {1000 * median:.0f} | {spread} | {ratio:.2f} | {expected:.1f} |", flush=True)


if __name__ == "__main__":
    main()
