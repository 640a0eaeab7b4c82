"""Validation: the loss on held-out molecules with fixed noise, yardsticks, symptoms, stability of a few samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray

from coset.autoencoding import Autoencoding
from coset.data.batches import passes
from coset.metrics.evaluate import evaluate
from coset.metrics.protocol import protocol_of
from coset.noise import Noise
from coset.recipes.registry import find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.symmetry.targets import plain
from coset.training.state import State
from coset.training.symptoms import Extent, diagnose, sample_symptoms, turning_symptoms
from coset.training.yardsticks import measure_denoising

if TYPE_CHECKING:
    from coset.training.loop import Run
    from coset.training.molecule_run import MoleculeRun

PREFIX = "symptom_"


class Validation:
    """Called with a state, gives the loss of each EMA decay, the best decay, its yardsticks and its samples' stability,
    symptoms of failure (`training.symptoms`) and, where there are some, sentences about them.

    The loss is that of the plain target, whatever the run trains with, so that runs can be compared: a symmetrised
    target's is lower by what it averages away, and has the same minimiser.
    """

    def __init__(self, run: MoleculeRun) -> None:
        self.run = run
        self.batches = held_out(run, run.settings.validate_molecules)
        self.few = held_out(run, run.settings.yardstick_molecules)

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, Any]:
        found, best = averaged_losses(self.run, self.batches, state)
        with state.ema.applied(best):
            found |= self._lost(state) if isinstance(state.diffusion, Autoencoding) else self._turning(state)
        if self.few:
            with state.ema.applied(best):
                found |= self._yardsticks(state)
        if self.run.settings.sample_molecules:
            with state.ema.applied(best):
                found |= self._samples(state)
        told = diagnose({key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)})
        return found | ({"symptoms": "; ".join(told)} if told else {})

    def _lost(self, state: State) -> dict[str, float]:
        """What an autoencoder loses, by name, as means over molecules."""
        assert isinstance(state.diffusion, Autoencoding)
        totals: dict[str, float] = {}
        for rows in self.batches:
            for name, values in state.diffusion.lost(self.run.cloud(rows), self.run.noise(rows, step=-1)).items():
                totals[f"valid_{name}"] = totals.get(f"valid_{name}", 0.0) + float(values.double().sum())
        return {name: total / sum(map(len, self.batches)) for name, total in totals.items()}

    def _yardsticks(self, state: State) -> dict[str, float]:
        # The same noise in runs of all seeds, so that their differences are those of the models.
        device, cloud = self.run.device, self.run.cloud
        batches = ((cloud(rows), Noise.from_seed(0, torch.as_tensor(rows, device=device))) for rows in self.few)
        found = measure_denoising(state.diffusion, self.run.vocabulary, batches)
        return {f"yardstick_{name}": value for name, value in found.items()}

    def _turning(self, state: State) -> dict[str, float]:
        rows = self.batches[0][:64]
        found = turning_symptoms(state.diffusion, self.run.cloud(rows), self.run.noise(rows, step=-1))
        return {PREFIX + name: value for name, value in found.items()}

    @cached_property
    def _extent(self) -> Extent:
        """Of the held-out molecules."""
        vocabulary, cloud = self.run.vocabulary, self.run.cloud
        return Extent.of([molecule for rows in self.batches for molecule in vocabulary.molecules(cloud(rows))])

    def _samples(self, state: State) -> dict[str, float]:
        s, run = self.run.settings, self.run
        sizes = SizeDistribution(run.dataset.size_histogram())
        sampling = Sampling(**{**find_recipe(run.about["recipe"]).sampling, "steps": s.sample_steps})
        generator = Generator(state.diffusion, run.vocabulary, sizes, sampling)
        try:
            molecules = [m for _, m in generator.draw(s.seed, torch.arange(s.sample_molecules))]
        except FloatingPointError:
            return {"atom_stable": 0.0, "molecule_stable": 0.0, "valid": 0.0, PREFIX + "exploded": 1.0}
        report = evaluate(molecules, None, protocol=protocol_of(run.vocabulary.numbers))
        counts, symptoms = report.counts, sample_symptoms(molecules, generator.redrawn, report, self._extent)
        return {
            **{PREFIX + name: value for name, value in symptoms.items()},
            "atom_stable": counts["stable_atoms"] / counts["atoms"],
            "molecule_stable": counts["stable_molecules"] / counts["molecules"],
            "valid": counts["valid"] / counts["molecules"],
        }


def held_out(run: Run, molecules: int) -> list[Int[NDArray[np.int64], "b"]]:
    """Rows of the first held-out molecules, in batches."""
    rows = run.rows.valid[:molecules]
    return passes(run.rows.sizes[rows], molecules=256, rows=rows) if molecules else []


def averaged_losses(
    run: Run, batches: Sequence[Int[NDArray[np.int64], "b"]], state: State
) -> tuple[dict[str, Any], float]:
    """The loss of each EMA decay towards the plain target, with the best, and the decay that has it."""
    losses = {}
    for decay in state.ema.averages:
        with state.ema.applied(decay):
            losses[decay] = _loss(run, batches, state)
    best = min(losses, key=lambda decay: losses[decay])
    found = {"valid_loss": losses[best], "ema": best}
    return found | {f"valid_loss_{decay}": loss for decay, loss in losses.items()}, best


def _loss(run: Run, batches: Sequence[Int[NDArray[np.int64], "b"]], state: State) -> float:
    diffusion, total = state.diffusion.with_target(plain), torch.zeros((), dtype=torch.float64)
    for rows in batches:
        losses = diffusion(run.cloud(rows), run.noise(rows, step=-1))
        total += losses.double().sum().cpu()
    return float(total) / sum(map(len, batches))
