"""The figure of the convention: one chain of sampling, what the model sees and what it makes of it."""

from __future__ import annotations

import numpy as np
import torch
from drawing import Figure

import coset
from coset.bonds import bond_orders
from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser
from coset.metrics.stability import stable_molecules
from coset.molecule import QM9, Molecule
from coset.noise import Noise
from coset.samplers.generate import Generator


def convention() -> Figure:
    """One chain of the packaged model: what it sees, and what it makes of it."""
    model = coset.load("qm9")
    number = next(i for i, m in enumerate(model.sample(24, seed=0)) if stable_molecules(*_bonded(m))[0])
    watched = _Watched(model.diffusion)
    parts = Diffusion(model.diffusion.codec, model.diffusion.process, watched, model.diffusion.objective)
    list(Generator(parts, model.vocabulary, model.sizes, model.sampling()).draw(0, torch.tensor([number])))
    shown = [min(watched.seen, key=lambda each: abs(np.log(each[0] / level))) for level in (5, 1, 0.5, 0.25, 1e-4)]
    chain = [(sigma, _molecule(parts, z), _molecule(parts, estimate)) for sigma, z, estimate in shown]
    turn = np.linalg.svd(chain[-1][2].positions)[2].T  # the final molecule's widest side, towards the reader
    figure = Figure(
        680, 330, "A sampling chain", "Noisy molecules turn into a clean one; the estimate is always clean."
    )
    for column, (sigma, noisy, clean) in enumerate(chain):
        x = 126 + 124 * column
        figure.text(x, 24, f"σ = {sigma:.2g} Å" if sigma >= 0.01 else "no noise", "mid soft")
        shrunk = 1 / np.hypot(1, sigma / 1.4)
        for row, (each, scale) in enumerate(((noisy, shrunk), (clean, 1.0))):
            figure.molecule((x, 98 + 128 * row), each.numbers, each.positions @ turn, 15.0 * scale, size=1 / scale)
    figure.text(4, 102, "zₜ", "strong")
    figure.text(4, 230, "D(zₜ, t)", "strong")
    figure.arrow("M70 302H670")
    figure.text(70, 322, "noise", "soft")
    figure.text(670, 322, "data", "soft end")
    print(f"molecule {number} of seed 0")
    return figure


def _molecule(parts: Diffusion, cloud: Cloud) -> Molecule:
    return QM9.molecules(parts.codec.output(cloud, cloud).mode())[0]


def _bonded(molecule: Molecule) -> tuple[np.ndarray, np.ndarray]:
    numbers = molecule.numbers[None]
    return numbers, bond_orders(numbers, molecule.positions[None])


class _Watched(Denoiser):
    """Another denoiser, and what it saw and said: noise in Angstrom, noisy cloud, estimate."""

    def __init__(self, parts: Diffusion) -> None:
        super().__init__()
        self.denoiser, self.schedule = parts.denoiser, parts.process.schedule
        self.seen: list[tuple[float, Cloud, Cloud]] = []

    def forward(self, z: Cloud, t: torch.Tensor, noise: Noise | None = None) -> Cloud:
        estimate = self.denoiser(z, t, noise)
        alpha, sigma = self.schedule(t[:1])
        self.seen.append((float(sigma / alpha), z.scale(float(1 / alpha)), estimate))
        return estimate
