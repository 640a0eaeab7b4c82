"""Validation: the loss on held-out molecules with fixed noise, and the stability of a few samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from coset.data.batches import Batches
from coset.metrics.evaluate import evaluate
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.symmetry.targets import plain
from coset.training.state import State

if TYPE_CHECKING:
    from coset.training.loop import Run


class Validation:
    """Called with a state, gives the loss of each EMA decay, the best decay and the stability of its samples.

    The loss is that of the plain target, whatever the run trains with, so that runs can be compared: a symmetrised
    target's is lower by what it averages away, and has the same minimiser.
    """

    def __init__(self, run: Run) -> None:
        rows = run.dataset.valid[: run.settings.validate_molecules]
        sizes = run.dataset.store.sizes[rows]
        self.run, self.batches = run, Batches(sizes, molecules=256, rows=rows).epoch(0)

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, Any]:
        losses = {}
        for decay in state.ema.averages:
            with state.ema.applied(decay):
                losses[decay] = self._loss(state)
        best = min(losses, key=lambda decay: losses[decay])
        found: dict[str, Any] = {"valid_loss": losses[best], "ema": best}
        found |= {f"valid_loss_{decay}": loss for decay, loss in losses.items()}
        if self.run.settings.sample_molecules:
            with state.ema.applied(best):
                found |= self._samples(state)
        return found

    def _loss(self, state: State) -> float:
        diffusion, total = state.diffusion.with_target(plain), torch.zeros((), dtype=torch.float64)
        for rows in self.batches:
            losses = diffusion(self.run.cloud(rows), self.run.noise(rows, step=-1))
            total += losses.double().sum().cpu()
        return float(total) / sum(map(len, self.batches))

    def _samples(self, state: State) -> dict[str, float]:
        s, run = self.run.settings, self.run
        sizes = SizeDistribution(run.dataset.size_histogram())
        sampling = Sampling(steps=s.sample_steps)
        generator = Generator(state.diffusion, run.vocabulary, sizes, sampling)
        try:
            molecules = [m for _, m in generator.draw(s.seed, torch.arange(s.sample_molecules))]
        except FloatingPointError:
            return {"atom_stable": 0.0, "molecule_stable": 0.0, "valid": 0.0}
        counts = evaluate(molecules, reference=None).counts
        return {
            "atom_stable": counts["stable_atoms"] / counts["atoms"],
            "molecule_stable": counts["stable_molecules"] / counts["molecules"],
            "valid": counts["valid"] / counts["molecules"],
        }
