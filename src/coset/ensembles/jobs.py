"""Jobs: conformers of many molecules, made, checked for stereo, repaired, refined; what fails harms nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from coset.ensembles.candidate import Candidate, Result, sentence
from coset.ensembles.methods import Method, seed_of
from coset.ensembles.plan import Plan
from coset.ensembles.refine import Relaxed, relaxed
from coset.ensembles.requests import Request

ROUNDS = 5  # of drawing anew what had the wrong stereo or was broken
_SPARE = 4  # conformers drawn at least of a molecule that lacks some
_FEWEST, _MOST = 4, 256  # molecules of a window
_TRIAL, _TRIED = 4, 4  # molecules, and conformers of each, that an estimate of time is made of

Progress = Callable[[float], object]


def windows(total: int, count: int, at_once: int, start: int = 0) -> Iterator[range]:
    """Molecules to be made together, by their place in the list, wherever a run starts that was stopped after some.

    count: conformers of each. at_once: of the method. Large enough for molecules of like size to meet, small enough
    for little to be lost by a stop.
    """
    size = min(max(at_once // count, _FEWEST), _MOST)
    for first in range(start, total, size):
        yield range(first, min(first + size, total))


def made(requests: Sequence[Request], method: Method, plan: Plan, progress: Progress | None = None) -> list[Result]:
    """Conformers of each request, in their order. progress: told how many molecules are drawn.

    Conformers that come out with the wrong stereo are repaired (`graphs.stereo`), else drawn anew with the next seed,
    `ROUNDS` times, as those are whose bonds are broken (`graphs.geometry`); what is wrong then is left out, and the
    result says so. Stereo is looked at again after relaxation.
    """
    method = method if plan.core is None else method.around(plan.core)
    jobs = [Candidate(request, method, plan) for request in requests]
    tell = progress or (lambda done: None)
    for attempt in range(1 + ROUNDS):
        for group in _groups([job for job in jobs if job.open], method.at_once):
            _draw(group, method, plan, attempt)
            tell(sum(not job.open for job in jobs))
    left = [job for job in jobs if job.failure is None and job.found]
    conformers = [np.stack(job.found) for job in left]
    if plan.after.relax is None:
        rested = [Relaxed(each, np.full(len(each), np.nan), {}) for each in conformers]
    else:
        mols, after = [job.mol for job in left], plan.after
        rested = relaxed(mols, conformers, plan.after.relax, after.seconds, after.workers)
    of = {id(job): each for job, each in zip(left, rested, strict=True)}
    tell(len(jobs))
    return [job.result(of.get(id(job)), method) for job in jobs]


def estimated(requests: Sequence[Request], method: Method, plan: Plan) -> float:
    """Seconds that a run may take, by a trial of a few molecules and conformers; 0 where none can be made."""
    ranked = sorted(requests, key=lambda request: len(request.text))
    chosen = [ranked[(2 * i + 1) * len(ranked) // (2 * _TRIAL)] for i in range(_TRIAL)]
    small = Plan(min(plan.count, _TRIED), plan.seed, plan.after, plan.core, plan.seconds)
    made(chosen[:1], method, small)  # what is loaded at first
    started = time.monotonic()
    conformers = sum(result.conformers for result in made(chosen, method, small))
    seconds = time.monotonic() - started
    return seconds / (len(chosen) * small.count) * len(requests) * plan.count if conformers else 0.0


def _groups(jobs: Sequence[Candidate], at_once: int) -> Iterator[list[Candidate]]:
    """Molecules of like size, about as many conformers as a method is best asked for."""
    group: list[Candidate] = []
    for job in sorted(jobs, key=lambda job: job.mol.GetNumAtoms()):
        group.append(job)
        if sum(each.missing for each in group) >= at_once:
            yield group
            group = []
    if group:
        yield group


def _draw(jobs: Sequence[Candidate], method: Method, plan: Plan, attempt: int) -> None:
    """One call of the method for what these molecules lack; one molecule after the other where that fails."""
    started = time.monotonic()
    mols = [job.mol for job in jobs]
    # Where some failed others will, so more are drawn than are missing.
    counts = [max(2 * job.missing, _SPARE) if attempt else job.missing for job in jobs]
    seeds = [seed_of(job.mol, plan.seed, attempt) for job in jobs]
    left = max(plan.seconds - job.seconds for job in jobs)
    try:
        found = method.within(left).positions(mols, counts, seeds)
    except (ValueError, RuntimeError, MemoryError) as error:
        if len(jobs) > 1:
            for job in jobs:
                _draw([job], method, plan, attempt)
        else:
            jobs[0].failure, jobs[0].open = f"{method.name} failed: {sentence(error)}", False
        return
    seconds = time.monotonic() - started
    atoms = [count * mol.GetNumAtoms() for count, mol in zip(counts, mols, strict=True)]
    for job, positions, own in zip(jobs, found, atoms, strict=True):
        job.add(positions, seconds * own / sum(atoms))
