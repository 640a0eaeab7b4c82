"""Pairs: noise and the conformers that a trained model makes of it, drawn once and kept on disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from coset.cloud import Cloud
from coset.ensembles.model import ConformerModel, usable
from coset.graphs.geometry import intact
from coset.graphs.graph import collated
from coset.graphs.stereo import Stereo
from coset.noise import Noise
from coset.training.checkpoint import load_tensors, save_tensors
from coset.training.ensemble_source import Source

FOLDER = "pairs"  # in the run's
PART = 256  # molecules of a file, which is what an interruption may cost


@dataclass(frozen=True)
class Pairs:
    """Both ends of many paths.

    ends: noise and conformer beside one another, atom after atom, in Angstrom, centred. counts: pairs of each molecule,
    by its row in the data. first: the first atom of its first pair. left_out: conformers that are not among them, by
    reason.
    """

    ends: Float[Tensor, "a 6"]
    counts: Int[NDArray[np.int64], "m"]
    first: Int[NDArray[np.int64], "m"]
    left_out: Counter[str]

    def cloud(self, source: Source, rows: Int[NDArray[np.int64], "b"], noise: Noise) -> Cloud:
        """A pair of each molecule by chance, where `source` would give one of its conformers."""
        like = collated([source.graphs[row] for row in rows])
        return self.join(like, rows, noise.uniform(dtype=torch.float64).cpu().numpy())

    def join(self, like: Cloud, rows: Int[NDArray[np.int64], "b"], chance: Float[NDArray[np.float64], "b"]) -> Cloud:
        """The pairs that chance, uniform on [0, 1), points at: conformers, with the noise in the condition."""
        assert like.condition is not None
        real = like.mask[..., 0] > 0
        first = self.first[rows] + (chance * self.counts[rows]).astype(np.int64) * real.sum(1).numpy()
        place = torch.as_tensor(first)[:, None] + torch.arange(real.shape[1])
        end, x = (self.ends[torch.where(real, place, 0)] * like.mask).chunk(2, -1)
        return replace(like, x=x, condition=replace(like.condition, end=end))


@dataclass(frozen=True)
class Pairing:
    """What is asked of a teacher: so many conformers (counts) of each of these molecules (rows of the data).

    only_right: no broken ones, and none of the wrong stereo. about: what else tells the files of one pairing from those
    of another.
    """

    teacher: ConformerModel
    source: Source
    rows: Int[NDArray[np.int64], "r"]
    counts: Int[NDArray[np.int64], "r"]
    seed: int
    only_right: bool
    about: Mapping[str, Any]

    def made(self, folder: Path) -> Pairs:
        """From the folder's files; those that it lacks are made now, each whole or not at all.

        Raises ValueError for a file that is damaged, and for one of another teacher, other settings or other molecules.
        """
        for path in folder.glob(".*.tmp"):  # of a process that was killed
            shutil.rmtree(path)
        ends, kept, left_out = [], np.zeros(len(self.source.ensembles), np.int64), Counter[str]()
        for number, first in enumerate(range(0, len(self.rows), PART)):
            part = replace(self, rows=self.rows[first : first + PART], counts=self.counts[first : first + PART])
            tensors, told = part._file(folder / f"{number:05d}.safetensors")
            ends.append(tensors["ends"])
            kept[part.rows] = tensors["kept"].numpy()
            left_out.update(told)
        first_of, atoms = (
            np.zeros(len(self.source.ensembles), np.int64),
            (kept * self.source.ensembles.sizes)[self.rows],
        )
        first_of[self.rows] = np.cumsum(atoms) - atoms
        return Pairs(torch.cat(ends), kept, first_of, left_out)

    def _file(self, path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
        """The pairs of one file, and what was left out of them."""
        about = {
            **self.about, "teacher": self.teacher.key, "seed": self.seed, "only_right": self.only_right,
            "seen_stereo": self.source.seen_stereo, "rows": self.rows.tolist(), "counts": self.counts.tolist(),
        }  # fmt: skip
        if not path.exists():
            tensors, left_out = self._drawn()
            save_tensors(path, tensors, {"about": about, "left_out": left_out})
            return tensors, left_out
        try:
            tensors, state = load_tensors(path)
        except ValueError as error:
            raise ValueError(f"{error}, or remove it to have its pairs made anew") from None
        if state.get("about") != about:
            raise ValueError(
                f"{path} holds pairs of another teacher, other settings or other molecules; remove the folder "
                f"{path.parent} to have them made anew, or start a new run in another folder"
            )
        return tensors, state["left_out"]

    def _drawn(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        owner = np.repeat(np.arange(len(self.rows)), self.counts)
        number = np.concatenate([np.arange(count) for count in self.counts])
        noise = Noise.from_seed(self.seed, torch.as_tensor((self.rows[owner] << 20) + number))
        graphs, process = [self.source.graphs[row] for row in self.rows], self.teacher.diffusion.process
        found: list[NDArray] = [np.zeros(0)] * len(owner)
        for places, like, own in self.teacher.batches(graphs, owner, noise):
            start = process.prior(like).sample(own.fork(0)).x.double().cpu().numpy()  # as samplers.sample begins
            made = self.teacher.draw(like, own)
            for place, ends in zip(places, np.concatenate([start, made], -1), strict=True):
                found[place] = ends[: len(graphs[int(owner[place])].numbers)]
        kept, left_out = [], Counter[str]()
        cuts = np.cumsum(self.counts) - self.counts
        for row, first, count in zip(self.rows, cuts, self.counts, strict=True):
            ends, why = sifted(self.source.molecule(row), np.stack(found[first : first + count]), self.only_right)
            kept.append(ends)
            left_out.update(why)
        ends = torch.from_numpy(np.concatenate([each.reshape(-1, 6) for each in kept])).float()
        return {"ends": ends, "kept": torch.tensor([len(each) for each in kept])}, dict(left_out)


def sifted(
    mol: Chem.Mol, ends: Float[NDArray[np.float64], "k n 6"], only_right: bool
) -> tuple[Float[NDArray[np.float64], "s n 6"], Counter[str]]:
    """Pairs to train on, of k whose noise and conformer are beside one another, and how many are not, by reason.

    only_right: without broken conformers, and of the stereo asked for. Where the mirror image has it, both ends are
    mirrored together: the noise has the same law as its mirror image.
    """
    x = ends[..., 3:]
    fine = np.array([usable(each) for each in x])
    if not only_right:
        return ends[fine], Counter(broken=int((~fine).sum()))
    stereo = Stereo.of(mol)
    mirrored = ~stereo.all_right(x) & stereo.all_right(-x)
    ends = np.where(mirrored[:, None, None], -ends, ends)
    right, whole = stereo.all_right(ends[..., 3:]), fine & intact(mol, x)
    left_out = Counter(broken=int((~whole).sum()), wrong_stereo=int((whole & ~right).sum()))
    return ends[whole & right], left_out
