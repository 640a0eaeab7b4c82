"""Draws the figures of the concept pages from computations: `python docs/figures.py [NAME ...]`. A few minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from drawing import Axes, Figure
from learned_figures import learned_noise
from symmetry_figures import symmetry, symmetry_data, symmetry_model, symmetry_process, symmetry_target

import coset
from coset.bonds import bond_orders
from coset.cloud import Cloud
from coset.data import Batches, open_dataset
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser
from coset.metrics.evaluate import evaluate
from coset.metrics.stability import stable_molecules
from coset.molecule import QM9, Molecule
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.gnn import GNN
from coset.networks.outputs import FromClean
from coset.noise import Noise
from coset.objectives.bound import Bound
from coset.objectives.composed import NoiseMixture
from coset.objectives.denoising import PowerTimes
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.samplers.generate import Generator
from coset.samplers.grids import power_grid
from coset.symmetry.checks import equivariance_in_law
from coset.symmetry.frames import HaarFrame, RecursiveFrame
from coset.symmetry.rotations import orthonormalise
from coset.symmetry.symmetrised import Symmetrised

FOLDER = Path(__file__).parent / "figures"


class _Watched(Denoiser):
    """Another denoiser, and what it saw and said: noise in Angstrom, noisy cloud, estimate."""

    def __init__(self, parts: Diffusion) -> None:
        super().__init__()
        self.denoiser, self.schedule = parts.denoiser, parts.process.schedule
        self.seen: list[tuple[float, Cloud, Cloud]] = []

    def forward(self, z: Cloud, t: torch.Tensor, noise: Noise | None = None) -> Cloud:
        estimate = self.denoiser(z, t, noise)
        alpha, sigma = self.schedule(t[:1])
        self.seen.append((float(sigma / alpha), z.scale(float(1 / alpha)), estimate))
        return estimate


def convention() -> Figure:
    """One chain of the packaged model: what it sees, and what it makes of it."""
    model = coset.load("qm9")
    number = next(i for i, m in enumerate(model.sample(24, seed=0)) if stable_molecules(*_bonded(m))[0])
    watched = _Watched(model.diffusion)
    parts = Diffusion(model.diffusion.codec, model.diffusion.process, watched, model.diffusion.objective)
    list(Generator(parts, model.vocabulary, model.sizes, model.sampling()).draw(0, torch.tensor([number])))
    shown = [min(watched.seen, key=lambda each: abs(np.log(each[0] / level))) for level in (5, 1, 0.5, 0.25, 1e-4)]
    chain = [(sigma, _molecule(parts, z), _molecule(parts, estimate)) for sigma, z, estimate in shown]
    turn = np.linalg.svd(chain[-1][2].positions)[2].T  # the final molecule's widest side, towards the reader
    figure = Figure(
        680, 330, "A sampling chain", "Noisy molecules turn into a clean one; the estimate is always clean."
    )
    for column, (sigma, noisy, clean) in enumerate(chain):
        x = 126 + 124 * column
        figure.text(x, 24, f"σ = {sigma:.2g} Å" if sigma >= 0.01 else "no noise", "mid soft")
        shrunk = 1 / np.hypot(1, sigma / 1.4)
        for row, (each, scale) in enumerate(((noisy, shrunk), (clean, 1.0))):
            figure.molecule((x, 98 + 128 * row), each.numbers, each.positions @ turn, 15.0 * scale, size=1 / scale)
    figure.text(4, 102, "zₜ", "strong")
    figure.text(4, 230, "D(zₜ, t)", "strong")
    figure.arrow("M70 302H670")
    figure.text(70, 322, "noise", "soft")
    figure.text(670, 322, "data", "soft end")
    print(f"molecule {number} of seed 0")
    return figure


def _molecule(parts: Diffusion, cloud: Cloud) -> Molecule:
    return QM9.molecules(parts.codec.output(cloud, cloud).mode())[0]


def _bonded(molecule: Molecule) -> tuple[np.ndarray, np.ndarray]:
    numbers = molecule.numbers[None]
    return numbers, bond_orders(numbers, molecule.positions[None])


def processes() -> Figure:
    """The schedules that come with the library, and two grids of times."""
    figure = Figure(
        680, 470, "Schedules", "Signal and noise against time for four schedules, their log SNR, and grids."
    )
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    schedules = {
        "polynomial": (Polynomial(), "a"), "cosine": (Cosine(), "c"), "linear": (Linear(), "b"),
        "exploding": (Exploding(), "d"),
    }  # fmt: skip
    levels = Axes(figure, (44, 66, 260, 220), (0, 1), (0, 1))
    levels.frame("signal α (solid), noise σ (dashed)", (0, 0.5, 1), (0, 0.5, 1), ("t", ""))
    ratio = Axes(figure, (398, 66, 260, 220), (0, 1), (-15, 15))
    ratio.frame("log signal-to-noise ratio", (0, 0.5, 1), (-15, 0, 15), ("t", ""))
    for number, (name, (schedule, colour)) in enumerate(schedules.items()):
        alpha, sigma = schedule(t)
        if sigma.max() <= 1:  # the exploding one leaves the panel
            levels.line(t, alpha, colour)
            levels.line(t, sigma, colour, cls="dash")
        inside = schedule.log_snr(t).clamp(-15, 15)
        ratio.line(t, inside, colour)
        figure.line([(44 + 165 * number, 18), (68 + 165 * number, 18)], colour, 3)
        figure.text(75 + 165 * number, 23, name)
    for row, power in enumerate((1.0, 1.5)):
        y = 372 + 52 * row
        figure.add("path", "axis", d=f"M44 {y}H658")
        for time in power_grid(25, power).tolist():
            figure.dot(44 + 614 * time, y, "a", 3.2)
        words = "equal steps, as published" if power == 1 else "power 1.5, the default of sampling: shorter last steps"
        figure.text(44, y - 12, words, "soft")
    figure.text(44, 452, "0 (data)", "soft")
    figure.text(658, 452, "t = 1 (noise)", "soft end")
    return figure


def law() -> Figure:
    """Deviations from E F(Qz) = Q E F(z) against the number of draws, for three denoisers around one network."""
    torch.manual_seed(0)
    network = DiT(3, width=16, depth=1, heads=2, kernels=4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 5, 3)
    molecule, plain = Cloud(x, torch.randn(1, 5, 3), torch.ones(1, 5, 1)).center(), FromClean(network)
    cases: dict[str, tuple[Denoiser, str]] = {
        "bare network": (_Turned(plain), "d"),
        "uniform poses": (Symmetrised(plain, HaarFrame()), "a"),
        "learned poses": (Symmetrised(plain, RecursiveFrame(_Pose())), "c"),
    }
    figure = Figure(
        680, 330, "Equivariance in law", "The bare network's deviation grows with draws; the others' stays."
    )
    axes = Axes(figure, (64, 86, 590, 180), (64, 65536), (0.3, 1000), log=(True, True))
    axes.frame("", (64, 256, 1024, 4096, 16384, 65536), (1, 10, 100, 1000), ("draws of the noise", ""))
    figure.text(64, 72, "difference of the two means, in standard errors (root mean square)", "soft")
    for number, (name, (denoiser, colour)) in enumerate(cases.items()):
        draws = [4**k for k in range(3, 9)]
        found = [
            equivariance_in_law(lambda z, noise: denoiser(z, torch.full((len(z),), 0.3), noise), molecule, n).rms  # noqa: B023
            for n in draws
        ]
        print(name, dict(zip(draws, np.round(found, 2), strict=True)))
        axes.line(draws, found, colour)
        axes.dots(draws, found, colour)
        left = (64, 250, 420)[number]
        figure.line([(left, 22), (left + 22, 22)], colour, 3)
        figure.text(left + 29, 27, name)
    return figure


class _Turned(Denoiser):
    """The bare network with noise added to its input: random, as the others are, and in no way symmetric."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, z: Cloud, t: torch.Tensor, noise: Noise | None = None) -> Cloud:
        assert noise is not None
        return self.denoiser(replace(z, x=z.x + 0.3 * noise.normal(z.x.shape[1], 3)).center(), t)


