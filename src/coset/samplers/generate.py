"""Many molecules: a size and a seed for each, batches of like sizes, non-finite ones drawn again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud, Condition
from coset.diffusion import Diffusion
from coset.molecule import FARTHEST, Molecule, Vocabulary
from coset.noise import Noise
from coset.samplers.batches import by_size, rounded, shape_of
from coset.samplers.compiled import GRAIN, compiled
from coset.samplers.fixed import Fixed
from coset.samplers.grids import karras_grid, log_snr_grid, power_grid
from coset.samplers.guidance import guided
from coset.samplers.resampled import Resampled
from coset.samplers.sample import as_they_are, empty_cloud, sample
from coset.samplers.sampling import Sampling
from coset.samplers.sizes import SizeDistribution
from coset.samplers.solvers import SOLVERS, Churned, Phases, Solver, WithEta, schedule_of

ATTEMPTS = 10  # a model that gives no finite molecule in ten draws is broken, not unlucky


class Wishes(Protocol):
    """What molecules are asked to be, number i by row i modulo their count: `conditions.asked.Asked`.

    scalars: `Condition.scalars`. sizes: atoms of each, where that is asked.
    """

    @property
    def scalars(self) -> Float[Tensor, "m f"]: ...

    @property
    def sizes(self) -> Int[Tensor, "m"] | None: ...


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
        graphs = sampling.compile and self._device.type == "cuda"
        self._grain = sampling.grain or (GRAIN if graphs else 1)
        self._through = compiled(graphs) if sampling.compile else as_they_are

    def draw(self, seed: int, numbers: Int[Tensor, "m"]) -> Iterator[tuple[int, Molecule]]:
        """The molecules with these numbers, as (number, molecule), batch by batch from the smallest size up."""
        for attempt in range(ATTEMPTS):
            failed = [numbers[:0]]
            for batch, sizes in self._batches(seed, numbers):
                finite, molecules = self._molecules(seed, batch, sizes, attempt)
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

    def _batches(self, seed: int, numbers: Tensor) -> Iterator[tuple[Int[Tensor, "b"], Int[Tensor, "b"]]]:
        """Numbers grouped by size under both budgets, with their sizes."""
        sizes = self._sizes(seed, numbers)
        for places in by_size(rounded(sizes, self._grain), self._tokens, self.sampling.pairs):
            yield numbers[places], sizes[places]

    def _like(self, batch: Tensor, sizes: Tensor) -> tuple[Tensor, Cloud]:
        """The batch and its empty cloud in the shape to draw in, which copies of its last molecule fill."""
        room, atoms = shape_of(len(batch), int(sizes.max()), self._tokens, self.sampling.pairs, self._grain)
        rows = torch.arange(room).clamp_max(len(batch) - 1)
        numbers = batch[rows]
        like = empty_cloud(sizes[rows], self.diffusion.codec.width, atoms)
        if self._asked is not None:
            scalars = self._asked.scalars[numbers % len(self._asked.scalars)]
            like = replace(like, condition=Condition(scalars=scalars))
        return numbers, like.to(self._device)

    def _molecules(self, seed: int, batch: Tensor, sizes: Tensor, attempt: int) -> tuple[Tensor, list[Molecule]]:
        """Which of the batch came out finite, and those as molecules."""
        numbers, like = self._like(batch, sizes)
        noise = self._noise(seed, numbers, attempt).fork(1)
        share = len(batch) / (self.sampling.steps * self._solver.calls + 1)
        options = self.sampling.final_noise, lambda: self._progress(share), self._solver, self._through
        # Casts nothing itself; but torch keeps casts of weights up to the end of the outermost such context, so that a
        # bf16 trunk's are made once for all steps.
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=False):
            cloud = sample(self.diffusion, like, noise, self._times, *options)
        real = slice(len(batch))
        found = Cloud(cloud.x[real], cloud.h[real], cloud.mask[real]).to("cpu")  # the one wait for the device
        within = found.x.abs() <= FARTHEST  # false for NaN too
        finite = within.all(-1).all(-1) & found.h.isfinite().all(-1).all(-1)
        kept = Cloud(found.x[finite], found.h[finite], found.mask[finite])
        about = {"seed": seed}
        if self._fixed:
            kept, about = self._fixed.restored(kept), about | {"fixed": len(self._fixed.fragment)}
        properties = [{**about, "number": number} for number in batch[finite].tolist()]
        return finite, self.vocabulary.molecules(kept, properties) if properties else []


def some_of(numbers: Sequence[int], most: int = 8) -> str:
    """The first few of the numbers, in words."""
    named = ", ".join(map(str, numbers[:most]))
    return named if len(numbers) <= most else f"{named} and {len(numbers) - most} more"
