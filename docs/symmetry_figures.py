"""The figures of the page on symmetry: where it can sit, and one computation for each of the four places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from drawing import ELEMENTS, Figure
from fitting import fit
from numpy.typing import NDArray

from coset.bonds import bond_orders
from coset.cloud import Cloud
from coset.codecs.features import Features
from coset.data import open_dataset
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser, Draw, Network
from coset.molecule import QM9
from coset.networks.dit import DiT
from coset.networks.egnn import EGNN
from coset.networks.outputs import FromClean
from coset.noise import Noise
from coset.objectives.denoising import Denoising
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Polynomial
from coset.symmetry.augmentation import random_rotation
from coset.symmetry.estimators import HaarDraws
from coset.symmetry.frames import HaarFrame, PrincipalFrame
from coset.symmetry.groups import Rotations
from coset.symmetry.symmetrised import Symmetrised
from coset.symmetry.targets import OrbitMean, exact, plain

ROW = 11  # of the packaged molecules: ten atoms, nearly in a plane and without a symmetry of its own


def symmetry() -> Figure:
    """Where in the loop symmetry can sit; drawn by hand."""
    figure = Figure(680, 356, "Four places for symmetry", "Data, process, model and target, each a place for symmetry.")
    figure.box(12, 110, 120, 64, ["data", "x0"])
    figure.box(190, 110, 130, 64, ["process", "q(zₜ | x0)"])
    figure.box(378, 110, 130, 64, ["model", "D(zₜ, t)"])
    figure.box(560, 110, 108, 64, ["loss", "|x0* − D|²"])
    figure.box(378, 236, 290, 46, ["target x0*", "what D is compared with"])
    for x0, x1 in ((132, 188), (320, 376), (508, 558)):
        figure.arrow(f"M{x0} 142H{x1}")
    figure.arrow("M72 174V259H376")
    figure.arrow("M614 236V176")
    notes = [
        (72, 46, "DATA", ["random rotations: now", "aligned latents: not yet"]),
        (255, 46, "PROCESS", ["isotropic noise: now", "learned, turning: now"]),
        (443, 46, "MODEL", ["equivariant network: now", "poses, drawn or learned: now"]),
        (523, 308, "TARGET", ["the molecule itself: now", "its mean over a group: now"]),
    ]
    for x, y, name, lines in notes:
        figure.text(x, y, name, "mid strong", style="fill:var(--b)", letter_spacing=1)
        for number, words in enumerate(lines, start=1):
            figure.text(x, y + 19 * number, words, "mid soft")
    return figure


def symmetry_model() -> Figure:
    """What three networks, each fitted to one molecule, make of it in four poses."""
    clean, numbers, shape = example()
    schedule = Cosine()
    process, t = Affine(schedule), torch.full((1,), 0.3, dtype=torch.float64)
    networks: dict[str, tuple[Callable[[], Network], Callable[[Denoiser], Denoiser]]] = {
        "bare": (_transformer, lambda denoiser: denoiser),
        "random poses": (_transformer, lambda denoiser: Symmetrised(denoiser, HaarFrame())),
        "equivariant": (lambda: EGNN(6, width=32, depth=3), lambda denoiser: denoiser),
    }
    denoisers = {}
    for name, (network, wrap) in networks.items():
        torch.manual_seed(0)
        denoisers[name] = _fitted(wrap(FromClean(network())), process, clean, float(t))
    z = process.noised(clean, t).at(standard_normal(clean, Noise.from_seed(3, torch.arange(1)), process.subspace))
    turns = [_turn(angle) for angle in (0, 75, 160, 250)]
    about = "The bare network's output changes its shape with the pose; the others' outputs turn with it."
    figure = Figure(680, 534, "Three networks, four poses", about)
    columns = [218 + 130 * number for number in range(4)]
    figure.text(0, 62, "noisy molecule", "strong")
    figure.text(0, 80, "turned by 0°, 75°,", "soft")
    figure.text(0, 96, "160° and 250°", "soft")
    for x, turn in zip(columns, turns, strict=True):
        figure.molecule((x, 66), numbers, z.rotate(turn).x[0].numpy(), 18, bonded=shape)
    figure.add("path", "axis", d="M0 132H680")
    for row, (name, denoiser) in enumerate(denoisers.items()):
        y, draws = 198 + 132 * row, 64 if name == "random poses" else 1
        outputs = [_outputs(denoiser, z.rotate(turn), t, draws) for turn in turns]
        for x, output in zip(columns, outputs, strict=True):
            size = 0.3 if draws > 1 else 1.0
            figure.molecule((x, y), numbers, output.mean(0).numpy(), 18, bonded=shape, size=size)
            if draws > 1:
                _haze(figure, (x, y), numbers, output.numpy(), 18, width=2.4)
        back = [output.mean(0) @ turn[0] for output, turn in zip(outputs, turns, strict=True)]
        single = [output[0] @ turn[0] for output, turn in zip(outputs, turns, strict=True)]
        _words(figure, y - 34, name, _apart(single), _apart(back) if draws > 1 else None)
    return figure


def _words(figure: Figure, y: float, name: str, single: float, mean: float | None) -> None:
    print(name, single, mean)
    titles = {"bare": "bare network", "random poses": "in random poses", "equivariant": "equivariant network"}
    figure.text(0, y, titles[name], "strong")
    figure.text(0, y + 20, "turned back, apart by", "soft")
    figure.text(0, y + 37, f"{single:.2f} Å" if single > 1e-3 else "less than 0.00001 Å", "soft")
    if mean is not None:
        figure.text(0, y + 54, f"mean of 64 draws: {mean:.2f} Å", "soft")
    assert single > 1e-3 or single < 1e-5


def _transformer() -> Network:
    return DiT(6, width=48, depth=2, heads=4, kernels=16)


def _fitted(denoiser: Denoiser, process: Affine, clean: Cloud, t: float, steps: int = 400, batch: int = 32) -> Denoiser:
    """Trained at one level of noise on one molecule in one pose."""
    loss = Denoising(lambda t: torch.ones_like(t), plain, lambda noise: torch.full((len(noise.seeds),), t).double())
    many = repeated(clean, batch)
    fit(denoiser, lambda noise: loss(process, denoiser, many, noise), steps, batch)
    return denoiser


@torch.no_grad()
def _outputs(denoiser: Denoiser, z: Cloud, t: torch.Tensor, draws: int) -> torch.Tensor:
    """Positions (draws, n, 3) of calls that differ in their noise alone."""
    return denoiser(repeated(z, draws), t.expand(draws), Noise.from_seed(1, torch.arange(draws))).x


def _apart(poses: list[torch.Tensor]) -> float:
    """Root mean square over atoms of the distance from the first to the others."""
    away = torch.stack(poses[1:]) - poses[0]
    return float(away.square().sum(-1).mean().sqrt())


def symmetry_target() -> Figure:
    """A noisy molecule at three levels of noise, and what three targets compare the estimate with."""
    clean, numbers, shape = example()
    schedule, count = Polynomial(), 400
    process, many = Affine(schedule), repeated(clean, count)
    about = "At high noise the exact mean is a blob, at low noise the molecule; Haar draws then miss it."
    figure = Figure(680, 500, "Three targets, three levels of noise", about)
    columns = {"noisy molecule z": 140, "plain: x0": 290, "64 Haar draws": 440, "exact mean": 590}
    for name, x in columns.items():
        figure.text(x, 20, name, "mid strong")
    for row, (words, alpha) in enumerate({"high noise": 0.05, "middle": 0.7, "low noise": 0.98}.items()):
        ratio = torch.tensor([alpha**2 / (1 - alpha**2)], dtype=torch.float64)
        noise = Noise.from_seed(2, torch.arange(count))
        t, eps = schedule.time(ratio.log()).expand(count), standard_normal(many, noise, process.subspace)
        draw = Draw(many, eps, process.noised(many, t).at(eps), t, noise.fork(1))
        targets = [plain] + [OrbitMean(Rotations(), estimator) for estimator in (HaarDraws(64), exact)]
        shown = [draw.z.x, *(target(process, draw).x for target in targets)]
        y = 98 + 160 * row
        figure.text(0, y - 6, words, "strong")
        figure.text(0, y + 13, f"σ = {(1 - alpha**2) ** 0.5:.2f} Å", "soft")
        for number, (x, positions) in enumerate(zip(columns.values(), shown, strict=True)):
            if number > 1:
                _skeleton(figure, (x, y), numbers, shape, 21)
            figure.molecule((x, y), numbers, positions[0].numpy(), 21, bonded=shape)
            away = float((positions - shown[-1]).square().sum(-1).mean().sqrt())
            if number:
                figure.text(x, y + 72, f"{away:.2f} Å away" if number < 3 else "E[g x0 | z]", "soft mid")
            print(words, number, away)
    return figure


def symmetry_process() -> Figure:
    """A schematic: isotropic noise, and ellipsoids that turn with the molecule, from the formulas of END."""
    _, numbers, shape = example()
    times, size = (0.25, 0.5, 0.75, 1.0), 25
    about = "Isotropic noise is a sphere an atom; learned noise turns with the molecule."
    figure = Figure(680, 520, "Noise that follows the molecule", about)
    figure.text(0, 26, "the two lower rows are a schematic: matrices made by hand", "strong", style="fill:var(--b)")
    for number, t in enumerate(times):
        figure.text(235 + 128 * number, 56, f"t = {t}", "mid soft")
    turned = shape @ _turn(70)[0].numpy().T
    rows = [("isotropic", "one scale for all", shape), ("equivariant", "U = σI + t(1−t)M/100", shape)]
    rows += [("the same, turned", "the ellipses turn along", turned)]
    for row, (name, words, x) in enumerate(rows):
        y = 128 + 150 * row
        figure.text(0, y - 6, name, "strong")
        figure.text(0, y + 14, words, "soft")
        for number, t in enumerate(times):
            at = (235 + 128 * number, y)
            scales = np.broadcast_to(t * np.eye(3), (len(x), 3, 3)) if row == 0 else _shaped(x, numbers, t)
            place = np.array(at) + size * (1 - t) * x[:, :2] * [1, -1]
            for centre, scale in zip(place, scales, strict=True):
                _ellipse(figure, centre, scale, size)
            figure.molecule(at, numbers, (1 - t) * x, size, bonded=x, size=0.4)
    return figure


def _shaped(x: NDArray, numbers: NDArray, t: float) -> NDArray:
    """U_i = sigma I + t (1 - t) M_i / 100 with sigma = 0.01^(1 - t), and M_i made by hand from directions of bonds.

    M_i is a sum of d d^T over the bonds: it turns on both sides, so that the covariance U U^T turns with the molecule.
    """
    bonds = bond_orders(numbers[None], x[None])[0] > 0
    directions = x[:, None] - x[None]
    directions = directions / (np.linalg.norm(directions, axis=-1, keepdims=True) + np.eye(len(x))[..., None])
    made = 160 * np.einsum("ij,ija,ijb->iab", bonds / bonds.sum(1, keepdims=True), directions, directions)
    return 0.01 ** (1 - t) * np.eye(3) + t * (1 - t) * made / 100


def _ellipse(figure: Figure, at: NDArray, scale: NDArray, size: float) -> None:
    """One standard deviation of the noise, seen along the last axis."""
    values, vectors = np.linalg.eigh((scale @ scale.T)[:2, :2])
    wide, narrow = size * np.sqrt(values[::-1])
    angle = -np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    figure.add(
        "ellipse", rx=wide, ry=narrow, transform=f"translate({at[0]:.1f} {at[1]:.1f}) rotate({angle:.0f})",
        style="fill:var(--a);fill-opacity:.13;stroke:var(--a);stroke-opacity:.6",
    )  # fmt: skip


def symmetry_data() -> Figure:
    """Packaged molecules as they lie, turned at random and in their principal axes; at the right 100 at once."""
    store = open_dataset("qm9-sample").store
    rows = np.arange(0, 2000, 20)
    many = QM9.cloud(*store.collate(rows)).center()
    t, noise = torch.zeros(len(many)), Noise.from_seed(0, torch.arange(len(many)))
    cases = {
        "as they lie": many,
        "turned at random": random_rotation(many, noise),
        "in principal axes": many.rotate(PrincipalFrame(random=False)(many, t).mT),
    }
    words = [("QM9's own poses:", "chosen by a program"), ("recipes dit_aug,", "gdm_aug")]
    words += [("what the network of", "recipe dit_pca sees")]
    about = "The data's own poses prefer a direction; random ones none; in principal axes all lie along one."
    figure = Figure(680, 506, "Poses of the data", about)
    figure.text(600, 20, "100 molecules", "mid strong")
    for row, (name, cloud) in enumerate(cases.items()):
        y = 100 + 160 * row
        figure.text(0, y - 24, name, "strong")
        for number, each in enumerate(words[row]):
            figure.text(0, y - 3 + 18 * number, each, "soft")
        for number, place in enumerate((26, 58, 71)):
            molecule = QM9.molecules(cloud)[place]
            figure.molecule((206 + 117 * number, y), molecule.numbers, molecule.positions[:, [2, 1, 0]], 13.5)
        heavy = (cloud.mask[..., 0] > 0) & (cloud.h[..., 0] < 0.5)
        x = cloud.x[heavy].numpy()
        spread = np.sqrt((x**2).mean(0))
        print(name, spread)
        _haze(figure, (600, y), np.full(len(x), 6), x[None, :, [2, 1, 0]], 15, width=2.2)
        figure.text(600, y + 80, f"spread {spread[2]:.1f} by {spread[1]:.1f} Å", "soft mid")
    return figure


def example() -> tuple[Cloud, NDArray, NDArray]:
    """The molecule that is followed: as the networks see it, its atomic numbers and positions, widest side in view."""
    clean = QM9.cloud(*open_dataset("qm9-sample").store.collate(np.array([ROW]))).center()
    axes = PrincipalFrame(random=False)(clean, torch.zeros(1))[..., [2, 1, 0]]
    clean = clean.rotate(axes.mT)
    numbers = QM9.molecules(clean)[0].numbers
    encoded = Features(types=5, std=0.001).encode(clean)
    return encoded, numbers, encoded.x[0].double().numpy()


def repeated(cloud: Cloud, count: int) -> Cloud:
    return Cloud(*(value.repeat(count, 1, 1) for value in (cloud.x, cloud.h, cloud.mask)))


def _turn(degrees: float) -> torch.Tensor:
    """A rotation in the plane of the page."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return torch.tensor([[[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]], dtype=torch.float32)


def _haze(
    figure: Figure, at: tuple[float, float], numbers: NDArray, x: NDArray, scale: float, width: float = 3
) -> None:
    """Many positions (k, n, 3) of atoms as dots, one path a colour."""
    place = np.array(at) + scale * x[..., :2] * [1, -1]
    for number in np.unique(numbers):
        dots = place[:, numbers == number].reshape(-1, 2)
        colour = {1: "var(--soft)", 6: "var(--ink)"}.get(int(number), ELEMENTS[int(number)][0])
        figure.add(
            "path", d="".join(f"M{a:.1f} {b:.1f}h0" for a, b in dots), stroke_width=width, stroke_linecap="round",
            style=f"stroke:{colour};stroke-opacity:.45",
        )  # fmt: skip


def _skeleton(figure: Figure, at: tuple[float, float], numbers: NDArray, shape: NDArray, scale: float) -> None:
    """The clean molecule's bonds in its own pose, thin."""
    place = np.array(at) + scale * shape[:, :2] * [1, -1]
    for i, j in zip(*np.nonzero(np.tril(bond_orders(numbers[None], shape[None])[0])), strict=True):
        figure.line([tuple(place[i]), tuple(place[j])], "b", 1.2)