class _Pose(torch.nn.Module):
    """A small pose network: matrices that follow moments of the cloud."""

    def forward(self, z: Cloud, t: torch.Tensor) -> torch.Tensor:
        norms = torch.linalg.vector_norm(z.x, dim=-1, keepdim=True)
        columns = [(z.x * weight).sum(1) for weight in (norms.square(), torch.sin(5 * norms), torch.cos(4 * norms))]
        return orthonormalise(torch.stack(columns, -1) + 0.2 * (z.x.mT @ z.h) + 0.3 * torch.eye(3)).to(z.x.dtype)


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


def likelihood() -> Figure:
    """Where along the chain the bound of the packaged model collects its nats."""
    parts = coset.load("qm9").diffusion
    data = open_dataset("qm9-sample")
    clean = QM9.cloud(*data.store.collate(data.valid[:32]))
    bound, places = Bound(), (torch.arange(40) + 0.5) / 40
    seeds = Noise.from_seed(0, torch.arange(len(clean)))
    terms = [
        bound(parts.codec, parts.process, parts.denoiser, clean, seeds.at(k), place.expand(len(clean)).double())
        for k, place in enumerate(places)
    ]
    steps = np.array([float(term.steps.mean()) for term in terms])
    prior, output = float(terms[0].prior.mean()), float(torch.stack([t.output.mean() for t in terms]).mean())
    figure = Figure(680, 330, "Terms of the bound", "Contribution of each time to the bound, largest near the data.")
    axes = Axes(figure, (64, 62, 400, 214), (0, 1), (0.3, 3000), log=(False, True))
    axes.frame("nats a molecule and unit of time", (0, 0.25, 0.5, 0.75, 1), (1, 10, 100, 1000), ("t of the step", ""))
    axes.line(places, steps, "a")
    rows = {"prior KL": prior, "T steps": steps.mean(), "output, −log p(x | z₀)": output}
    rows["sum, without −log p(N)"] = sum(rows.values())
    figure.text(504, 82, "means, in nats", "strong")
    for row, (name, value) in enumerate(rows.items()):
        figure.text(504, 112 + 48 * row, name, "soft")
        figure.text(
            504, 132 + 48 * row, f"{value:,.1f}".replace("-", "−") if abs(value) > 0.05 else f"{value:.4f}", "strong"
        )
    print(rows)
    return figure


