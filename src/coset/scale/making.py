"""What large jobs make: molecules of a trained model by their numbers, conformers of molecules that are given."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from coset.ensembles.jobs import made, windows
from coset.ensembles.methods import method_of
from coset.ensembles.plan import Plan
from coset.ensembles.requests import Request
from coset.ensembles.writing import failure_rows, sd_records
from coset.files import atomic_write, write_sdf
from coset.metrics.flags import flag
from coset.model import Unlikely, UnseenSize, load
from coset.scale.job import Make, Maker


@dataclass(frozen=True)
class Molecules(Maker):
    """Molecules by their numbers: those that `coset sample` with this seed draws. options: of `Model.draw`."""

    model: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    bonds: Literal["distance", "rdkit"] = "distance"
    protocol: str = "qm9"
    suffix = ".sdf.gz"

    def opened(self, device: str) -> Make:
        one_thread(device)
        model = load(self.model, device)

        def make(numbers: Sequence[int], path: Path) -> Mapping[str, Any]:
            with warnings.catch_warnings():
                for told in (UnseenSize, Unlikely):
                    warnings.simplefilter("ignore", told)
                drawn = model.draw(len(numbers), self.seed, first=numbers[0], **self.options)
            write_sdf(path, flag(drawn.molecules, self.protocol), self.bonds)
            return {"molecules": len(drawn.molecules), "redrawn": len(set(drawn.redrawn))}

        return make


@dataclass(frozen=True)
class Conformers(Maker):
    """Conformers of requests by a method of that name, those of `coset conformers`, with the reasons of failures."""

    method: str
    plan: Plan
    model: str | None = None
    steps: int | None = None
    suffix = ".sdf.gz"

    def opened(self, device: str) -> Make:
        one_thread(device)
        method = method_of(self.method, self.model, device, self.steps, self.plan.seconds)
        plan = replace(self.plan, after=replace(self.plan.after, workers=1))

        def make(requests: Sequence[Request], path: Path) -> Mapping[str, Any]:
            conformers, failed, rows = 0, 0, []
            with atomic_write(path, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as stream:
                for window in windows(len(requests), plan.count, method.at_once):
                    for result in made(requests[window.start : window.stop], method, plan):
                        rows += failure_rows(result)
                        conformers, failed = conformers + result.conformers, failed + (result.mol is None)
                        if result.mol is not None:
                            stream.write(sd_records(result.mol).encode())
            return {"molecules": len(requests), "conformers": conformers, "failed": failed, "rows": rows}

        return make


def one_thread(device: str) -> None:
    """Workers take a core each: more threads would change how sums are rounded, and more workers are faster."""
    if device == "cpu":
        torch.set_num_threads(1)
