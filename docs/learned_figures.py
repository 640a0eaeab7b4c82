"""The figure of learned noise: paths of a molecule's noisy clouds, by a schedule and by a network fitted to it."""

from __future__ import annotations

import numpy as np
import torch
from drawing import Axes, Figure
from fitting import fit
from symmetry_figures import example, repeated

from coset.cloud import Cloud
from coset.gaussian import standard_normal
from coset.noise import Noise
from coset.processes.neural import Neural
from coset.processes.transforms import Fixed, Transform
from coset.recipes.registry import build, find_recipe

TIMES = np.linspace(0, 1, 41)


def learned_noise() -> Figure:
    """Where a molecule's noisy cloud goes with its noise held fixed, and how wide it is."""
    clean, numbers, _ = example()
    torch.manual_seed(0)
    learned = _fitted(clean)
    transforms: dict[str, Transform] = {"a": Fixed(learned.schedule), "c": learned}
    words = {"a": ("by the schedule", "nothing is learned"), "c": ("learned", "600 steps on this molecule")}
    about = "Paths of the schedule bend where they meet the noise; learned ones run straighter."
    figure = Figure(680, 326, "Paths of a molecule into noise", about)
    for number, (colour, transform) in enumerate(transforms.items()):
        at = (122 + 232 * number, 182)
        figure.text(at[0], 30, words[colour][0], "mid strong", style=f"fill:var(--{colour})")
        figure.text(at[0], 49, words[colour][1], "mid soft")
        path = _path(transform, clean)
        for atom, kind in enumerate(numbers):
            place = np.array(at) + 38 * path[:, atom, :2] * [1, -1]
            shade = {1: "soft", 6: "ink"}.get(int(kind), "b")
            figure.line([tuple(point) for point in place], shade, 1.4)
            for x, y in place[::10].tolist():
                figure.dot(x, y, shade, 2.2)
        figure.molecule(at, numbers, path[0], 38, size=0.5)
    scales = Axes(figure, (520, 66, 140, 206), (0, 1), (0, 1))
    scales.frame("noise, Å", (0, 0.5, 1), (0, 0.5, 1), ("t", ""))
    for colour, transform in transforms.items():
        scales.line(TIMES, _scale(transform, clean), colour)
    return figure


def _fitted(clean: Cloud, steps: int = 600, batch: int = 32) -> Transform:
    """END's transform, trained on one molecule."""
    model = build("end", find_recipe("end").resolve({"width": 32, "vector_width": 16, "edge_width": 16, "depth": 2}), 5)
    many = repeated(Cloud(clean.x, clean.h[..., :5], clean.mask), batch)
    fit(model, lambda noise: model.objective(model.process, model.denoiser, many, noise), steps, batch)
    assert isinstance(model.process, Neural)
    return model.process.transform


@torch.no_grad()
def _path(transform: Transform, clean: Cloud) -> np.ndarray:
    """Positions (times, atoms, 3) of F(eps, t, x) for one eps."""
    x0 = Cloud(clean.x, clean.h[..., :5], clean.mask)
    eps = standard_normal(x0, Noise.from_seed(5, torch.arange(1)), transform.subspace)
    return torch.cat([transform(x0, torch.tensor([t])).at(eps).x for t in TIMES.tolist()]).numpy()


@torch.no_grad()
def _scale(transform: Transform, clean: Cloud) -> np.ndarray:
    """Root mean square of the noise of a coordinate, over atoms and directions."""
    x0 = Cloud(clean.x, clean.h[..., :5], clean.mask)
    many, noise = repeated(x0, 256), Noise.from_seed(0, torch.arange(256))
    eps = standard_normal(many, noise, transform.subspace)
    found = []
    for t in TIMES.tolist():
        marginal = transform(many, torch.full((256,), t))
        found.append(float((marginal.at(eps).x - marginal.mean.x).square().mean().sqrt()))
    degrees = 1 - 1 / float(x0.count)  # centred noise has fewer
    return np.array(found) / degrees**0.5
