"""Trains with torch's processes of gloo, for test_split.py; they are forked from one that has imported torch.

python split.py FOLDER: each scenario in a folder of its name; prints what it told as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch.distributed import TCPStore

from coset.cli import main
from coset.recipes.registry import find_recipe
from coset.training import loop
from coset.training.distributed import ranks, together
from coset.training.folder import read_settings
from coset.training.molecule_run import MoleculeRun
from coset.training.runs import prepare
from coset.training.start import carry_out

SETTINGS = {
    "data": "qm9-sample", "width": 16, "depth": 1, "batch": 9, "molecules": 180, "lr": 1e-3, "clip": "queue",
    "ema": [0.9], "validate_every": 90, "validate_molecules": 8, "sample_molecules": 0, "padded_loss": True,
    "checkpoint_minutes": 1e-6,
}  # fmt: skip


def train(folder: Path, resume: bool = False, stop: tuple[int, int] | None = None, **others) -> None:
    """stop: rank and step at which a process gets SIGTERM."""
    settings = read_settings(folder)[1] if resume else find_recipe("edm").resolve(SETTINGS | others)
    backward = loop.backward

    def stopping(run, model, rows, sizes, step):
        if stop == (ranks().rank, step):
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(run, model, rows, sizes, step)

    loop.backward = stopping
    with together("cpu") as device:
        carry_out(prepare("edm", settings, folder, device), folder, resume)


def command(*arguments: object) -> Callable[[], None]:
    """coset ..., as torchrun would run it in each process."""

    def run() -> None:
        sys.argv = ["coset", *map(str, arguments)]
        main()

    return run


def breaking(folder: Path) -> None:
    """The second process cannot work through its share of step 3."""
    backward = loop.backward

    def broken(run, model, rows, sizes, step):
        if step == 3 and ranks().rank == 1:
            raise ValueError("molecule 5 is not there")
        return backward(run, model, rows, sizes, step)

    loop.backward = broken
    command("train", "edm", *options(), "-o", folder)()


def dying(folder: Path) -> None:
    """The second process is killed amid step 3."""
    backward = loop.backward

    def dead(run, model, rows, sizes, step):
        if step == 3 and ranks().rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(run, model, rows, sizes, step)

    loop.backward = dead
    command("train", "edm", *options(), "-o", folder)()


def options() -> list[str]:
    small = SETTINGS | {"ema": "[0.9]"}
    return [word for key, value in small.items() for word in ("--set", f"{key}={value}")]


def disagreeing(folder: Path) -> None:
    """Each process begins with weights of its own."""
    command("train", "edm", *options(), "--set", f"seed={os.environ['RANK']}", "-o", folder)()


def in_processes(count: int, work: Callable[[], object], told: Path, store: TCPStore, restart: int = 0) -> dict:
    """Exit codes, and what was written to standard error, of so many processes that train together."""
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": store.port}
            names |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": True}
            names |= {"TORCHELASTIC_RESTART_COUNT": restart}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 1
            try:
                work()
                code = 0
            except KeyboardInterrupt:
                code = 130
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return {"codes": codes, "told": told.read_text() if told.exists() else ""}


def scenarios(folder: Path) -> dict[str, dict]:
    def play(name: str, count: int, work: Callable[[Path], object], at: str = "", restart: int = 0) -> None:
        # As torchrun's agent, this process holds what the others meet by, and outlives them.
        if not restart:
            stores.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
        told = folder / f"{name}.txt"
        found[name] = in_processes(count, lambda: work(folder / (at or name)), told, stores[-1], restart)

    found: dict[str, dict] = {}
    stores: list[TCPStore] = []
    play("alone", 1, train)
    play("split", 2, train)
    play("stopped", 2, lambda at: train(at, stop=(1, 6)))
    play("others", 3, lambda at: train(at, resume=True, stop=(2, 12)), at="stopped")
    play("ended", 1, lambda at: train(at, resume=True), at="stopped")
    play("broken", 2, breaking)
    play("killed", 2, dying)
    play("again", 2, lambda at: command("train", "edm", *options(), "-o", at)(), at="killed", restart=1)
    play("disagreeing", 2, disagreeing)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Counting needs seconds: once here and not in every child, which all train the same model.
    counting = prepare("edm", find_recipe("edm").resolve(SETTINGS), Path(sys.argv[1]), "cpu")
    flops = counting.flops(counting.build())
    MoleculeRun.flops = lambda self, diffusion: flops
    print(json.dumps(scenarios(Path(sys.argv[1]))))
