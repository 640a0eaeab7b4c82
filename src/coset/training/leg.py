"""Legs: a long training in pieces, each from the last one's weights, on whatever machine there is.

The queue is a Markdown file; each `## NAME` is a run, the top one is trained unless another is named. Lines
`- key: value` under it hold the recipe, its settings, the paths of the weights and what they have reached:

    ## qm9
    - recipe: edm
    - settings: size=small width=96
    - weights: src/coset/weights/qm9.safetensors
    - raw: training/qm9.raw.safetensors
    - molecules seen: 0
    - metrics: none yet
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from coset.files import atomic_write
from coset.model_files import read_card
from coset.recipes.registry import find_recipe
from coset.recipes.settings import Training, parse_settings
from coset.training.checkpoint import load_tensors, save_tensors
from coset.training.ema import EMA
from coset.training.ensemble_runs import with_pairs
from coset.training.folder import MODEL, alone
from coset.training.log import Listener
from coset.training.loop import Run, train
from coset.training.start import begin, evaluate, open_run
from coset.training.state import State, load_parameters
from coset.training.warm_start import warm_start

RAW = "raw.safetensors"
WARMUP = 500  # the optimiser starts afresh in every leg


@dataclass(frozen=True)
class Entry:
    """A run of the queue. weights: EMA, fp16, beside it the card; raw: bf16. Paths start at the queue's project."""

    name: str
    recipe: str
    settings: dict[str, Any]
    weights: Path
    raw: Path

    @property
    def card(self) -> dict[str, Any] | None:
        """The card of the last leg; None before the first."""
        path = self.weights.with_suffix(".json")
        return json.loads(path.read_text()) if path.is_file() else None


def read_entry(queue: Path, name: str | None = None) -> Entry:
    """The entry of that name, the top one without. Raises ValueError naming what it lacks, or the runs there are."""
    if not queue.is_file():
        raise FileNotFoundError(f"no training queue at {queue}; run from the project's folder or give --queue")
    entries = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", queue.read_text(), re.MULTILINE | re.DOTALL))
    if not entries:
        raise ValueError(f"{queue} holds no run; expected a heading `## NAME` with `- key: value` lines under it")
    chosen: str = name or next(iter(entries))
    if chosen not in entries:
        raise ValueError(f"{queue} holds no run {chosen}; its runs: {', '.join(entries)}")
    values = dict(re.findall(r"^- ([a-z ]+): (.*)$", entries[chosen], re.MULTILINE))
    missing = [key for key in ("recipe", "settings", "weights", "raw") if key not in values]
    if missing:
        raise ValueError(f"{queue}: the run {chosen} lacks {', '.join(missing)}; write `- {missing[0]}: ...`")
    root = queue.resolve().parent.parent
    settings = parse_settings(values["settings"].split())
    return Entry(chosen, values["recipe"], settings, root / values["weights"], root / values["raw"])


