"""Memory and time of drug-sized molecules: a training step and a sampling step of one molecule against its number of
atoms, with layers recomputed in the backward pass and without, and the exponents of a power law fitted to them.

Memory is the most that tensors held at once beside the weights, counted allocation by allocation; time is the process's
own CPU time, the least of some rounds, which other work on the machine disturbs little. Molecules are made up: neither
depends on what they are. Writes rows.json, report.md and figure.svg.

    OMP_NUM_THREADS=1 THP_MEM_ALLOC_ENABLE=1 python benchmarks/drug_size.py [--rounds 3] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.files import atomic_write
from coset.noise import Noise
from coset.recipes.drugs import TYPES
from coset.recipes.registry import build, count_parameters, find_recipe
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.record import Record, markdown_table, provenance

NAME = "drug-size"
ATOMS = (20, 32, 45, 64, 90, 128, 181)
FITTED = 45  # atoms from which on the power law is fitted: below it the cost that no atom causes counts
RECIPES = ("edm_drugs", "dit_aug_drugs", "symdiff_drugs", "end_drugs", "coset_drugs")
STEPS = ("training", "sampling")


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside have held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._hold(leaf.untyped_storage())
        self.most = max(self.most, self.held)
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def molecule(atoms: int) -> tuple[Cloud, Noise]:
    """One made-up molecule in natural units."""
    generator = torch.Generator().manual_seed(atoms)
    x = 2.5 * torch.randn(1, atoms, 3, generator=generator)
    kinds = torch.randint(TYPES, (1, atoms), generator=generator)
    h = torch.nn.functional.one_hot(kinds, TYPES).float()
    return Cloud(x, h, torch.ones(1, atoms, 1)).center(), Noise.from_seed(0, torch.arange(1))


def training(model: Diffusion, atoms: int) -> Callable[[], None]:
    """Forward and backward, without the optimiser's step."""
    clean, noise = molecule(atoms)
    weights = [values for values in model.parameters() if values.requires_grad]

    def run() -> None:
        torch.autograd.grad(model(clean, noise).mean(), weights, allow_unused=True)

    return run


def sampling(model: Diffusion, atoms: int) -> Callable[[], None]:
    """From the middle of time one hundredth down."""
    clean, noise = molecule(atoms)
    t, s = (torch.full((1,), time, dtype=torch.float64) for time in (0.5, 0.49))

    @torch.no_grad()
    def run() -> None:
        z = model.codec.encode(clean)
        model.process.reverse(z, t, s, model.denoiser(z, t, noise)).sample(noise)

    return run


