"""Many molecules: a size and a seed for each, batches of like sizes, non-finite ones drawn again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.diffusion import Diffusion
from coset.molecule import FARTHEST, Molecule, Vocabulary
from coset.noise import Noise
from coset.samplers.batches import by_size
from coset.samplers.fixed import Fixed
from coset.samplers.grids import karras_grid, log_snr_grid, power_grid
from coset.samplers.guidance import guided
from coset.samplers.resampled import Resampled
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.sizes import SizeDistribution
from coset.samplers.solvers import SOLVERS, Churned, Phases, Solver, WithEta, schedule_of

MOST_STEPS, MOST_CHURN, MOST_GUIDANCE = 100_000, 100, 100
GRIDS = ("power", "karras", "log_snr")
PAIRS = 2**19  # of atoms in a batch: half a gigabyte for every 256 channels of them
ATTEMPTS = 10  # a model that gives no finite molecule in ten draws is broken, not unlucky


class Wishes(Protocol):
    """What molecules are asked to be, number i by row i modulo their count: `conditions.asked.Asked`.

    scalars: `Condition.scalars`. sizes: atoms of each, where that is asked.
    """

    @property
    def scalars(self) -> Float[Tensor, "m f"]: ...

    @property
    def sizes(self) -> Int[Tensor, "m"] | None: ...


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
    molecule above either is drawn alone, and no molecule depends on them.
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

    def __post_init__(self) -> None:
        for name in ("steps", "atoms", "tokens", "pairs"):
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


def _grid(diffusion: Diffusion, sampling: Sampling) -> Float[Tensor, "k"]:
    if sampling.grid == "power":
        return power_grid(sampling.steps, sampling.grid_power)
    grid = {"karras": karras_grid, "log_snr": log_snr_grid}[sampling.grid]
    until = None if sampling.until is None else sampling.until / diffusion.codec.unit
    return grid(schedule_of(diffusion.process), sampling.steps, until=until)


def _solver(diffusion: Diffusion, sampling: Sampling) -> Solver:
    solver = _phases(diffusion, sampling)
    return solver if sampling.resample == 1 else Resampled(solver, sampling.resample)


def _phases(diffusion: Diffusion, sampling: Sampling) -> Solver:
    solver = SOLVERS[sampling.solver]
    if sampling.churn > 1:
        solver = Churned(solver, sampling.churn)
    if sampling.late is None:
        return solver
    log_snr = torch.tensor([-2 * math.log(sampling.late / diffusion.codec.unit)], dtype=torch.float64)
    return Phases(solver, WithEta(SOLVERS["ancestral"], 1.0), float(schedule_of(diffusion.process).time(log_snr)))


class Generator:
    """Draws molecules number 0, 1, 2, ... of a seed; molecule i is the same whatever else is drawn with it.

    `redrawn` holds the numbers of molecules that came out non-finite and were drawn again from another seed, once for
    every time; the others of their batch are as they would be without them. progress: told, after every network call,
    how many molecules' worth of work it did. fix: a fragment whose atoms are the first of every molecule and stay
    where they are (`Fixed`). asked: what the molecules are told of (`conditions.asked.Asked`). Raises ValueError for
    one that nothing can be drawn around, and for sizes without room beside it.
    """

    def __init__(
        self,
        diffusion: Diffusion,
        vocabulary: Vocabulary,
        sizes: SizeDistribution,
        sampling: Sampling,
        progress: Callable[[float], None] = lambda molecules: None,
        fix: Molecule | None = None,
        asked: Wishes | None = None,
    ) -> None:
        eta = sampling.randomness
        self.diffusion = diffusion if eta == 1 else diffusion.with_eta(eta)
        if fix is not None and not diffusion.codec.spatial:
            raise ValueError(
                "atoms are kept in place by models that place atoms, and this one draws in a latent space or in an "
                "order of its own; use one of another recipe"
            )
        self._fixed = None if fix is None else Fixed.of(fix, vocabulary, diffusion.codec.width)
        if self._fixed:
            sizes = self._fixed.sizes(sizes, sampling.atoms)
            self.diffusion = self._fixed.anchored(self.diffusion, vocabulary)
        self._solver, self._asked = _solver(self.diffusion, sampling), asked
        if asked is not None:
            process, denoiser = self.diffusion.process, self.diffusion.denoiser
            denoiser, self._solver = guided(process, denoiser, self._solver, sampling.guidance)
            self.diffusion = self.diffusion.having(denoiser=denoiser)
        self.vocabulary, self.sizes, self.sampling = vocabulary, sizes, sampling
        self._progress = progress
        self.redrawn: list[int] = []
        self._times = _grid(diffusion, sampling)
        self._device = next(diffusion.parameters()).device
        # On a CPU the tensors of a batch should stay in its caches (256 atoms: three times as fast as 4,096).
        self._tokens = sampling.tokens or (16_384 if self._device.type == "cuda" else 256)

    def draw(self, seed: int, numbers: Int[Tensor, "m"]) -> Iterator[tuple[int, Molecule]]:
        """The molecules with these numbers, as (number, molecule), batch by batch from the smallest size up."""
        for attempt in range(ATTEMPTS):
            failed = [numbers[:0]]
            for batch in self._batches(seed, numbers):
                finite, molecules = self._molecules(seed, batch, attempt)
                failed.append(batch[~finite])
                yield from zip(batch[finite].tolist(), molecules, strict=True)
            numbers = torch.cat(failed)
            self.redrawn += numbers.tolist()
            if not len(numbers):
                return
        raise FloatingPointError(
            f"molecules {some_of(sorted(numbers.tolist()))} came out with undefined positions in each of {ATTEMPTS} "
            "draws: the weights are damaged, the model was never trained, or its sampler needs more steps; try those, "
            "train it longer or load other weights"
        )

    def _noise(self, seed: int, numbers: Tensor, attempt: int) -> Noise:
        noise = Noise.from_seed(seed, numbers.to(self._device))
        return Noise.from_seed(attempt, noise.seeds) if attempt else noise

    def _sizes(self, seed: int, numbers: Tensor) -> Int[Tensor, "m"]:
        if self.sampling.atoms is not None:
            return torch.full_like(numbers, self.sampling.atoms)
        if self._asked is not None and self._asked.sizes is not None:
            return self._asked.sizes[numbers % len(self._asked.sizes)]
        return self.sizes.sample(self._noise(seed, numbers, 0).fork(0)).cpu()

    def _batches(self, seed: int, numbers: Tensor) -> Iterator[Int[Tensor, "b"]]:
        """Numbers grouped by size under both budgets."""
        sizes = self._sizes(seed, numbers)
        return (numbers[places] for places in by_size(sizes, self._tokens, self.sampling.pairs))

    def _molecules(self, seed: int, batch: Tensor, attempt: int) -> tuple[Tensor, list[Molecule]]:
        """Which of the batch came out finite, and those as molecules."""
        like = empty_cloud(self._sizes(seed, batch).to(self._device), self.diffusion.codec.width)
        if self._asked is not None:
            scalars = self._asked.scalars[batch % len(self._asked.scalars)].to(self._device)
            like = replace(like, condition=Condition(scalars=scalars))
        noise = self._noise(seed, batch, attempt).fork(1)
        share = len(batch) / (self.sampling.steps * self._solver.calls + 1)
        options = self.sampling.final_noise, lambda: self._progress(share), self._solver
        # Casts nothing itself; but torch keeps casts of weights up to the end of the outermost such context, so that a
        # bf16 trunk's are made once for all steps.
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=False):
            cloud = sample(self.diffusion, like, noise, self._times, *options)
        within = cloud.x.abs() <= FARTHEST  # false for NaN too
        finite = within.all(-1).all(-1) & cloud.h.isfinite().all(-1).all(-1)
        kept = Cloud(cloud.x[finite], cloud.h[finite], cloud.mask[finite])
        finite = finite.cpu()
        about = {"seed": seed}
        if self._fixed:
            kept, about = self._fixed.restored(kept), about | {"fixed": len(self._fixed.fragment)}
        properties = [{**about, "number": number} for number in batch[finite].tolist()]
        return finite, self.vocabulary.molecules(kept, properties) if properties else []


def some_of(numbers: Sequence[int], most: int = 8) -> str:
    """The first few of the numbers, in words."""
    named = ", ".join(map(str, numbers[:most]))
    return named if len(numbers) <= most else f"{named} and {len(numbers) - most} more"
