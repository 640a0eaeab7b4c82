"""Memory against the number of molecules: packed stores of real molecules repeated, opened, split, shuffled and read in
batches as training does, then steps on the largest molecules (181 atoms) at a fixed budget of atoms.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--rows 200000] [--steps 2000] [--data qm9-sample] [--folder FOLDER]

--rows 6900000 is as many conformers as GEOM-Drugs has; the stores go to a temporary folder and are removed, and how
much they need is told first. A tenth of the rows is measured beside all of them, each in a fresh process. Memory is
what a process allocated, in MiB; pages of the store that it has read are not in it, for the system takes them back as
it needs. drug-like needs COSET_DATA.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coset.data.batches import Batches
from coset.data.catalog import Dataset, open_dataset
from coset.data.writer import StoreWriter
from coset.molecule import Vocabulary
from coset.networks.precision import set_trunk_precision, usable_precision
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.recomputing import set_recompute

LARGEST, SHARE = 181, 200  # atoms of the largest of GEOM-Drugs, made of several real molecules; one in so many rows
TOKENS, STEPS = 4096, 4  # of a batch; training steps on the largest
NETWORK = {"width": 128, "depth": 4, "heads": 4, "kernels": 32}
CHUNK = 20_000  # rows written at once
MOST_DISK = 0.5  # of what is free


def own() -> float:
    """MiB that the process allocated and that are in memory."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


class Watch:
    """A context that knows the most memory inside it, looked at a hundred times a second."""

    def __enter__(self) -> Watch:
        self.most, self._done = own(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, own())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.most = max(self.most, own())


def joined(dataset: Dataset) -> tuple[NDArray, NDArray]:
    """One molecule of `LARGEST` atoms: real ones side by side."""
    store, numbers, positions = dataset.store, [], []
    typical = dataset.train[np.argsort(np.abs(store.sizes[dataset.train] - LARGEST // 8), kind="stable")]
    for place, row in zip(np.ndindex(3, 3, 3), typical.tolist(), strict=False):
        found = store[row]
        numbers.append(found[0])
        positions.append(found[1] - found[1].mean(0) + 8 * np.array(place, np.float32) - 8)
    return np.concatenate(numbers)[:LARGEST], np.concatenate(positions)[:LARGEST]


def make(data: str, rows: int, path: Path) -> None:
    """A packed store of so many rows."""
    dataset = open_dataset(data)
    pieces = [dataset.store[row] for row in np.resize(dataset.train, min(CHUNK, rows)).tolist()]
    pieces[::SHARE] = [joined(dataset)] * len(pieces[::SHARE])
    sizes = np.array([len(numbers) for numbers, _ in pieces])
    numbers, positions = (np.concatenate([piece[k] for piece in pieces]) for k in (0, 1))
    with StoreWriter(path, packed=True, source=f"molecules of {data}, repeated") as writer:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            atoms = sizes[:count].sum()
            writer.append(numbers[:atoms], positions[:atoms], sizes[:count])


def needed(data: str, rows: int) -> float:
    """Bytes of a store of so many rows: 7 an atom and 2 a molecule, ids beside them while it is written (17 more)."""
    dataset = open_dataset(data)
    atoms = dataset.store.sizes[dataset.train].mean() + LARGEST / SHARE
    return rows * (7 * atoms + 19)


def read(path: Path, steps: int) -> dict[str, float]:
    """What opening, splitting, shuffling and reading cost, in a process of its own."""
    open_dataset("qm9-sample")  # what is imported at first
    found = {"before": own()}
    with Watch() as watch:
        begun = time.process_time()
        dataset = open_dataset(path)
        batches = Batches(dataset.store.sizes[dataset.train], TOKENS, rows=dataset.train)
        found["opened"] = own()
        stream = batches.stream()
        first = next(stream)
        found["begun"], found["start s"] = own(), time.process_time() - begun
        dataset.store.collate(first[2])
        seen, begun = 0, time.process_time()
        for _, (_, _, rows) in zip(range(steps), stream, strict=False):
            dataset.store.collate(rows)
            seen += len(rows)
        found["rows/s"] = seen / (time.process_time() - begun)
    found["after"] = own()
    found["most"], found["rows"] = watch.most, len(dataset.store)
    return found


def steps_on_largest(path: Path, recompute: bool) -> dict[str, float]:
    """Training steps on batches of the largest molecules, in a process of its own."""
    dataset = open_dataset(path)
    store, vocabulary = dataset.store, Vocabulary(dataset.vocabulary)
    diffusion = build("dit", find_recipe("dit").resolve(NETWORK), len(vocabulary))
    set_trunk_precision(diffusion, usable_precision("bf16", "cpu"))
    set_recompute(diffusion, recompute)
    large = np.flatnonzero(store.sizes == LARGEST)
    batches = Batches(store.sizes[large], TOKENS, rows=large)
    before = own()
    with Watch() as watch:
        for _, (_, number, rows) in zip(range(STEPS), batches.stream(), strict=False):
            clean = vocabulary.cloud(*store.collate(rows))
            diffusion.zero_grad(set_to_none=True)
            diffusion(clean, Noise.from_seed(0, torch.as_tensor(rows)).at(number)).mean().backward()
    return {"molecules": len(rows), "before": before, "most": watch.most}


def fresh(job: Callable[..., Any], *given: Any) -> Any:
    """What a job returns in a new process, so that nothing of an earlier one counts."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(job, *given).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=2_000, help="batches read, an epoch at most")
    parser.add_argument("--data", default="qm9-sample")
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    options = parser.parse_args()
    counts = sorted({max(options.rows // 10, 20 * SHARE), options.rows})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        disk, free = sum(needed(options.data, rows) for rows in counts), shutil.disk_usage(folder).free
        print(f"the stores need {disk / 1e9:.2f} GB of the {free / 1e9:.0f} GB free at {folder}\n", flush=True)
        if disk > MOST_DISK * free:
            parser.error(f"that is more than {MOST_DISK:.0%} of what is free; name another --folder or fewer --rows")
        print("| rows | store, MB | before | opened, split, cut | first epoch shuffled | after | most | rows/s |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        paths, most = [Path(folder) / str(rows) for rows in counts], []
        for rows, path in zip(counts, paths, strict=True):
            fresh(make, options.data, rows, path)
            size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
            found = fresh(read, path, options.steps)
            most.append(found["most"] - found["before"])
            shown = (f"{found[name]:,.0f}" for name in ("before", "opened", "begun", "after", "most", "rows/s"))
            print(f"| {rows:,} | {size:,.0f} | {' | '.join(shown)} |", flush=True)
        if len(counts) > 1:
            each = (most[1] - most[0]) * 2**20 / (counts[1] - counts[0])
            print(f"\nthe most of it grows by {each:.0f} bytes a row: sizes, places and the order of an epoch")
        print(f"\n| rows | training on {LARGEST} atoms, {TOKENS} a batch | molecules a batch | before | most |")
        print("|---|---|---|---|---|", flush=True)
        for rows, path in zip(counts, paths, strict=True):
            for name, recompute in {"recomputed": True, "all kept": False}.items():
                found = fresh(steps_on_largest, path, recompute)
                shown = (f"{found[key]:,.0f}" for key in ("molecules", "before", "most"))
                print(f"| {rows:,} | {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
