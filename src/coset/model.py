"""Model: a trained diffusion with its vocabulary, sizes and card; what `coset.load` gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from coset.diffusion import Diffusion
from coset.molecule import Molecule, Vocabulary
from coset.recipes.registry import build, find_recipe
from coset.samplers.generate import Generator, Sampling
from coset.samplers.sizes import SizeDistribution
from coset.training.checkpoint import load_tensors, save_tensors, write_json
from coset.training.state import load_parameters

WEIGHTS = Path(__file__).parent / "weights"
Keep = Callable[[Molecule], bool]
Progress = Callable[[int, int], None]


@dataclass
class Model:
    """A diffusion that knows its elements and sizes. card: recipe, settings, data, molecules seen, metrics."""

    diffusion: Diffusion
    vocabulary: Vocabulary
    sizes: SizeDistribution
    card: dict[str, Any]
    redrawn: int = 0
    drawn: int = 0

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.diffusion.parameters())

    def to(self, device: str) -> Model:
        self.diffusion.to(device)
        return self

    def sample(
        self,
        n: int,
        seed: int = 0,
        sampling: Sampling | None = None,
        keep: Keep | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[Molecule]:
        """n molecules. Molecule i depends on the seed and i alone; they come back in the order of i.

        options: fields of `Sampling` (steps=100, eta=1.0, atoms, final_noise, tokens). keep: draws on until n
        molecules pass; `drawn` then says how many it took. progress: called with (kept so far, n).
        Raises ValueError for n < 1, unknown options, and where fewer than 1 of 200 drawn molecules pass.
        """
        if n < 1:
            raise ValueError(f"the number of molecules must be at least 1; got {n}")
        sampling = replace(sampling or Sampling(), **options)
        self._check_size(sampling.atoms)
        generator = Generator(self.diffusion, self.vocabulary, self.sizes, self._features, sampling)
        kept: dict[int, Molecule] = {}
        self.drawn, started = 0, time.monotonic()
        for chunk in _chunks(n, all_pass=keep is None):
            for number, molecule in generator.draw(seed, chunk):
                self.drawn += 1
                if keep is None or keep(molecule):
                    kept[number] = self._named(molecule, sampling)
                if progress:
                    progress(min(len(kept), n), n)
            if len(kept) >= n:
                break
            if keep is not None and self.drawn >= 1000 and len(kept) * 200 < self.drawn:
                raise ValueError(
                    f"only {len(kept)} of {self.drawn} drawn molecules passed the filter in "
                    f"{time.monotonic() - started:.0f} s; ask for less, or use a better model"
                )
        self.redrawn = generator.redrawn
        return [kept[number] for number in sorted(kept)[:n]]

    def save(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Writes PATH.safetensors and PATH.json (the card)."""
        path = Path(path)
        tensors = {name: p.detach().to(dtype).cpu() for name, p in self.diffusion.named_parameters()}
        save_tensors(path.with_suffix(".safetensors"), tensors, {"card": self.card})
        write_json(path.with_suffix(".json"), self.card)

    @property
    def _features(self) -> int:
        return len(self.vocabulary) + 1

    def _check_size(self, atoms: int | None) -> None:
        if atoms is not None and atoms > self.sizes.largest:
            raise ValueError(
                f"this model has seen molecules of {min(self.sizes.counts)} to {self.sizes.largest} atoms; "
                f"got atoms={atoms}"
            )

    def _named(self, molecule: Molecule, sampling: Sampling) -> Molecule:
        about = {"model": self.card["name"], "steps": sampling.steps}
        return replace(molecule, properties={**molecule.properties, **about})


def _chunks(n: int, all_pass: bool) -> Iterator[torch.Tensor]:
    """Molecule numbers to draw: exactly n, or in growing portions until the caller has enough."""
    if all_pass:
        yield torch.arange(n)
        return
    first, size = 0, min(max(2 * n, 64), 1024)
    while True:
        yield torch.arange(first, first + size)
        first += size


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
    return from_card(state["card"], tensors, path).to(device)


def from_card(card: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path) -> Model:
    """A model built from its card, with these weights."""
    settings = find_recipe(card["recipe"]).settings(**card["settings"])
    vocabulary = Vocabulary(tuple(card["elements"]))
    diffusion = build(card["recipe"], settings, len(vocabulary))
    load_parameters(diffusion, tensors, path)
    sizes = SizeDistribution({int(atoms): count for atoms, count in card["sizes"].items()})
    return Model(diffusion.eval(), vocabulary, sizes, card)


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
