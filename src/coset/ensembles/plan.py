"""Plan: what is asked of all molecules of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coset.ensembles.core import Core
from coset.ensembles.methods import SECONDS
from coset.ensembles.refine import AfterWork


@dataclass(frozen=True)
class Plan:
    """count: conformers a molecule. seed: of the run. seconds: for a molecule's drawing. told: properties of all."""

    count: int = 10
    seed: int = 0
    after: AfterWork = field(default_factory=AfterWork)
    core: Core | None = None
    seconds: float = SECONDS
    told: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"At least one conformer must be asked for, got {self.count}.")
        if not self.seconds > 0:
            raise ValueError(f"The time limit must be above 0 s, got {self.seconds:g}.")
