"""Sampling: how molecules are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from coset.samplers.solvers import SOLVERS

MOST_STEPS, MOST_CHURN, MOST_GUIDANCE = 100_000, 100, 100
GRIDS = ("power", "karras", "log_snr")
PAIRS = 2**19  # of atoms in a batch: half a gigabyte for every 256 channels of them


@dataclass(frozen=True)
class Sampling:
    """How molecules are drawn.

    steps: grid steps from noise to data; a molecule takes one network call more, and two a step with "heun". solver:
    "ancestral", "renewed" (for consistency models), or of second order "multistep" (DPM-Solver++ 2M) and "heun". eta: 1
    ancestral, 0 deterministic (DDIM); by default 1 for the ancestral solver and 0 for the others. grid: "power" in
    time, "karras" or "log_snr". grid_power: 1 is the published uniform grid; above it the last steps are shorter, which
    helps where steps are few. churn: noise added before each step (`Churned`), 1 for none. late: noise (Angstrom) below
    which steps are ancestral, whatever they are above it. until: noise (Angstrom) at which the last call is made, the
    end of the chain without it; its estimate is the molecule, which is for few steps and for models whose types are
    estimated. resample: how often each step is made, with noise between (`Resampled`): what is drawn around fixed atoms
    fits them better, at as many times the cost. atoms: size of every molecule; p(N) of the training data without it.
    guidance: how strongly conditions are followed (`Guided`), 1 as in training. final_noise: EDM's noise on the last
    positions. tokens: padded atoms in a batch, by the device without it; pairs: padded pairs of atoms beside it. A
    molecule above either is drawn alone, and no molecule depends on them. compile: steps by `torch.compile`, which
    takes minutes to begin and rounds otherwise; on a GPU as CUDA graphs. grain: above 1, batches are padded to few
    shapes, whose lengths are multiples of it (`batches.shape_of`); without it 4 for CUDA graphs, which are captured
    once a shape, and 1 otherwise.
    """

    steps: int = 100
    solver: str = "ancestral"
    eta: float | None = None
    grid: str = "power"
    grid_power: float = 1.5
    churn: float = 1.0
    late: float | None = None
    until: float | None = None
    resample: int = 1
    guidance: float = 1.0
    atoms: int | None = None
    final_noise: bool = False
    tokens: int | None = None
    pairs: int = PAIRS
    compile: bool = False
    grain: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "atoms", "tokens", "pairs", "grain"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        if self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; choose one of {', '.join(SOLVERS)}")
        if self.grid not in GRIDS:
            raise ValueError(f"unknown grid {self.grid!r}; choose one of {', '.join(GRIDS)}")
        if not 1 <= self.churn <= MOST_CHURN:
            raise ValueError(f"churn must lie between 1 (no noise added) and {MOST_CHURN}; got {self.churn}")
        if self.churn > 1 and self.solver == "multistep":
            raise ValueError("churn makes multistep forget the step before; use the ancestral or heun solver with it")
        if self.late is not None and not 0 < self.late < float("inf"):
            raise ValueError(f"late is a noise level in Angstrom, above 0; got {self.late}")
        if not abs(self.guidance) <= MOST_GUIDANCE:
            raise ValueError(f"guidance must lie between {-MOST_GUIDANCE} and {MOST_GUIDANCE}; got {self.guidance}")
        if self.until is not None and (self.grid == "power" or not self.until > 0):
            raise ValueError(f"until is a noise level in Angstrom, for the karras or log_snr grid; got {self.until}")
        if self.steps > MOST_STEPS:
            raise ValueError(f"steps must be at most {MOST_STEPS:,} (1,000 is what papers use); got {self.steps}")

    @property
    def randomness(self) -> float:
        """eta as given, or the solver's own."""
        return self.eta if self.eta is not None else float(self.solver == "ancestral")
