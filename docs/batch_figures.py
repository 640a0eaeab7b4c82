"""The figures of batches: what a molecule draws and what padding does, whoever is beside it."""

from __future__ import annotations

import numpy as np
import torch
from drawing import Axes, Figure

from coset.cloud import Cloud
from coset.data import Batches, open_dataset
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.gnn import GNN
from coset.noise import Noise


def noise() -> Figure:
    """The first number that molecules 0 to 5 of a seed draw at steps 0 to 9, in three batches."""
    batches = {"a batch of six": [0, 1, 2, 3, 4, 5], "two of them": [4, 1], "one alone": [4]}
    figure = Figure(
        680, 268, "Random numbers by molecule and step", "A molecule's row of colours is the same anywhere."
    )
    left = 40
    for name, numbers in batches.items():
        wide = 18 * 10
        figure.text(left, 22, name, "strong")
        for row, number in enumerate(numbers):
            y = 62 + 30 * row
            figure.text(left - 8, y + 15, str(number), "end soft")
            for step in range(10):
                drawn = Noise.from_seed(0, torch.tensor(numbers)).at(step).normal(1)[row]
                share = 2 * float(torch.special.ndtr(drawn)) - 1
                fill = f"color-mix(in srgb, var(--{'b' if share > 0 else 'a'}) {100 * abs(share):.0f}%, var(--fill))"
                figure.add("rect", x=left + 18 * step, y=y, width=16, height=22, rx=3, style=f"fill:{fill}")
        figure.text(left, 50, "step 0", "soft")
        figure.text(left + wide - 2, 50, "9", "soft end")
        left += wide + 46
    return figure


def batches() -> Figure:
    """Padding of batches of the packaged molecules, and what padding changes in the output of each network."""
    store = open_dataset("qm9-sample").store
    sizes, generator = store.sizes, np.random.default_rng(0)
    order = generator.permutation(len(sizes))[: len(sizes) // 64 * 64].reshape(-1, 64)
    waste = {
        "padded to the largest molecule": sizes.max() * order.size / sizes[order].sum(),
        "batches of 64 at random": (sizes[order].max(1) * 64).sum() / sizes[order].sum(),
        "batches of like sizes, 64": Batches(sizes, molecules=64).padding,
        "batches of like sizes, 1,024 tokens": Batches(sizes, tokens=1024).padding,
    }
    figure = Figure(
        680, 400, "Batches and padding", "Padding costs, and changes of the output by padding near rounding."
    )
    figure.text(16, 22, "padded over real atoms (1 is no waste)", "strong")
    for row, (name, value) in enumerate(waste.items()):
        y = 40 + 32 * row
        figure.text(258, y + 15, name, "end soft")
        figure.add("rect", x=268, y=y, width=300 * float(value) / 1.8, height=20, rx=3, style="fill:var(--a)")
        figure.text(276 + 300 * float(value) / 1.8, y + 15, f"{value:.3f}", "soft")
    axes = Axes(figure, (76, 236, 570, 110), (0, 64), (1e-8, 1e-3), log=(False, True))
    names = ("added padding, atoms", "")
    axes.frame(
        "change of the output, over its largest value",
        (0, 16, 32, 64),
        (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
        names,
    )
    for number, (name, change) in enumerate(_changes().items()):
        shown = [max(value, 1e-8) for value in change.values()]
        axes.line(change, shown, "acb"[number])
        axes.dots(change, shown, "acb"[number])
        figure.text(452 + 72 * number, 222, name, "strong", style=f"fill:var(--{'acb'[number]})")
        print(name, change)
    print(waste)
    return figure


def _changes() -> dict[str, dict[int, float]]:
    """By network and added padding: the largest change of an output that is scaled to a largest value of 1."""
    store = open_dataset("qm9-sample").store
    cloud = QM9.cloud(*store.collate(np.arange(8)))
    t, found = torch.linspace(0.1, 0.9, 8), {}
    networks = {"EGNN": EGNN(6, 64, 4), "GNN": GNN(6, 64, 4), "DiT": DiT(6, width=64, depth=4, heads=4, kernels=16)}
    for name, network in networks.items():
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():  # layers that start at zero would hide what they do
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            plain = network(cloud, t)
            found[name] = {}
            for extra in (1, 2, 4, 8, 16, 32, 64):
                longer = Cloud(*(torch.nn.functional.pad(v, (0, 0, 0, extra)) for v in (cloud.x, cloud.h, cloud.mask)))
                away = network(longer, t).x[:, : cloud.x.shape[1]] - plain.x
                found[name][extra] = float(away.abs().max() / plain.x.abs().max())
    return found
