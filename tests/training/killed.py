"""Trains in processes that are killed, for test_killed.py; each child is forked from one that has imported torch.

python killed.py runs FOLDER     a run never stopped in FOLDER/whole, one killed again and again in FOLDER/killed
python killed.py full FOLDER     one whose disk is full for a while in FOLDER/full
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.flop_counter import FlopCounterMode

from coset.recipes.registry import find_recipe
from coset.training import checkpoint, loop
from coset.training.checkpoint import load_state
from coset.training.ema import EMA
from coset.training.folder import read_settings
from coset.training.log import Log
from coset.training.runs import prepare
from coset.training.start import carry_out

SETTINGS = {
    "data": "qm9-sample", "width": 16, "depth": 1, "batch": 8, "molecules": 800, "lr": 1e-3, "clip": "queue",
    "warmup": 20, "decay": 0.5, "ema": [0.9, 0.99], "validate_every": 250, "validate_molecules": 16,
    "sample_molecules": 2, "sample_steps": 2, "checkpoint_minutes": 17 / 60,
}  # fmt: skip
# Where each process is killed: before its first checkpoint, amid a step, with a part of a checkpoint written, with all
# of it written but not renamed, after a line of the log that no checkpoint knows of, amid a line.
KILLS = (
    ("step", 9), ("step", 42), ("write", 0.0), ("write", 0.6), ("rename", 0), ("logged", 50), ("log", 50), ("step", 97),
)  # fmt: skip


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kind: str, where: float) -> None:
    """Sets the trap in this process."""
    if kind == "step":
        update = EMA.update
        EMA.update = lambda self, step: die() if step == where else update(self, step)
    elif kind == "write":
        save_file = checkpoint.save_file

        def half(tensors, path, metadata):
            save_file(tensors, path, metadata=metadata)
            os.truncate(path, int(where * path.stat().st_size))
            die()

        checkpoint.save_file = half
    elif kind == "rename":
        checkpoint.os = SimpleNamespace(**{**vars(os), "replace": die})
    elif kind in ("logged", "log"):
        call = Log.__call__

        def cut(self, record):
            call(self, record)
            if record["step"] == where:
                os.truncate(self.path, self.path.stat().st_size - (20 if kind == "log" else 0))
                die()

        Log.__call__ = cut


def in_child(work) -> int:
    """Exit status of a forked process that does the work."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = work() or 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def train(folder: Path, resume: bool, kill: tuple[str, float] | None = None) -> None:
    """One process of a run, on a clock that ticks once a look: checkpoints then come every 18 steps everywhere."""
    ticks = iter(range(10**9))
    loop.time = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    if kill:
        arm(*kill)
    settings = read_settings(folder)[1] if resume else find_recipe("edm").resolve(SETTINGS)
    carry_out(prepare("edm", settings, folder, "cpu"), folder, resume)


def killed_runs(folder: Path) -> list[dict]:
    assert in_child(lambda: train(folder / "whole", resume=False)) == 0
    told = []
    for number, kill in enumerate(KILLS):
        status = in_child(lambda number=number, kill=kill: train(folder / "killed", number > 0, kill))
        path = folder / "killed" / "checkpoint.safetensors"
        step = load_state(path)["counters"]["step"] if path.exists() else None
        told.append({"kill": kill, "signal": os.WTERMSIG(status), "checkpoint": step})
    assert in_child(lambda: train(folder / "killed", resume=True)) == 0
    return told


def command(arguments: list[str], output: Path, limit: int | None = None) -> int:
    """`coset ...` in a child whose files may not grow beyond the limit; gives its exit code."""

    def work() -> int:
        from coset.cli import main

        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.argv = ["coset", *arguments]
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return os.WEXITSTATUS(in_child(work))


def full_disk(folder: Path) -> list[dict]:
    run = folder / "full"
    in_child(lambda: train(run, False, ("step", 42)))
    before = (run / "checkpoint.safetensors").read_bytes()
    code = command(["train", "--resume", "-o", str(run)], folder / "stderr", limit=len(before) // 2)
    same = (run / "checkpoint.safetensors").read_bytes() == before
    files = sorted(path.name for path in run.iterdir())
    after = in_child(lambda: train(run, resume=True))
    return [{"code": code, "same": same, "files": files, "resumed": after, "error": (folder / "stderr").read_text()}]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with FlopCounterMode(display=False):  # imports much, here once and not in every child
        torch.ones(2, 2) @ torch.ones(2, 2)
    scenario = {"runs": killed_runs, "full": full_disk}[sys.argv[1]]
    print(json.dumps(scenario(Path(sys.argv[2]))))
