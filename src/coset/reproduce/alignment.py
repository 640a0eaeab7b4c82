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
from rdkit import Chem
from torch import Tensor

from coset.bonds import to_rdkit
from coset.cloud import Cloud
from coset.codecs.alignment import Aligned
from coset.data.catalog import open_dataset
from coset.files import atomic_write
from coset.interfaces import Frame
from coset.model import Model
from coset.molecule import Molecule, Vocabulary
from coset.noise import Noise
from coset.reproduce.latent_ablation import codec_errors
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.quality_steps import fingerprint
from coset.reproduce.record import Record, heading, markdown_table
from coset.symmetry.frames import HaarFrame, IdentityFrame, PrincipalFrame

NAME = "radm-alignment"
CARBONYL, OXYGEN_RING = Chem.MolFromSmarts("[#6]=[OX1]"), Chem.MolFromSmarts("[#8]1~[#6]~[#6]~[#6]~1")
LARGEST_RING, SHOWN, COLUMNS, APART = 6, 12, 4, 9.0  # atoms; molecules in the picture, a row of it, Angstrom between
COLOURS = {1: "#bbbbbb", 6: "#333333", 7: "#3050f8", 8: "#e02020", 9: "#50b050"}
Vectors = Float[NDArray[np.float64], "k 3"]
MEASURES = {
    "ring_normals": "normals of rings",
    "longest_axes": "longest axes",
    "shortest_axes": "shortest axes",
    "carbonyls": "C=O",
    "oxygen_rings": "to the O of four-membered rings",
}


@dataclass(frozen=True)
class Study:
    """molecules: held out, that are posed."""

    data: str = "qm9-small"
    molecules: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Posed:
    """Held-out molecules, their graphs, and the rings and groups whose directions are measured: rows and atoms."""

    clean: Cloud
    molecules: list[Molecule]
    graphs: list[Chem.Mol]
    rings: list[tuple[int, tuple[int, ...]]]
    carbonyls: list[tuple[int, tuple[int, ...]]]
    oxygen_rings: list[tuple[int, tuple[int, ...]]]

    @classmethod
    def of(cls, study: Study) -> Posed:
        dataset = open_dataset(study.data)
        rows = (dataset.test if len(dataset.test) else dataset.valid)[: study.molecules]
        vocabulary = Vocabulary(dataset.vocabulary)
        clean = vocabulary.cloud(*dataset.store.collate(rows)).to(torch.float64).center()
        molecules = vocabulary.molecules(clean)
        graphs = [to_rdkit(molecule) for molecule in molecules]
        rings = [
            (row, ring)
            for row, graph in enumerate(graphs)
            for ring in graph.GetRingInfo().AtomRings()
            if len(ring) <= LARGEST_RING
        ]
        return cls(clean, molecules, graphs, rings, _matches(graphs, CARBONYL), _matches(graphs, OXYGEN_RING))


def _matches(graphs: Sequence[Chem.Mol], query: Chem.Mol) -> list[tuple[int, tuple[int, ...]]]:
    return [(row, atoms) for row, graph in enumerate(graphs) for atoms in graph.GetSubstructMatches(query)]


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
        "as in the data": IdentityFrame(),
        "random": HaarFrame(reflections=False),
        "principal axes": PrincipalFrame(random=False),
        **{name: frame_of(model) for name, model in models.items()},
    }
    held_out = Posed.of(study)
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


def order(held_out: Posed, turns: Float[Tensor, "b 3 3"]) -> dict[str, float]:
    """How alike directions are: 0 for directions by chance, 1 where all are one.

    Axes, which have no sign, by the order parameter of liquid crystals, (3 lambda - 1) / 2 with lambda the largest
    eigenvalue of the mean of n n^T; directions by the length of their mean.
    """
    x = held_out.clean.rotate(turns.mT).x.numpy()
    mask = held_out.clean.mask[..., 0].numpy()
    axes = np.linalg.eigh(np.einsum("bni,bnj,bn->bij", x, x, mask))[1]
    rings = (x[row, list(ring)] for row, ring in held_out.rings)
    normals = np.array([np.linalg.svd(ring - ring.mean(0))[2][2] for ring in rings])
    carbonyls = np.array([x[row, oxygen] - x[row, carbon] for row, (carbon, oxygen) in held_out.carbonyls])
    oxygen_rings = np.array([x[row, ring[0]] - x[row, list(ring)].mean(0) for row, ring in held_out.oxygen_rings])
    return {
        "ring_normals": nematic(normals),
        "longest_axes": nematic(axes[:, :, 2]),
        "shortest_axes": nematic(axes[:, :, 0]),
        "carbonyls": polar(carbonyls),
        "oxygen_rings": polar(oxygen_rings),
    }


