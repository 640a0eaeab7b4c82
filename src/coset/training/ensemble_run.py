"""Runs on ensembles: molecules are given, their conformers are what a model learns to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.ensembles.model import ConformerModel, load_conformer_model
from coset.graphs.graph import read_smiles, reflected
from coset.metrics.coverage import coverage
from coset.metrics.rmsd import rmsd_matrix
from coset.model_files import CONFORMERS
from coset.noise import Noise
from coset.recipes.conformer_settings import Ensembled
from coset.recipes.registry import build, find_recipe
from coset.training.card import card_of
from coset.training.ensemble_source import Source
from coset.training.flops import Flops
from coset.training.loop import Rows, Run
from coset.training.pairs import Pairs
from coset.training.state import State
from coset.training.symptoms import turning_symptoms
from coset.training.validation import PREFIX, averaged_losses, held_out

MOST_DRAWN = 20  # conformers of a molecule at validation


@dataclass(frozen=True, kw_only=True)
class EnsembleRun(Run):
    """pairs: what a teacher drew of the molecules, for runs that are trained on that and not on the data's conformers;
    molecules without any are then not among its rows."""

    source: Source
    teacher: ConformerModel | None = None
    pairs: Pairs | None = None

    @property
    def rows(self) -> Rows:
        ensembles, pairs = self.source.ensembles, self.pairs
        train, valid = (rows if pairs is None else rows[pairs.counts[rows] > 0] for rows in map(ensembles.rows, (0, 1)))
        return Rows(train, valid, ensembles.sizes, np.arange(len(ensembles)))

    def cloud(self, rows, step=-1) -> Cloud:
        assert isinstance(self.settings, Ensembled)
        assert self.teacher is None or self.pairs is not None
        averaged = self.settings.target != "plain" and step >= 0
        siblings = self.settings.conformers - 1 if averaged else 0
        noise = Noise.from_seed(self.settings.seed, torch.as_tensor(rows)).at(torch.tensor(step)).fork(7)
        if self.pairs is not None:
            cloud = self.pairs.cloud(self.source, rows, noise)
        else:
            cloud = self.source.cloud(rows, noise, siblings)
        if self.settings.mirrored:
            cloud = reflected(cloud, noise.fork(1).uniform() < 0.5)
        return cloud.to(self.device)

    def build(self) -> Diffusion:
        return build(self.about["recipe"], self.settings, 0).to(self.device)

    def trained(self, source: str) -> Diffusion:
        return load_conformer_model(source, self.device).diffusion

    def export(self, state: State, path: Path, name: str, extra: Mapping[str, Any] | None = None) -> None:
        card = self._card(state, name, extra or {})
        with state.ema.applied(self.log.last["valid"]["ema"]):
            ConformerModel(state.diffusion, card).save(path)

    def _card(self, state: State, name: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        ensembles, rows = self.source.ensembles, self.rows.train
        drawing = dict(find_recipe(self.about["recipe"]).sampling)
        own = {"draws": CONFORMERS} | ({"drawing": drawing} if drawing else {})
        own |= {
            "elements": np.unique(np.concatenate([self.source.graphs[row].numbers for row in rows])).tolist(),
            "largest": int(ensembles.sizes[rows].max()),
        }
        counts = ensembles.counts if self.pairs is None else self.pairs.counts
        data: dict[str, Any] = {"name": self.source.name, "train_molecules": len(rows)}
        data["train_conformers"] = int(counts[rows].sum())
        if self.pairs is not None:
            data |= {"drawn_by": self.about["teacher"], "left_out": dict(self.pairs.left_out)}
        return card_of(self, state, name, own, data, extra)

    def flops(self, diffusion: Diffusion) -> Flops:
        """By molecules of the data near the three sizes."""
        return Flops.of_clouds(diffusion, self._typical())

    def _typical(self) -> list[Cloud]:
        sizes, rows = self.rows.sizes, self.rows.train
        ranked = rows[np.argsort(sizes[rows], kind="stable")]
        chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
        return [self.cloud(np.array([row]), step=-1) for row in chosen]

    def validation(self) -> EnsembleValidation:
        return EnsembleValidation(self)


class EnsembleValidation:
    """Called with a state, gives the loss of each EMA decay, the best decay, how far it is from turning with its
    molecules, and recall and precision of the ensembles of a few held-out molecules."""

    def __init__(self, run: EnsembleRun) -> None:
        self.run, self.batches = run, held_out(run, run.settings.validate_molecules)

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, Any]:
        run = self.run
        found, best = averaged_losses(run, self.batches, state)
        with state.ema.applied(best):
            rows = self.batches[0][:64]
            turning = turning_symptoms(state.diffusion, run.cloud(rows), run.noise(rows, step=-1))
            found |= {PREFIX + name: value for name, value in turning.items()}
            if run.settings.sample_molecules:
                found |= self._drawn(state)
        return found

    def _drawn(self, state: State) -> dict[str, float]:
        s, source = self.run.settings, self.run.source
        rows = self.run.rows.valid[: s.sample_molecules]
        counts = [min(2 * len(source.ensembles[row].positions), MOST_DRAWN) for row in rows]
        model = ConformerModel(state.diffusion, {"name": "validated"}).having(steps=s.sample_steps)
        drawn = model.of_graphs([source.graphs[row] for row in rows], counts, [s.seed] * len(rows))
        matrices = [
            rmsd_matrix(read_smiles(source.ensembles[row].smiles), source.ensembles[row].positions, x).matrix
            if len(x)
            else None
            for row, x in zip(rows, drawn, strict=True)
        ]
        summary = coverage(matrices, (0.1, 0.5)).summary()
        return {name: value for name, value in summary.items() if "mean" in name}