def recipe() -> Figure:
    """Where trainings spend their noise levels, and what noise on true molecules costs them."""
    figure = Figure(
        680, 330, "Noise levels", "EDM trains little below 0.03 Angstrom; true molecules bear little noise."
    )
    spent = Axes(figure, (44, 62, 290, 214), (0.003, 30), (0, 0.5), log=(True, False))
    spent.frame("share of training, per factor e of noise", (0.003, 0.03, 0.3, 3, 30), (0, 0.25, 0.5), ("σ / α, Å", ""))
    draws = Noise.from_seed(0, torch.arange(400_000))
    exploding = Exploding(0.003, 30.0)
    for schedule, times, colour, name, x in (
        (Polynomial(), PowerTimes(), "a", "EDM", 44),
        (exploding, NoiseMixture(exploding, 0.3, 1.2, 0.0), "c", "coset", 114),
        (exploding, NoiseMixture(exploding), "b", "with more low noise", 198),
    ):
        level = -0.5 * schedule.log_snr(times(draws))
        counts, edges = np.histogram(level.numpy(), 48, (np.log(0.0031), np.log(29)))
        spent.line(np.exp((edges[1:] + edges[:-1]) / 2), counts / len(level) / np.diff(edges), colour)
        figure.line([(x, 18), (x + 24, 18)], colour, 3)
        figure.text(x + 31, 23, name)
    data = open_dataset("qm9-sample")
    molecules = [Molecule(*data.store[row]) for row in range(len(data.store))]
    stable = Axes(figure, (398, 62, 260, 214), (0, 0.06), (0, 100))
    stable.frame(
        "true molecules still stable, %", (0, 0.02, 0.04, 0.06), (0, 50, 100), ("noise on each coordinate, Å", "")
    )
    rates, deviations = [], np.linspace(0, 0.06, 13)
    for deviation in deviations:
        random = np.random.default_rng(0)
        noisy = [
            replace(m, positions=m.positions + deviation * random.normal(size=m.positions.shape)) for m in molecules
        ]
        rates.append(100 * evaluate(noisy, reference=None).rates["molecule_stability"].value)
    stable.line(deviations, rates, "a")
    stable.dots(deviations, rates, "a")
    print(dict(zip(deviations.round(3).tolist(), rates, strict=True)))
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    each.__name__: each
    for each in (
        convention, processes, symmetry, symmetry_model, symmetry_target, symmetry_process, symmetry_data,
        law, noise, batches, likelihood, recipe, learned_noise,
    )
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny, and threads that wait for each other cost more than they bring
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name]().save(FOLDER / f"{name}.svg")
        print(f"{name}.svg", flush=True)


if __name__ == "__main__":
    main()