@dataclass(frozen=True)
class Leg:
    """One leg of an entry, with its resolved settings."""

    queue: Path
    entry: Entry
    settings: Training

    @classmethod
    def plan(cls, queue: Path, minutes: float, overrides: dict[str, Any], name: str | None = None) -> Leg:
        """Settings of an entry with this leg's minutes, a warm-up, and a seed of its own (other noise and order).

        minutes: of the whole leg, which the learning rate follows. name: the entry's, the top one without.
        """
        entry = read_entry(queue, name)
        seed = len((entry.card or {}).get("legs", []))
        own = {"minutes": minutes, "molecules": None, "warmup": WARMUP, "seed": seed}
        settings = find_recipe(entry.recipe).resolve({**entry.settings, **own, **overrides})
        return cls(queue, entry, settings)

    def train(
        self, folder: Path, device: str, listener: Listener | None, molecules: int, pause: float = float("inf")
    ) -> dict[str, Any]:
        """Trains, exports both kinds of weights into the folder, measures the model; returns its card.

        molecules: drawn to measure it, or test molecules whose conformers are. pause: minutes after which to stop for
        now; another call goes on. Raises ValueError for a leg at its end.
        """
        run = replace(open_run(self.entry.recipe, self.settings, folder, device, listener), pause=pause)
        with alone(folder):
            state = self._state(run, folder)
            run = with_pairs(run, folder)
            train(run, state)
            raw = {name: p.detach().to(torch.bfloat16).cpu() for name, p in state.diffusion.named_parameters()}
            save_tensors(folder / RAW, raw, {"name": self.entry.name})
            run.export(state, folder / MODEL, self.entry.name, summed(self.entry.card, run, state))
        evaluate(run, folder, molecules)
        return read_card((folder / MODEL).with_suffix(".json"))

    def install(self, folder: Path) -> None:
        """Copies weights and card to where the queue says, and writes what they reached into the queue."""
        for source, target in (
            (folder / MODEL, self.entry.weights),
            ((folder / MODEL).with_suffix(".json"), self.entry.weights.with_suffix(".json")),
            (folder / RAW, self.entry.raw),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target, "wb") as file, source.open("rb") as data:
                shutil.copyfileobj(data, file)
        card = self.entry.card
        assert card is not None
        write_progress(self.queue, self.entry.name, card)

    def _state(self, run: Run, folder: Path) -> State:
        """Where this leg stands: at its checkpoint in the folder, or at the last leg's weights."""
        diffusion = run.build()
        if self.settings.init and not self.entry.raw.is_file():
            warm_start(diffusion, run.trained(self.settings.init), self.settings.init)
        state = State.start(diffusion, self.settings)
        self._start(state)
        begin(run, state, folder, but=("minutes", "seed"))
        if state.counters.step and run.progress(state) >= 1:
            raise ValueError(f"the leg in {folder} is at its end; install it, or choose another --out")
        return state

    def _start(self, state: State) -> None:
        """Raw weights from the last leg, and its average as the start of every average."""
        if not self.entry.raw.is_file():
            return
        if self.entry.weights.is_file():
            averaged, _ = load_tensors(self.entry.weights)
            load_parameters(state.diffusion, averaged, self.entry.weights)
            state.ema = EMA(state.diffusion, self.settings.ema, fresh=False)
        raw, _ = load_tensors(self.entry.raw)
        load_parameters(state.diffusion, raw, self.entry.raw)


def summed(card: dict[str, Any] | None, run: Run, state: State) -> dict[str, Any]:
    """What a card tells of all legs: those of the last one's card, if there is one, and this."""
    before = card or {"molecules_seen": 0, "minutes": 0.0, "flops": 0.0}
    this = state.counters
    leg = {
        "molecules": this.molecules,
        "minutes": round(this.seconds / 60, 1),
        "valid_loss": run.log.last["valid"]["valid_loss"],
    }
    return {
        "molecules_seen": before["molecules_seen"] + this.molecules,
        "minutes": round(before["minutes"] + this.seconds / 60, 1),
        # Unknown where an earlier leg did not count them.
        "flops": None if before.get("flops") is None else before["flops"] + this.flops,
        "legs": [*before.get("legs", []), leg],
        **{key: before[key] for key in ("sampling", "drawing") if key in before},
    }


def write_progress(queue: Path, name: str, card: dict[str, Any]) -> None:
    """Updates `molecules seen` and `metrics` of the entry of that name."""
    before, heading, text = queue.read_text().partition(f"## {name}\n")
    for line in (f"- molecules seen: {card['molecules_seen']:,}", f"- metrics: {in_words(card['metrics'])}"):
        key = line.partition(":")[0]
        text = re.sub(rf"^{key}: .*$", lambda _, line=line: line, text, count=1, flags=re.MULTILINE)
    with atomic_write(queue) as file:
        file.write(before + heading + text)


def in_words(metrics: dict[str, Any]) -> str:
    """A card's measured rates, or the coverage of its conformers, on one line."""
    budget = f"{metrics['molecules']} molecules, {metrics['steps']} steps"
    if "coverage" not in metrics:
        rates = (f"{name.replace('_', ' ')} {100 * value:.1f}" for name, value in metrics["rates"].items())
        return f"{', '.join(rates)} (%, {budget})"
    found = metrics["coverage"]
    shares = (
        "/".join(f"{100 * found[f'cov_{side}_mean_{within}']:.1f}" for side in ("recall", "precision"))
        + f" within {within} Å"
        for within in ("0.5", "0.1")
    )
    return f"COV-R/P {', '.join(shares)} (%, {budget})"
