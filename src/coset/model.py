"""Model: a trained diffusion with its vocabulary, sizes and card; what `coset.load` gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from coset.autoencoding import Autoencoding
from coset.conditions.asked import Asked, ask
from coset.conditions.layout import Layout
from coset.conditions.table import Range
from coset.diffusion import Diffusion
from coset.model_files import CONFORMERS, fill, read_model, save_model, unfit
from coset.molecule import Molecule, Vocabulary
from coset.networks.precision import precision_of, run_in
from coset.recipes.registry import build, find_recipe
from coset.samplers.generate import Generator
from coset.samplers.sampling import Sampling
from coset.samplers.sizes import SizeDistribution

SAMPLER = ("solver", "eta", "grid", "grid_power", "churn", "late", "until")  # what a card may recommend, as a whole
MOST_MOLECULES, MOST_ATOMS = 10_000_000, 1000  # of one call, of one molecule: beyond it is a slip of the keyboard
Keep = Callable[[Molecule], bool]
Progress = Callable[[float, int], None]


class Unlikely(UserWarning):
    """A property was asked for beyond what the model's training data has."""


class UnseenSize(UserWarning):
    """Molecules were asked for of a size that the model's training data does not have."""


@dataclass(frozen=True)
class Drawn:
    """molecules: in the order of their numbers. drawn: how many it took. passed: those of them that the filter let
    through. redrawn: numbers of those that came out non-finite and were drawn again, once for every time."""

    molecules: list[Molecule]
    drawn: int
    passed: int
    redrawn: tuple[int, ...]


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

    def sampling(self, **options: Any) -> Sampling:
        """How this model draws: as its card recommends, or by defaults where one of `SAMPLER` is among the options."""
        own = {} if set(options) & set(SAMPLER) else self.card.get("sampling", {})
        return _sampling({**own, **options})

    def sample(self, n: int, seed: int = 0, **options: Any) -> list[Molecule]:
        """n molecules; molecule i depends on the seed and i alone.

        options: fields of `Sampling` (steps=100, solver, eta, grid, churn, atoms, ...: see `sampling`), and keep, fix,
        precision and progress of `draw`. Raises ValueError for n < 1, impossible sizes and options that do not fit;
        warns (`UnseenSize`) of sizes the model never saw.
        """
        return self.draw(n, seed, **options).molecules

    def draw(
        self,
        n: int,
        seed: int = 0,
        keep: Keep | None = None,
        progress: Progress | None = None,
        fix: Molecule | None = None,
        conditions: Mapping[str, Any] | Asked | None = None,
        first: int = 0,
        precision: str | None = None,
        **options: Any,
    ) -> Drawn:
        """As `sample`, with the counts. keep: draws on until n molecules pass it. progress: told (kept, drawn).
        first: number of the first molecule; others than these n are those of other calls. precision: of the network's
        inside, "fp32" or "bf16"; without it as the device has it, fp32 on a CPU and bf16 on a GPU.

        fix: atoms to draw around (`samplers.fragments.read_fragment`), which come first, unmoved, in every molecule.
        conditions: what the molecules shall be, such as composition="C6H8O2" (see `asked`); guidance, an option of
        `Sampling`, says how strongly. Warns (`Unlikely`) of values beyond the training data's. Raises ValueError too
        for a fragment or a condition that does not fit, and where fewer than 1 in 200 of the first thousand pass.
        """
        self._check(n, seed)
        sampling, asked = self.sampling(**options), None
        if conditions is not None:
            asked = conditions if isinstance(conditions, Asked) else self.asked(conditions)
            sampling = _sized(sampling, asked)
            for sentence in asked.warnings:
                warnings.warn(sentence, Unlikely, stacklevel=2)
        if note := self.unseen_size(sampling.atoms):
            warnings.warn(note, UnseenSize, stacklevel=2)
        counts = {"work": 0.0, "passed": 0, "drawn": 0}

        def advance(molecules: float) -> None:
            counts["work"] += molecules
            if progress:
                progress(counts["work"] if keep is None else counts["passed"], counts["drawn"])

        generator = Generator(self.diffusion, self.vocabulary, self.sizes, sampling, advance, fix, asked)
        kept: dict[int, Molecule] = {}
        with run_in(self.diffusion, precision):
            about = self._about(sampling)
            for numbers in _portions(first, n, endless=keep is not None):
                for number, molecule in generator.draw(seed, numbers):
                    counts["drawn"] += 1
                    if keep is None or keep(molecule):
                        kept[number] = replace(molecule, properties={**molecule.properties, **about})
                        counts["passed"] = len(kept)
                if len(kept) >= n:
                    break
                if counts["drawn"] >= 1000 and 200 * len(kept) < counts["drawn"]:
                    raise ValueError(
                        f"only {len(kept)} of {counts['drawn']} drawn molecules passed the filter, {n} were asked for; "
                        "use more steps, another model, or a weaker filter"
                    )
        molecules = [kept[number] for number in sorted(kept)[:n]]
        return Drawn(molecules, int(counts["drawn"]), len(kept), tuple(generator.redrawn))

    def _check(self, n: int, seed: int) -> None:
        """Raises ValueError where so many molecules of this seed, or any of this model, cannot be drawn."""
        if not 1 <= n <= MOST_MOLECULES:
            raise ValueError(f"the number of molecules must be at least 1 and at most {MOST_MOLECULES:,}; got {n}")
        if not -(2**63) < seed < 2**63 - 1:
            raise ValueError(f"a seed must fit into 64 bits; got {seed}")
        if isinstance(self.diffusion, Autoencoding):
            raise ValueError(
                f"{self.name} is an autoencoder and draws no molecules; train a latent diffusion around it, such as "
                "coset train radm_gnn --set codec=PATH"
            )

    def asked(self, conditions: Mapping[str, Any]) -> Asked:
        """Conditions as the network is told of them. composition: a formula with its hydrogens; pattern: a substructure
        as SMARTS; morgan: a molecule to be like, as SMILES; a property by its name: a number.

        Raises ValueError for those that the model was not trained with, and for what cannot be read.
        """
        layout = Layout(tuple(self.card["settings"].get("condition", ())), len(self.vocabulary))
        ranges = {name: Range(**values) for name, values in self.card.get("properties", {}).items()}
        return ask(conditions, layout, self.vocabulary, ranges)

    def unseen_size(self, atoms: int | None) -> str | None:
        """A sentence where the training data has no molecule of this size, None where it has.

        Raises ValueError for more than 1,000 atoms (unless the data goes beyond): memory grows with their square.
        """
        seen = f"molecules of {min(self.sizes.counts)} to {self.sizes.largest} atoms"
        if atoms is None or atoms in self.sizes.counts:
            return None
        if atoms > max(MOST_ATOMS, self.sizes.largest):
            raise ValueError(f"this model has seen {seen}; got atoms={atoms}, more than {MOST_ATOMS:,}")
        return f"this model has seen {seen}, never one of {atoms}; expect poor ones"

    def save(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Writes PATH.safetensors, and beside it PATH.json: the card, with the SHA-256 of the weights."""
        save_model(self.diffusion, self.card, path, dtype)

    def _about(self, sampling: Sampling) -> dict[str, Any]:
        """What a molecule's record says of how it was drawn: what is as it always is is left out."""
        about: dict[str, Any] = {
            "model": self.name,
            "steps": sampling.steps,
            "solver": sampling.solver,
            "eta": sampling.randomness,
        }
        about |= {"grid": sampling.grid} | ({"grid_power": sampling.grid_power} if sampling.grid == "power" else {})
        about |= {"churn": sampling.churn} if sampling.churn > 1 else {}
        about |= {"guidance": sampling.guidance} if sampling.guidance != 1 else {}
        about |= {name: value for name in ("late", "until") if (value := getattr(sampling, name)) is not None}
        about |= {"resample": sampling.resample} if sampling.resample > 1 else {}
        precision = precision_of(self.diffusion)
        about |= {"precision": precision} if precision != "fp32" else {}
        return about | ({"compiled": "yes"} if sampling.compile else {})


def _sampling(options: dict[str, Any]) -> Sampling:
    """Options as `Sampling`; a ValueError names those it does not have."""
    known = [field.name for field in fields(Sampling)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"unknown option {', '.join(unknown)}; valid ones are {', '.join(known)}, keep, fix, conditions, "
            "precision, progress"
        )
    return Sampling(**options)


def _sized(sampling: Sampling, asked: Asked) -> Sampling:
    """Of the one size that is asked for, if it is one."""
    if asked.sizes is None or len(asked.sizes) > 1:
        return sampling
    size = int(asked.sizes[0])
    if sampling.atoms not in (None, size):
        raise ValueError(
            f"the composition has {size} atoms, and atoms={sampling.atoms} was asked for; give one of them"
        )
    return replace(sampling, atoms=size)


def _portions(begin: int, n: int, endless: bool) -> Iterator[torch.Tensor]:
    """Numbers of the molecules to draw: exactly n, or portion after portion for as long as they are asked for."""
    size = min(max(2 * n, 64), 1024) if endless else n
    for first in count(begin, size):
        yield torch.arange(first, first + size)
        if not endless:
            return


def load(name_or_path: str | Path = "qm9", device: str = "cpu") -> Model:
    """A packaged model by name, or any model by the path of its .safetensors file or of its run's folder.

    The weights carry their card; the .json beside them is for people and may be missing. Nothing that could run code
    is loaded. Raises FileNotFoundError with the known names, ValueError for files that are not whole or do not fit.
    """
    card, tensors, path = read_model(name_or_path)
    if card.get("draws") == CONFORMERS:
        raise ValueError(
            f"{path} draws conformers of molecules that it is given, not molecules; use it with coset conformers "
            "--model or coset.conformers(..., model=...)"
        )
    return from_card(card, tensors, path, device)


def from_card(card: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path, device: str = "cpu") -> Model:
    """A model built from its card, with these weights. Raises ValueError naming `path` and what does not fit."""
    try:
        recipe = card["recipe"]
        settings = find_recipe(recipe).settings(**card["settings"])
        vocabulary = Vocabulary(tuple(card["elements"]))
        sizes = SizeDistribution({int(atoms): int(count) for atoms, count in card["sizes"].items()})
        diffusion = build(recipe, settings, len(vocabulary))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise unfit(path, card, error) from None
    return Model(fill(diffusion, tensors, path, device), vocabulary, sizes, card)
