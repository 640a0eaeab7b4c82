"""Whether fast molecules are as good: the packaged model's, drawn from the same noise by the plain loop (random batches
padded to the data's largest molecule, float32) and by ours (batches of like size, bf16 where the processor has it).

    OMP_NUM_THREADS=1 python benchmarks/equal_quality.py [-n 1000] [-o FOLDER]

Every molecule has the same size, seed and steps either way, so that the two are compared molecule by molecule. With a
folder, what is drawn is kept there portion by portion, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import Tensor

from coset.metrics.evaluate import evaluate
from coset.metrics.flags import flags
from coset.model import Model, load
from coset.molecule import Molecule
from coset.networks.precision import set_trunk_precision, usable_precision
from coset.samplers.generate import Generator
from coset.samplers.sample import empty_cloud

PORTION, BATCH = 125, 64
JUDGED = ("stable", "valid", "connected")


class Plain(Generator):
    """Batches as they come, padded to the largest molecule of the data."""

    def _batches(self, seed: int, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(numbers.split(BATCH), self._sizes(seed, numbers).split(BATCH), strict=True)

    def _like(self, batch: Tensor, sizes: Tensor):
        return batch, empty_cloud(sizes, self.diffusion.codec.width, self.sizes.largest)


def drawn(model: Model, plain: bool, numbers: Tensor) -> list[Molecule]:
    set_trunk_precision(model.diffusion, "fp32" if plain else usable_precision("bf16", "cpu"))
    kind = Plain if plain else Generator
    generator = kind(model.diffusion, model.vocabulary, model.sizes, model.sampling())
    found = dict(generator.draw(0, numbers))
    return [found[number] for number in numbers.tolist()]


def judged(molecules: Sequence[Molecule]) -> list[list[int]]:
    """Of each molecule its atoms, its stable ones, and whether it is stable, valid and connected."""
    found = zip(molecules, flags(molecules), strict=True)
    atoms = [evaluate([molecule], None).counts["stable_atoms"] for molecule in molecules]
    return [
        [len(one), stable, *(int(each[name]) for name in JUDGED)]
        for (one, each), stable in zip(found, atoms, strict=True)
    ]


def rows(model: Model, way: str, count: int, folder: Path | None) -> list[list[int]]:
    found: list[list[int]] = []
    for numbers in torch.arange(count).split(PORTION):
        path = folder and folder / f"{way}-{int(numbers[0])}-{int(numbers[-1])}.json"
        if path and path.is_file():
            found += json.loads(path.read_text())
            continue
        found += judged(drawn(model, way == "plain", numbers))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found[-len(numbers) :]))
    return found


def quality(count: int = 1000, folder: Path | None = None) -> None:
    """Prints the counts either way, and of each judgement how many molecules pass one way alone."""
    model = load("qm9")
    told = {way: torch.tensor(rows(model, way, count, folder)) for way in ("plain", "ours")}
    steps = model.sampling().steps
    print(f"\n| {count} molecules of qm9, {steps} steps | atoms stable | molecules stable | valid | connected |")
    print("|---|---|---|---|---|")
    for way, each in told.items():
        atoms, stable, *passed = each.sum(0).tolist()
        print(f"| {way} | {stable:,} of {atoms:,} | {' | '.join(f'{number:,}' for number in passed)} |")
    print("\n| the same molecule | passes plain alone | passes ours alone | p (McNemar, exact, two-sided) |")
    print("|---|---|---|---|")
    for place, name in enumerate(JUDGED, start=2):
        plain, ours = told["plain"][:, place], told["ours"][:, place]
        lost, won = int((plain > ours).sum()), int((ours > plain).sum())
        print(f"| {name} | {lost} | {won} | {mcnemar(lost, won):.2f} |")


def mcnemar(one: int, other: int) -> float:
    """P that molecules which pass one way alone part as unevenly by chance (McNemar 1947; the exact binomial test)."""
    return float(binomtest(one, one + other).pvalue) if one + other else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("-o", type=Path, default=None)
    options = parser.parse_args()
    quality(options.n, options.o)


if __name__ == "__main__":
    main()
