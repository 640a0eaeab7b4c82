"""Model: a trained diffusion with its vocabulary, sizes and card; what `coset.load` gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from coset.diffusion import Diffusion
from coset.molecule import Molecule, Vocabulary
from coset.networks.precision import set_trunk_precision
from coset.recipes.registry import build, find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.training.checkpoint import load_tensors, save_tensors, write_json
from coset.training.state import load_parameters

WEIGHTS = Path(__file__).parent / "weights"
Keep = Callable[[Molecule], bool]
Progress = Callable[[float, int], None]


@dataclass(frozen=True)
class Drawn:
    """molecules: in the order of their numbers. drawn: how many it took. passed: those of them that the filter let
    through. redrawn: those that came out non-finite and were drawn again."""

    molecules: list[Molecule]
    drawn: int
    passed: int
    redrawn: int


@dataclass(frozen=True)
class Model:
    """A diffusion that knows its elements and sizes. card: recipe, settings, data, molecules seen, metrics."""

    diffusion: Diffusion
    vocabulary: Vocabulary
    sizes: SizeDistribution
    card: dict[str, Any]

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.diffusion.parameters())

    def sample(self, n: int, seed: int = 0, **options: Any) -> list[Molecule]:
        """n molecules; molecule i depends on the seed and i alone.

        options: fields of `Sampling` (steps=100, eta=1.0, grid_power=1.5, atoms, final_noise, tokens), and keep and
        progress of `draw`. Raises ValueError for n < 1, for sizes the model never saw and options that do not fit.
        """
        return self.draw(n, seed, **options).molecules

    def draw(
        self,
        n: int,
        seed: int = 0,
        keep: Keep | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Drawn:
        """As `sample`, with the counts. keep: draws on until n molecules pass it. progress: told (kept, drawn).

        Raises ValueError too where fewer than 1 in 200 of the first thousand pass.
        """
        if n < 1:
            raise ValueError(f"the number of molecules must be at least 1; got {n}")
        sampling = _sampling(options)
        self._check_size(sampling.atoms)
        counts = {"work": 0.0, "passed": 0, "drawn": 0}

        def advance(molecules: float) -> None:
            counts["work"] += molecules
            if progress:
                progress(counts["work"] if keep is None else counts["passed"], counts["drawn"])

        generator = Generator(self.diffusion, self.vocabulary, self.sizes, sampling, advance)
        kept: dict[int, Molecule] = {}
        for numbers in _portions(n, endless=keep is not None):
            for number, molecule in generator.draw(seed, numbers):
                counts["drawn"] += 1
                if keep is None or keep(molecule):
                    kept[number] = self._named(molecule, sampling)
                    counts["passed"] = len(kept)
            if len(kept) >= n:
                break
            if counts["drawn"] >= 1000 and 200 * len(kept) < counts["drawn"]:
                raise ValueError(
                    f"only {len(kept)} of {counts['drawn']} drawn molecules passed the filter, {n} were asked for; "
                    "use more steps, another model, or a weaker filter"
                )
        molecules = [kept[number] for number in sorted(kept)[:n]]
        return Drawn(molecules, int(counts["drawn"]), len(kept), generator.redrawn)

    def save(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Writes PATH.safetensors and PATH.json (the card)."""
        path = Path(path)
        tensors = {name: p.detach().to(dtype).cpu() for name, p in self.diffusion.named_parameters()}
        save_tensors(path.with_suffix(".safetensors"), tensors, {"card": self.card})
        write_json(path.with_suffix(".json"), self.card)

    def _check_size(self, atoms: int | None) -> None:
        if atoms is not None and atoms > self.sizes.largest:
            raise ValueError(
                f"this model has seen molecules of {min(self.sizes.counts)} to {self.sizes.largest} atoms; "
                f"got atoms={atoms}"
            )

    def _named(self, molecule: Molecule, sampling: Sampling) -> Molecule:
        about = {"model": self.name, "steps": sampling.steps, "eta": sampling.eta, "grid_power": sampling.grid_power}
        return replace(molecule, properties={**molecule.properties, **about})


def _sampling(options: dict[str, Any]) -> Sampling:
    """Options as `Sampling`; a ValueError names those it does not have."""
    known = [field.name for field in fields(Sampling)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; valid ones are {', '.join(known)}, keep, progress")
    return Sampling(**options)


def _portions(n: int, endless: bool) -> Iterator[torch.Tensor]:
    """Numbers of the molecules to draw: exactly n, or portion after portion for as long as they are asked for."""
    size = min(max(2 * n, 64), 1024) if endless else n
    for first in count(0, size):
        yield torch.arange(first, first + size)
        if not endless:
            return


def list_models() -> dict[str, dict[str, Any]]:
    """Cards of the packaged models by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(WEIGHTS.glob("*.json"))}


def load(name_or_path: str | Path = "qm9", device: str = "cpu") -> Model:
    """A packaged model by name, or any model by the path of its .safetensors file or of its run's folder.

    Raises FileNotFoundError with the known names, ValueError for files that are not whole or do not fit.
    """
    path = _find(str(name_or_path))
    tensors, state = load_tensors(path)
    if "card" not in state:
        raise ValueError(f"{path} is a training checkpoint, not a model; load the model.safetensors of its folder")
    return from_card(state["card"], tensors, path, device)


def from_card(card: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path, device: str = "cpu") -> Model:
    """A model built from its card, with these weights."""
    settings = find_recipe(card["recipe"]).settings(**card["settings"])
    vocabulary = Vocabulary(tuple(card["elements"]))
    diffusion = build(card["recipe"], settings, len(vocabulary))
    load_parameters(diffusion, tensors, path)
    sizes = SizeDistribution({int(atoms): count for atoms, count in card["sizes"].items()})
    set_trunk_precision(diffusion, "bf16" if device.startswith("cuda") else "fp32")
    return Model(diffusion.eval().to(device), vocabulary, sizes, card)


def _find(name: str) -> Path:
    packaged = WEIGHTS / f"{name}.safetensors"
    path = Path(name)
    if packaged.is_file() and not path.exists():
        return packaged
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        names = ", ".join(list_models()) or "none"
        raise FileNotFoundError(f"no model {name!r}: not a file, not a run's folder, and not packaged ({names})")
    return path
