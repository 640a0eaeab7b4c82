"""How the time of a job falls from one worker to two: sampling and conformers in files, training under torchrun.

Run: OMP_NUM_THREADS=1 python benchmarks/scale.py [--rounds 3]
Wall times are those of this machine as it is, busy or not; CPU times tell what the workers themselves needed.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coset.ensembles.plan import Plan
from coset.ensembles.requests import of_smiles
from coset.scale.job import Items, Job, Make, Maker, Shards
from coset.scale.making import Conformers, Molecules
from coset.scale.run import Workforce, run
from coset.training.log import read_log

SMILES = ("CC(=O)Nc1ccc(O)cc1", "CCOC(=O)c1ccccc1", "C[C@H](N)C(=O)O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "c1ccc2[nH]ccc2c1")
FILES = 16
TRAINING = (
    "size=small data=qm9-sample batch=64 sample_molecules=0 validate_molecules=8 molecules=2560 checkpoint_minutes=60"
)


@dataclass(frozen=True)
class Timed(Maker):
    """Another maker, with the CPU time of each file."""

    maker: Maker
    suffix = ".sdf.gz"

    def opened(self, device: str) -> Make:
        make = self.maker.opened(device)

        def timed(items: Items, path: Path):
            begun = time.process_time()
            told = make(items, path)
            return {**told, "cpu": time.process_time() - begun}

        return timed


def in_files(maker: Maker, items: Items, workers: int) -> dict[str, float]:
    """Wall seconds from the first file's begin to the last one's end, and before, which imports need; CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Timed(maker), items, Shards(Path(folder), FILES, ".sdf.gz"), {})
        begun = time.monotonic()
        run(job, Workforce(workers), "cpu")
        whole, records = time.monotonic() - begun, job.records()
        ends = [job.shards.record(number).stat().st_mtime for number in range(FILES)]
    begins = [end - record["seconds"] for end, record in zip(ends, records, strict=True)]
    wall = max(ends) - min(begins)
    return {"wall": wall, "start": whole - wall, "CPU": sum(record["cpu"] for record in records)}


def training(processes: int) -> dict[str, float]:
    """Seconds of training as the run's log tells them, without start and validation; CPU seconds of all processes.

    They are begun here with the variables that torchrun sets, which would begin them in sessions of their own.
    """
    settings = [word for pair in TRAINING.split() for word in ("--set", pair)]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        free.close()
        command = [sys.executable, "-m", "coset", "train", "dit_aug", *settings, "-o", folder, "--device", "cpu"]
        before = os.times()
        started = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
            )
            for rank in range(processes)
        ]
        codes = [process.wait() for process in started]
        assert not any(codes)
        after = os.times()
        last = read_log(Path(folder) / "log.jsonl")[-1]
    return {"wall": last["seconds"], "CPU": after.children_user - before.children_user}


def compare(name: str, measured: Callable[[int], dict[str, float]], rounds: int) -> None:
    """One and two workers in turn; medians."""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, kept in found.items():
            kept.append(measured(workers))
    medians = {w: {key: statistics.median(each[key] for each in kept) for key in kept[0]} for w, kept in found.items()}
    for workers, values in medians.items():
        cells = ", ".join(f"{key} {value:.2f} s" for key, value in values.items())
        faster = medians[1]["wall"] / values["wall"]
        print(f"| {name} | {workers} | {cells} | {faster:.2f} | {medians[1]['CPU'] / values['CPU']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", type=int, default=160, help="molecules sampled")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| job | workers | medians | times as fast | CPU time of one worker over it |\n|---|---|---|---|---|")
    sampled = Molecules("qm9", options={"steps": 25})
    compare("sampling", lambda workers: in_files(sampled, range(options.n), workers), options.rounds)
    asked = [of_smiles(smiles, line) for line, smiles in enumerate(SMILES * 32, start=1)]
    shaped = Conformers("rdkit-mmff", Plan(5))
    compare("conformers", lambda workers: in_files(shaped, asked, workers), options.rounds)
    compare("training", training, options.rounds)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
