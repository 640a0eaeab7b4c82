"""Summaries: what a run's folder says about it, and two of them side by side."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coset.training.folder import CHECKPOINT, METRICS, SETTINGS, is_busy, read_settings
from coset.training.log import read_log


@dataclass(frozen=True)
class Summary:
    """One run. budget: molecules seen, minutes and FLOPs of training, optimiser steps.

    state: "training" (a process holds the folder), "finished", "interrupted" (it can be resumed) or "not begun".
    validation: the last of its log, and the lowest loss of all. metrics: the rates of its samples as fractions.
    """

    folder: str
    recipe: str
    state: str
    settings: dict[str, Any]
    budget: dict[str, float]
    validation: dict[str, float]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    sampling: dict[str, Any]


def summarise(folder: Path) -> Summary:
    """Reads settings.json, log.jsonl and metrics.json of a run. Raises FileNotFoundError, ValueError."""
    if not (folder / SETTINGS).is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {SETTINGS}")
    recipe, settings = read_settings(folder)
    records = read_log(folder / "log.jsonl")
    last = records[-1] if records else {}
    budget = {key: last.get(key, 0) for key in ("molecules", "seconds", "flops", "step")}
    budget = {
        "molecules": budget["molecules"],
        "minutes": budget["seconds"] / 60,
        "flops": budget["flops"],
        "steps": budget["step"],
    }
    measured = _metrics(folder)
    rates = measured.get("report", {}).get("rates", {})
    done = [budget["molecules"] / settings.molecules] if settings.molecules else []
    done += [budget["minutes"] / settings.minutes] if settings.minutes else []
    return Summary(
        folder=str(folder),
        recipe=recipe,
        state=_state(folder, max(done, default=0.0)),
        settings=settings.model_dump(mode="json"),
        budget=budget,
        validation=_validation([record for record in records if record["kind"] == "valid"]),
        metrics={name: rate["value"] for name, rate in rates.items() if rate["value"] is not None},
        intervals={name: (rate["low"], rate["high"]) for name, rate in rates.items() if rate["value"] is not None},
        sampling=measured.get("sampling", {}),
    )


def compare(first: Summary, second: Summary) -> dict[str, dict[str, list[Any]]]:
    """[first, second] of settings that differ and of all of budget, validation, sampling, metrics; None if missing."""
    one, two = asdict(first), asdict(second)
    settings = _beside({"recipe": first.recipe, **first.settings}, {"recipe": second.recipe, **second.settings})
    parts = {part: _beside(one[part], two[part]) for part in ("budget", "validation", "sampling", "metrics")}
    return {"settings": {key: pair for key, pair in settings.items() if pair[0] != pair[1]}, **parts}


def find_runs(folder: Path) -> list[Path]:
    """Folders of runs under a folder, itself included, by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name one that holds runs")
    return sorted(path.parent for path in folder.rglob(SETTINGS))


def _beside(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[Any]]:
    return {key: [first.get(key), second.get(key)] for key in {**first, **second}}


def _validation(records: list[dict[str, Any]]) -> dict[str, float]:
    if not records:
        return {}
    losses = [record["valid_loss"] for record in records if record["valid_loss"] is not None]
    known = ("valid_loss", "atom_stable", "molecule_stable", "valid")
    last = {key: value for key, value in records[-1].items() if key in known or key.startswith("yardstick_")}
    return {**last, "best_valid_loss": min(losses, default=math.nan)}


def _state(folder: Path, progress: float) -> str:
    if is_busy(folder):
        return "training"
    if progress >= 1:
        return "finished"
    return "interrupted" if (folder / CHECKPOINT).exists() else "not begun"


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / METRICS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not whole ({error}); write it again with coset train --resume --evaluate"
        ) from None
