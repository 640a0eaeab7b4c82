"""Runs on molecules: their types and positions are what a model learns to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from coset.cloud import Cloud, Condition
from coset.conditions.table import Table
from coset.data.catalog import Dataset
from coset.diffusion import Diffusion
from coset.model import Model, load
from coset.molecule import Vocabulary
from coset.recipes.latent_settings import Encoding
from coset.recipes.registry import build, find_recipe
from coset.samplers.sizes import SizeDistribution
from coset.training.card import card_of
from coset.training.flops import Flops
from coset.training.latents import Latents, calibrate
from coset.training.loop import Rows, Run
from coset.training.state import State
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

    def build(self) -> Diffusion:
        return build(self.about["recipe"], self.settings, len(self.vocabulary)).to(self.device)

    def trained(self, source: str) -> Diffusion:
        return load(source, self.device).diffusion

    def export(self, state: State, path: Path, name: str, extra: Mapping[str, Any] | None = None) -> None:
        card = self._card(state, name, extra or {})
        with state.ema.applied(self.log.last["valid"]["ema"]):
            if isinstance(self.settings, Encoding):
                calibrate(state.diffusion.codec, self.dataset, self.cloud, self.settings.scaled)
            sizes = SizeDistribution(self.dataset.size_histogram())
            Model(state.diffusion, self.vocabulary, sizes, card).save(path)

    def _card(self, state: State, name: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        sampling = dict(find_recipe(self.about["recipe"]).sampling)
        told = {name: asdict(found) for name, found in (self.conditions.ranges if self.conditions else {}).items()}
        own = ({"sampling": sampling} if sampling else {}) | ({"properties": told} if told else {})
        own |= {
            "elements": list(self.vocabulary.numbers),
            "sizes": {str(atoms): int(count) for atoms, count in self.dataset.size_histogram().items()},
        }
        data = {"name": self.dataset.name, "train_molecules": len(self.dataset.train)}
        return card_of(self, state, name, own, data, extra)

    def flops(self, diffusion: Diffusion) -> Flops:
        return Flops.measure(diffusion, len(self.vocabulary))

    def validation(self) -> Validation:
        return Validation(self)
