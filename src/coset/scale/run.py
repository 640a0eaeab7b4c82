"""Running a job: what is not done yet, by processes of this machine or by a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from coset.scale.job import Job
from coset.scale.on_ray import run_ray
from coset.scale.processes import run_processes


@dataclass(frozen=True)
class Workforce:
    """Who makes the files. workers: processes, one a GPU or a core without. only: the number of one file, where other
    machines make the others. ray: actors of Ray in the place of processes."""

    workers: int | None = None
    only: int | None = None
    ray: bool = False

    def devices(self, device: str) -> list[str]:
        """Of each process: GPUs in turn where the device is "cuda", else all the same."""
        if device == "cuda":
            import torch

            there = torch.cuda.device_count()
            return [f"cuda:{number % there}" for number in range(self.workers or there)]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return [device] * (self.workers or (1 if device.startswith("cuda") else cores))


def run(job: Job, force: Workforce, device: str, progress: Callable[[int], object] = lambda done: None) -> bool:
    """Makes the files that are not there; whether all of the job are there then. progress: told how many files are.

    Raises ValueError for the number of a file that the job does not have, and what its workers raise.
    """
    if force.only is not None and not 0 <= force.only < job.shards.count:
        raise ValueError(f"the files are numbered 0 to {job.shards.count - 1}; got --shard {force.only}")
    missing = job.begin()
    chosen = [number for number in missing if force.only in (None, number)]
    done = job.shards.count - len(missing)
    progress(done)
    if chosen:
        devices = force.devices(device)
        made = run_ray(job, chosen, len(devices), device) if force.ray else run_processes(job, chosen, devices)
        for more, _ in enumerate(made, start=1):
            progress(done + more)
    whole = all(map(job.shards.done, range(job.shards.count)))
    if whole:
        job.tidy()
    return whole
