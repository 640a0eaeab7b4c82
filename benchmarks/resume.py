"""Kills a training again and again at random moments and compares its end with that of a run never stopped.

Every process is `coset train` as its user starts it; SIGKILL comes at a random moment after training began, so in the
middle of steps, validations, log lines and checkpoints, whose interval is two seconds here.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from coset.training.checkpoint import load_state, load_tensors
from coset.training.log import read_log

SETTINGS = "size=small width=16 depth=1 data=qm9-sample clip=queue validate_every=5000 validate_molecules=64 "
SETTINGS += "sample_molecules=4 sample_steps=4 checkpoint_minutes=0.03 batch=16"
CHECKPOINT, SETTINGS_FILE = "checkpoint.safetensors", "settings.json"


def start(folder: Path, settings: list[str], resume: bool) -> subprocess.Popen:
    """A training process that has begun: it has printed its first line."""
    chosen = ["--resume"] if resume else ["edm", *(word for pair in settings for word in ("--set", pair))]
    command = [sys.executable, "-m", "coset", "train", *chosen, "-o", str(folder), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        if "molecules of" in line:
            return process
        told.append(line)
    raise RuntimeError(f"training ended with {process.wait()} before it began: {''.join(told)}")


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"training failed: {output}")


def step_of(folder: Path) -> int:
    """Optimiser steps that the checkpoint holds; reading it checks every checksum."""
    path = folder / CHECKPOINT
    return load_tensors(path)[1]["counters"]["step"] if path.exists() else 0


def kill_often(folder: Path, settings: list[str], kills: int, seconds: float, chance: random.Random) -> tuple[int, int]:
    """Kills so many processes of one run, then lets it end; gives kills and optimiser steps that were lost."""
    done = lost = 0
    while done < kills:
        process = start(folder, settings, resume=(folder / SETTINGS_FILE).exists())
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        if process.wait() == 0:
            break  # it had ended by itself
        done += 1
        logged = [record["step"] for record in read_log(folder / "log.jsonl")]
        lost += max(0, max(logged, default=0) - step_of(folder))
    finish(start(folder, settings, resume=True))
    return done, lost


def same(one: Path, two: Path) -> dict[str, bool]:
    """What of two runs is equal bit for bit."""
    (tensors, state), (others, other) = (load_tensors(folder / CHECKPOINT) for folder in (one, two))
    equal = [name for name in tensors if torch.equal(tensors[name], others[name])]
    counters = [{k: v for k, v in found["counters"].items() if k != "seconds"} for found in (state, other)]
    logs = [
        [{k: v for k, v in record.items() if k not in ("seconds", "time")} for record in read_log(folder / "log.jsonl")]
        for folder in (one, two)
    ]
    kinds = {"weights": "raw/", "averages": "ema/", "moments": "optimiser/"}
    found = {kind: all(name in equal for name in tensors if name.startswith(part)) for kind, part in kinds.items()}
    return {**found, "counters": counters[0] == counters[1], "log": logs[0] == logs[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--molecules", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="most seconds of training before a kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = [*SETTINGS.split(), f"molecules={options.molecules}"]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        finish(start(whole, settings, resume=False))
        kills, lost = kill_often(killed, settings, options.kills, options.seconds, random.Random(options.seed))
        found = same(whole, killed)
        left = {path.name for path in killed.iterdir()} - {path.name for path in whole.iterdir()}
        steps = load_state(whole / CHECKPOINT)["counters"]["step"]
    print("| kills | optimiser steps | logged steps lost and done again | equal bit for bit | files left over |")
    print("|---|---|---|---|---|")
    equal = ", ".join(f"{name}: {'yes' if value else 'NO'}" for name, value in found.items())
    print(f"| {kills} | {steps:,} | {lost:,} | {equal} | {len(left)} |")
    sys.exit(0 if all(found.values()) and not left else 1)


if __name__ == "__main__":
    main()