def measured(model: Diffusion, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """MB and ms of both steps at every size."""
    found: dict[str, Any] = {"atoms": list(sizes)}
    for name, prepare in zip(STEPS, (training, sampling), strict=True):
        megabytes, milliseconds = [], []
        for atoms in sizes:
            run, seconds = prepare(model, atoms), []
            with Peak() as peak:
                run()
            for _ in range(rounds):
                begun = time.process_time()
                run()
                seconds.append(time.process_time() - begun)
            megabytes.append(round(peak.most / 1e6, 2))
            milliseconds.append(round(1e3 * min(seconds), 2))
        found |= {f"{name}_mb": megabytes, f"{name}_ms": milliseconds}
    return found


def exponent(atoms: Sequence[int], values: Sequence[float]) -> float:
    """Slope of the logarithms from `FITTED` atoms on."""
    large = [(n, value) for n, value in zip(atoms, values, strict=True) if n >= FITTED]
    return float(np.polyfit(*np.log(np.array(large)).T, 1)[0])


def rows() -> dict[str, tuple[str, str, bool, Sequence[int]]]:
    """Recipe, size, whether layers are recomputed, and numbers of atoms, by the name of the row."""
    found = {}
    for recipe in RECIPES:
        for size, atoms in (("small", ATOMS), (next(iter(find_recipe(recipe).sizes)), ATOMS[-1:])):
            for recompute in (False, True):
                found[f"{recipe} {size}{', recomputed' * recompute}"] = recipe, size, recompute, atoms
    return found


def report(record: Record, rounds: int) -> None:
    known = {name: record.rows[name] for name in rows() if name in record.rows}
    curves = {name: row for name, row in known.items() if len(row["atoms"]) > 1}
    single = {name: row for name, row in known.items() if len(row["atoms"]) == 1}
    about = provenance()
    drawn = save_figure(record.folder / "figure.svg", lambda axes: figure(axes, curves), panels=3)
    with atomic_write(record.folder / "report.md") as file:
        file.write(
            f"# {NAME}\n\n- command: `python benchmarks/drug_size.py --rounds {rounds}`\n"
            f"- one molecule a step; CPU time of the process, the least of {rounds} rounds; the machine was busy\n"
            f"- this report: coset {about['coset']}, commit {about['commit']}, torch {about['torch']}, "
            f"{about['machine']}\n\nMost that tensors held at once beside the weights (their gradient counts), and CPU "
            f"time, at {ATOMS[0]} and {ATOMS[-1]} atoms; the exponent of a power law from {FITTED} atoms on.\n\n"
        )
        heads = ["recipe, small", "parameters"]
        heads += [f"{step} {unit}" for step in STEPS for unit in ("MB", "~ n^", "ms", "~ n^")]
        file.write(markdown_table(heads, [curve_cells(name, row) for name, row in curves.items()]))
        file.write(
            f"\nAt {ATOMS[-1]} atoms, at the sizes that are the recipes' defaults. Full batch: molecules of this size "
            "within the recipe's batch and pairs, and about what their training step holds, for activations grow with "
            "them.\n\n"
        )
        heads = ["recipe", "parameters", *(f"{step} {unit}" for step in STEPS for unit in ("MB", "s"))]
        heads += ["full batch", "training GB"]
        file.write(markdown_table(heads, [single_cells(name, row) for name, row in single.items()]))
        file.write("\n![Memory and time against atoms](figure.svg)\n" if drawn else f"\n{NO_PLOT}.\n")


def curve_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    cells = [name.replace(" small", ""), f"{row['parameters']:,}"]
    for key in (f"{step}_{unit}" for step in STEPS for unit in ("mb", "ms")):
        cells += [f"{row[key][0]:.3g} - {row[key][-1]:.4g}", f"{exponent(row['atoms'], row[key]):.2f}"]
    return cells


def single_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    cells = [name, f"{row['parameters']:,}"]
    for step in STEPS:
        cells += [f"{row[f'{step}_mb'][0]:,.0f}", f"{row[f'{step}_ms'][0] / 1e3:.2f}"]
    settings, gradient = find_recipe(name.split()[0]).resolve({}), 4 * row["parameters"] / 1e6
    assert settings.pairs is not None
    batch = min(settings.batch, settings.pairs // ATOMS[-1] ** 2)
    held = gradient + batch * (row["training_mb"][0] - gradient)
    return [*cells, str(batch), f"{held / 1e3:.1f}"]


def figure(axes: Sequence[Any], curves: Mapping[str, Mapping[str, Any]]) -> None:
    """Memory and time of a training step, time of a sampling step; recomputed ones dashed."""
    panels = {"training_mb": "MB, training", "training_ms": "ms, training", "sampling_ms": "ms, sampling"}
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        for name, row in curves.items():
            recomputed = name.endswith("recomputed")
            if recomputed and key.startswith("sampling"):
                continue  # nothing is kept there
            colour = f"C{[name.startswith(recipe) for recipe in RECIPES].index(True)}"
            slope = exponent(row["atoms"], row[key])
            axis.plot(
                row["atoms"], row[key], color=colour, linestyle="--" if recomputed else "-", marker="o", markersize=3,
                label=f"{name.split('_drugs')[0]}{', recomputed' * recomputed}: n^{slope:.2f}",
            )  # fmt: skip
        axis.set(xlabel="atoms", ylabel=label, xscale="log", yscale="log")
        axis.set_xticks(ATOMS, labels=map(str, ATOMS))
        axis.minorticks_off()
        low, high = axis.get_ylim()
        axis.set_ylim(low, high * (high / low) ** 0.5)  # room for the legend
        axis.legend(fontsize=5, loc="upper left", ncols=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results") / NAME)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = Record.open(NAME, arguments.out, {"atoms": ATOMS, "rounds": arguments.rounds})
    for name, (recipe, size, recompute, atoms) in rows().items():
        if name in record.rows:
            continue
        settings = find_recipe(recipe).resolve({"size": size, "recompute": recompute})
        found = measured(build(recipe, settings, TYPES), atoms, arguments.rounds if len(atoms) > 1 else 1)
        record.add(name, {"parameters": count_parameters(recipe, size), **found})
        print(name, found["training_mb"], found["training_ms"], flush=True)
    report(record, arguments.rounds)


if __name__ == "__main__":
    main()
