"""The figures of noise along a process: schedules, terms of the bound, and the levels that trainings spend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from drawing import Axes, Figure

import coset
from coset.data import open_dataset
from coset.metrics.evaluate import evaluate
from coset.molecule import QM9, Molecule
from coset.noise import Noise
from coset.objectives.bound import Bound
from coset.objectives.composed import NoiseMixture
from coset.objectives.denoising import PowerTimes
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.samplers.grids import power_grid


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
