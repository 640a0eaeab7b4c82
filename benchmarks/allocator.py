"""What it is worth to keep the memory of freed tensors (`coset.allocator`), as every command does: training steps and
sampling with the system's own settings and with ours, a fresh process each, in turns. Processor time of one thread.

    OMP_NUM_THREADS=1 python benchmarks/allocator.py [--data qm9-sample] [--recipes coset,edm] [--rounds 3]

drug-like needs COSET_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

import torch

from coset.allocator import CHOSEN, keep_freed_memory
from coset.data.batches import Batches
from coset.data.catalog import open_dataset
from coset.molecule import Vocabulary
from coset.noise import Noise
from coset.recipes.registry import build, find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from throughput import chosen_rows

MOLECULES = {"qm9-sample": 256, "drug-like": 24}  # seen in training, a round
SAMPLED = {"qm9-sample": 64, "drug-like": 8}  # drawn
STEPS = 5  # of sampling
SETTINGS = {"coset": {"size": "xs"}}  # as the packaged model
BATCH = {"qm9-sample": 128, "drug-like": 8}


def measured(name: str, recipe: str) -> dict[str, float]:
    """Seconds of a round after one that warms up, in this process, and its largest size."""
    dataset = open_dataset(name)
    vocabulary, settings = Vocabulary(dataset.vocabulary), find_recipe(recipe).resolve(SETTINGS.get(recipe, {}))
    diffusion = build(recipe, settings, len(vocabulary))
    rows = chosen_rows(dataset, MOLECULES[name])
    sizes = dataset.store.sizes[rows]
    some = {int(size): 1 for size in sizes}

    def train() -> None:
        for batch in Batches(sizes, molecules=BATCH[name], rows=rows).epoch(0):
            clean = vocabulary.cloud(*dataset.store.collate(batch))
            diffusion.zero_grad(set_to_none=True)
            diffusion(clean, Noise.from_seed(0, torch.as_tensor(batch))).mean().backward()

    def draw() -> None:
        generator = Generator(diffusion, vocabulary, SizeDistribution(some), Sampling(steps=STEPS))
        assert sum(1 for _ in generator.draw(0, torch.arange(SAMPLED[name]))) == SAMPLED[name]

    found = {}
    for what, job in {"training": train, "sampling": draw}.items():
        job()
        before = resource.getrusage(resource.RUSAGE_SELF)
        job()
        after = resource.getrusage(resource.RUSAGE_SELF)
        found[f"{what}, system"] = after.ru_stime - before.ru_stime
        found[what] = after.ru_utime - before.ru_utime + found[f"{what}, system"]
    return found | {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def child(name: str, recipe: str, kept: bool) -> dict[str, float]:
    environment = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    command = [sys.executable, __file__, "--child", name, recipe, *(["kept"] if kept else [])]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="qm9-sample")
    parser.add_argument("--recipes", default="coset,edm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        if "kept" in options.child and not keep_freed_memory():
            sys.exit("the allocator is not glibc's: nothing to measure")
        print(json.dumps(measured(*options.child[:2])))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print(
        "| data | recipe | what | system's own, s | of it in the system | kept, s | times as fast | MiB, own and kept |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.data.split(","):
        for recipe in options.recipes.split(","):
            rounds = [[child(name, recipe, kept) for kept in (False, True)] for _ in range(options.rounds)]
            for what in ("training", "sampling"):
                own, system, kept, before, after = (
                    statistics.median(pair[at][key] for pair in rounds)
                    for at, key in ((0, what), (0, f"{what}, system"), (1, what), (0, "MiB"), (1, "MiB"))
                )
                ratio = statistics.median(own[what] / kept[what] for own, kept in rounds)
                print(
                    f"| {name} | {recipe} | {what} | {own:.2f} | {100 * system / own:.0f} % | {kept:.2f} | {ratio:.2f} "
                    f"| {before:.0f}, {after:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
