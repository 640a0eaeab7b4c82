"""Runs on molecules: their types and positions are what a model learns to draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coset.cloud import Cloud, Condition
from coset.conditions.table import Table
from coset.data.catalog import Dataset
from coset.diffusion import Diffusion
from coset.molecule import Vocabulary
from coset.training.flops import Flops
from coset.training.latents import Latents
from coset.training.loop import Rows, Run
from coset.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class MoleculeRun(Run):
    """conditions: what the model is told of the molecules, where the settings name something. latents: of all
    molecules, where a trained codec made them already."""

    dataset: Dataset
    vocabulary: Vocabulary
    conditions: Table | None = None
    latents: Latents | None = None

    @property
    def rows(self) -> Rows:
        store = self.dataset.store
        return Rows(self.dataset.train, self.dataset.valid, store.sizes, store.ids)

    def cloud(self, rows, step=-1) -> Cloud:
        clean = self.vocabulary.cloud(*self.dataset.store.collate(rows))
        if self.conditions is not None:
            clean = replace(clean, condition=Condition(scalars=self.conditions(rows)))
        if self.latents is not None:
            clean = self.latents.join(clean, rows)
        return clean.to(self.device)

    def flops(self, diffusion: Diffusion) -> Flops:
        return Flops.measure(diffusion, len(self.vocabulary))

    def validation(self) -> Validation:
        return Validation(self)