def nematic(axes: Vectors) -> float:
    """Of unit vectors up to their sign."""
    return float(1.5 * np.linalg.eigvalsh(np.einsum("ki,kj->ij", axes, axes) / len(axes))[-1] - 0.5)


def polar(directions: Vectors) -> float:
    """Of vectors of any length."""
    return float(np.linalg.norm((directions / np.linalg.norm(directions, axis=1, keepdims=True)).mean(0)))


def _report(record: Record, study: Study, held_out: Posed, poses: Mapping[str, Tensor]) -> None:
    text = heading(
        record,
        f"{len(held_out.molecules):,} held-out molecules: {len(held_out.rings):,} rings, {len(held_out.carbonyls):,} "
        f"carbonyls, {len(held_out.oxygen_rings):,} four-membered rings with oxygen",
        str(study.seed),
        study.data,
    )
    headings = ["pose", *MEASURES.values(), "turned apart (degrees)", "reconstruction (Angstrom)"]
    lines = [_line(name, record.rows[name]) for name in poses]
    shown = save_figure(record.folder / "figure.svg", lambda axes: _figure(axes, held_out, poses, record), panels=3)
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table(headings, lines) + NOTES)
        picture = "![Twelve molecules before and after, and order by pose](figure.svg)"
        file.write(f"\n{picture}\n" if shown else f"\n{NO_PLOT}.\n")


NOTES = """
Order: 0 where directions are as by chance, 1 where all are the same; axes without a sign by (3 lambda - 1) / 2, C=O and
rings with oxygen by the length of the mean direction. Turned apart: median angle between where one molecule comes to
lie from two random poses, 0 for a canonical pose and 132 for none. Reconstruction: r.m.s. displacement of an atom on
the way through the autoencoder and back.
"""


def _line(name: str, row: Mapping[str, Any]) -> list[str]:
    errors = "" if row["codec"] is None else f"{row['codec']['rmsd']:.3f}"
    return [name, *(f"{row[measure]:.2f}" for measure in MEASURES), f"{row['turned']:.0f}", errors]


def _figure(axes: Sequence[Any], held_out: Posed, poses: Mapping[str, Tensor], record: Record) -> None:
    """Molecules with a four-membered ring that holds oxygen, in random poses and in the last one; order by pose."""
    rows = list(dict.fromkeys(row for row, _ in held_out.oxygen_rings))[:SHOWN]
    for axis, name in zip(axes[:2], ("random", list(poses)[-1]), strict=True):
        x = held_out.clean.rotate(poses[name].mT).x.numpy()
        for place, row in enumerate(rows):
            _draw(axis, held_out, row, x[row], np.array([place % COLUMNS, -(place // COLUMNS)]) * APART)
        axis.set(title=name, aspect="equal", xticks=[], yticks=[])
    width = 0.8 / len(poses)
    for number, name in enumerate(poses):
        values = [record.rows[name][measure] for measure in MEASURES]
        axes[2].bar(np.arange(len(values)) + number * width, values, width, label=name)
    axes[2].set_xticks(np.arange(len(MEASURES)) + 0.4, [*MEASURES.values()], rotation=30, ha="right", fontsize=7)
    axes[2].set(ylabel="order", ylim=(0, 1))
    axes[2].legend(fontsize=6)


def _draw(axis: Any, held_out: Posed, row: int, x: NDArray, at: NDArray) -> None:
    flat = x[:, :2] + at
    for bond in held_out.graphs[row].GetBonds():
        ends = [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]
        axis.plot(*flat[ends].T, color="#999999", linewidth=0.8, zorder=1)
    numbers = held_out.molecules[row].numbers
    axis.scatter(*flat[: len(numbers)].T, s=7, c=[COLOURS.get(int(number), "#a040a0") for number in numbers], zorder=2)
