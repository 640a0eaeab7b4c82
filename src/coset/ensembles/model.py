"""The learned method: a trained diffusion that draws a molecule's positions from its graph."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from rdkit import Chem

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.ensembles.methods import Method
from coset.graphs.graph import Graph, collated, graph_of
from coset.model_files import CONFORMERS, fill, read_model, save_model, unfit
from coset.molecule import FARTHEST
from coset.noise import Noise
from coset.recipes.conformer_settings import Ensembled
from coset.recipes.registry import build, find_recipe
from coset.samplers.batches import by_size
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample
from coset.samplers.solvers import SOLVERS
from coset.training.checkpoint import tensor_crc

TOKENS = {"cpu": 512, "cuda": 32_768}  # padded atoms of a batch
BEYOND = 1.5  # times the largest molecule of the training data: what is larger is refused
MOST_STEPS = 1000


@dataclass(frozen=True)
class Drawing:
    """How conformers are drawn. steps: network calls a conformer. grid_power: above 1, the last steps are shorter.
    eta: randomness of the chain, 0 the probability flow. solver: as in `samplers.solvers`; heun calls twice a step."""

    steps: int = 25
    grid_power: float = 1.0
    eta: float = 0.0
    solver: str = "ancestral"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps must lie between 1 and {MOST_STEPS:,}; got {self.steps}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1] (0 deterministic, 1 ancestral); got {self.eta}")
        if not self.grid_power > 0:
            raise ValueError(f"grid_power must be above 0; got {self.grid_power}")
        if self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; choose one of {', '.join(SOLVERS)}")


class ConformerModel(Method):
    """A diffusion over positions, its card, and how it draws (as the card recommends, by default).

    seconds: for a molecule, after which no other batch is drawn for it.
    """

    def __init__(
        self, diffusion: Diffusion, card: dict[str, Any], drawing: Drawing | None = None, seconds: float = math.inf
    ) -> None:
        self.diffusion, self.card, self.seconds = diffusion, card, seconds
        self.drawing = drawing or Drawing(**card.get("drawing", {}))

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.card["name"]

    @property
    def key(self) -> str:
        """Differs for other weights and other drawing."""
        found = zlib.crc32(f"{self.name} {self.drawing}".encode())
        for parameter in self.diffusion.parameters():
            found = tensor_crc(parameter, found)
        return f"{self.name}-{found:08x}"

    def having(self, **options: Any) -> ConformerModel:
        """The same model with some options of `Drawing` changed."""
        return ConformerModel(self.diffusion, self.card, replace(self.drawing, **options), self.seconds)

    def within(self, seconds: float) -> ConformerModel:
        return ConformerModel(self.diffusion, self.card, self.drawing, seconds)

    def refusal(self, mol: Chem.Mol) -> str | None:
        """A sentence for elements that the training data lacks, and for much larger molecules than it has."""
        known = set(self.card["elements"])
        strange = sorted({atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum() not in known})
        if strange:
            return f"the model {self.name} has never seen {', '.join(strange)}"
        most = int(BEYOND * self.card["largest"])
        if mol.GetNumAtoms() > most:
            return (
                f"{mol.GetNumAtoms()} atoms are more than the {most} that the model {self.name} is used for (its "
                f"training molecules have up to {self.card['largest']})"
            )
        return None

    def positions(
        self, mols: Sequence[Chem.Mol], counts: Sequence[int], seeds: Sequence[int]
    ) -> list[Float[NDArray[np.float64], "k n 3"]]:
        """Angstrom, centred. Conformers that come out non-finite are left out. Stereo is not looked at."""
        return self.of_graphs([graph_of(mol, limit=1) for mol in mols], counts, seeds)

    @torch.no_grad()
    def of_graphs(
        self, graphs: Sequence[Graph], counts: Sequence[int], seeds: Sequence[int]
    ) -> list[Float[NDArray[np.float64], "k n 3"]]:
        """As `positions`."""
        owner = np.repeat(np.arange(len(graphs)), counts)
        keys = [Noise.from_seed(seed, torch.arange(count)).seeds for seed, count in zip(seeds, counts, strict=True)]
        seeds_of = torch.cat([*keys, torch.zeros(0, dtype=torch.int64)])
        found: list[list[NDArray]] = [[] for _ in graphs]
        spent = np.zeros(len(graphs))
        for rows, like, noise in self.batches(graphs, owner, Noise(seeds_of)):
            if (spent[owner[rows]] >= self.seconds).all():
                continue
            begun = time.monotonic()
            for i, positions in zip(owner[rows].tolist(), self.draw(like, noise), strict=True):
                mine = positions[: len(graphs[i].numbers)]
                if usable(mine):
                    found[i].append(mine)
            np.add.at(spent, owner[rows], (time.monotonic() - begun) / len(rows))
        shapes = [(0, len(graph.numbers), 3) for graph in graphs]
        return [np.stack(each) if each else np.zeros(shape) for each, shape in zip(found, shapes, strict=True)]

    def batches(
        self, graphs: Sequence[Graph], owner: Int[NDArray[np.int64], "m"], noise: Noise
    ) -> Iterator[tuple[Int[NDArray[np.int64], "b"], Cloud, Noise]]:
        """What to draw conformers of graphs[owner] of, like sizes together: which of the m, their graphs and noise."""
        device = next(self.diffusion.parameters()).device
        sizes = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64)[owner]
        tokens = TOKENS["cuda" if device.type == "cuda" else "cpu"]
        for places in by_size(torch.from_numpy(sizes), tokens):
            rows = places.numpy()
            own, index = np.unique(owner[rows], return_inverse=True)
            like = collated([graphs[i] for i in own]).take(torch.as_tensor(index)).to(device)
            yield rows, like, Noise(noise.seeds[places].to(device))

    def draw(self, like: Cloud, noise: Noise) -> Float[NDArray[np.float64], "b n 3"]:
        """Positions in Angstrom of each graph of a batch, padded with zeros; whatever comes out."""
        drawing = self.drawing
        # The grid's last time, 0, is reached by the last call's own estimate, which is the clean cloud.
        times = power_grid(drawing.steps, drawing.grid_power)[:-1]
        diffusion = self.diffusion.with_eta(drawing.eta)
        drawn = sample(diffusion, like, noise, times, solver=SOLVERS[drawing.solver])
        return drawn.x.double().cpu().numpy()

    def save(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Writes PATH.safetensors, and beside it PATH.json, the card."""
        save_model(self.diffusion, self.card, path, dtype)


def usable(positions: Float[NDArray[np.float64], "n 3"]) -> bool:
    """Whether they are finite and no atom is further out than any molecule's."""
    return bool(np.isfinite(positions).all() and np.abs(positions).max(initial=0) <= FARTHEST)


def load_conformer_model(name_or_path: str | Path = "conformers", device: str = "cpu") -> ConformerModel:
    """A packaged model by its name, or one by the path of its file or its run's folder.

    Raises FileNotFoundError with the known names, ValueError for files that are not whole, do not fit, or draw whole
    molecules.
    """
    card, tensors, path = read_model(name_or_path)
    if card.get("draws") != CONFORMERS:
        raise ValueError(f"{path} draws molecules, not conformers of a given one; use it with coset sample --model")
    try:
        settings = find_recipe(card["recipe"]).settings(**card["settings"])
        diffusion = build(card["recipe"], settings, 0)
        if not isinstance(settings, Ensembled) or not {"name", "elements", "largest"} <= card.keys():
            raise KeyError("elements or largest")
        drawing = Drawing(**card.get("drawing", {}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise unfit(path, card, error) from None
    return ConformerModel(fill(diffusion, tensors, path, device), card, drawing)
