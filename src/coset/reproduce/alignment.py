"""Alignment: do molecules lie alike in a pose that was learned, and does one molecule always lie the same way?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from coset.cloud import Cloud
from coset.codecs.alignment import Aligned
from coset.data.catalog import open_dataset
from coset.files import atomic_write
from coset.interfaces import Frame
from coset.model import Model
from coset.noise import Noise
from coset.reproduce.directions import MEASURES, POLAR, Posed, directions, order
from coset.reproduce.latent_ablation import codec_errors
from coset.reproduce.picture import Ball, Spread, draw_directions, draw_molecules
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.quality_steps import fingerprint
from coset.reproduce.record import Record, heading, markdown_table
from coset.symmetry.frames import HaarFrame, IdentityFrame, PrincipalFrame

NAME = "radm-alignment"
SHOWN, COLUMNS = 12, 4  # molecules in a picture, and in a row of it
BEFORE = "as in the data"
SPREAD = {"ring_normals": "#2f6db3", "longest_axes": "#c27c0e", "oxygen_rings": "#c0392b"}


@dataclass(frozen=True)
class Study:
    """molecules: held out, that are posed."""

    data: str = "qm9-small"
    molecules: int = 2000
    seed: int = 0


def run(study: Study, models: Mapping[str, Model], folder: Path) -> Record:
    """Poses held-out molecules as the data, chance, principal axes and each model have them, and writes the report.

    Raises ValueError for models without a pose, and where the folder holds the rows of another study or other models.
    """
    for name, model in models.items():
        if not isinstance(model.diffusion.codec, Aligned):
            raise ValueError(f"{name} is of recipe {model.card['recipe']}, which has no pose; give a latent model")
    about = {"models": {name: fingerprint(model) for name, model in models.items()}, **asdict(study)}
    record, dataset = Record.open(NAME, folder, about), open_dataset(study.data)
    frames: dict[str, Frame] = {
        BEFORE: IdentityFrame(),
        "random": HaarFrame(reflections=False),
        "principal axes": PrincipalFrame(random=False),
        **{name: frame_of(model) for name, model in models.items()},
    }
    held_out = Posed.of(dataset, study.molecules)
    poses = {name: pose(held_out.clean, frame, study.seed) for name, frame in frames.items()}
    for name, frame in frames.items():
        errors = codec_errors(models[name], dataset) if name in models else None
        found = {"turned": turned_apart(held_out.clean, frame, study.seed), "codec": errors}
        record.add(name, order(held_out, poses[name]) | found)
    _report(record, study, held_out, poses)
    return record


def frame_of(model: Model) -> Frame:
    """The pose before a latent model's autoencoder."""
    codec = model.diffusion.codec
    assert isinstance(codec, Aligned)
    return codec.frame


@torch.no_grad()
def pose(clean: Cloud, frame: Frame, seed: int) -> Float[Tensor, "b 3 3"]:
    """R of each molecule, which lies as R^T x in its pose."""
    noise = Noise.from_seed(seed, torch.arange(len(clean)))
    return frame(clean, clean.x.new_zeros(len(clean)), noise).double()


def turned_apart(clean: Cloud, frame: Frame, seed: int) -> float:
    """Median angle in degrees between where one molecule ends from two random poses; 0 where the pose is canonical."""
    ends = []
    for draw in (1, 2):
        # Of seeds of its own: a random frame of the same seed would undo the turn.
        turn = pose(clean, HaarFrame(reflections=False), seed + 1000 + draw)
        # The molecule Q x comes to lie as R(Q x)^T Q x: the whole turn from x is R^T Q.
        ends.append(pose(clean.rotate(turn), frame, seed + draw).mT @ turn)
    return float(np.median(np.degrees(roma.rotmat_geodesic_distance(*ends).numpy())))


def _report(record: Record, study: Study, held_out: Posed, poses: Mapping[str, Tensor]) -> None:
    text = heading(
        record,
        f"{len(held_out.molecules):,} held-out molecules: {len(held_out.rings):,} rings, {len(held_out.carbonyls):,} "
        f"carbonyls, {len(held_out.oxygen_rings):,} four-membered rings with oxygen",
        str(study.seed),
        study.data,
    )
    headings = ["pose", *MEASURES.values(), "turned apart (degrees)", "reconstruction (Angstrom)", "types right %"]
    lines = [_line(name, record.rows[name]) for name in poses]
    shown = save_figure(
        record.folder / "figure.svg", lambda axes: _figure(axes, held_out, poses, record), panels=3, rows=2
    )
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, lines) + NOTES)
        picture = "![Twelve molecules before and after, spread of directions, and order by pose](figure.svg)"
        file.write(f"\n{picture}\n" if shown else f"\n{NO_PLOT}.\n")


NOTES = """
Order: 0 where directions are as by chance, 1 where all are the same; axes without a sign by (3 lambda - 1) / 2, C=O and
rings with oxygen by the length of the mean direction. Turned apart: median angle between where one molecule comes to
lie from two random poses, 0 for a canonical pose and 132 for none. Reconstruction: r.m.s. displacement of an atom on
the way through the autoencoder and back, and types that are right behind it. Figure: molecules with a four-membered
ring that holds oxygen (orange) in three poses, seen aslant; directions on half a sphere, hollow where they point away.
"""


def _line(name: str, row: Mapping[str, Any]) -> list[str]:
    coded = row["codec"]
    errors = ["", ""] if coded is None else [f"{coded['rmsd']:.3f}", f"{100 * coded['types']:.2f}"]
    return [name, *(f"{row[measure]:.2f}" for measure in MEASURES), f"{row['turned']:.0f}", *errors]


def _figure(axes: Sequence[Any], held_out: Posed, poses: Mapping[str, Tensor], record: Record) -> None:
    """Above, molecules of one scaffold in three poses; below, directions before and after, and order by pose."""
    last = list(poses)[-1]
    rings = dict(reversed(held_out.oxygen_rings))  # the first of each molecule
    for axis, name in zip(axes[:3], (BEFORE, "random", last), strict=True):
        x = held_out.clean.rotate(poses[name].mT).x.numpy()
        draw_molecules(axis, [_ball(held_out, row, x[row], rings[row]) for row in sorted(rings)[:SHOWN]], COLUMNS)
        axis.set(title=name)
    for axis, name in zip(axes[3:5], (BEFORE, last), strict=True):
        found = directions(held_out, poses[name])
        draw_directions(axis, [Spread(MEASURES[key], found[key], SPREAD[key], key in POLAR) for key in SPREAD])
        axis.set(title=f"directions, {name}")
    width = 0.8 / len(poses)
    for number, name in enumerate(poses):
        values = [record.rows[name][measure] for measure in MEASURES]
        axes[5].bar(np.arange(len(values)) + number * width, values, width, label=name)
    axes[5].set_xticks(np.arange(len(MEASURES)) + 0.4, [*MEASURES.values()], rotation=30, ha="right", fontsize=7)
    axes[5].set(ylabel="order", ylim=(0, 1))
    axes[5].legend(fontsize=6)


def _ball(held_out: Posed, row: int, x: NDArray, ring: tuple[int, ...]) -> Ball:
    numbers = held_out.molecules[row].numbers
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in held_out.graphs[row].GetBonds()]
    return Ball(numbers, x[: len(numbers)], bonds, frozenset(ring))
