"""Model cards: where a model's weights are, what its card says, and whether the two belong together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coset.ensembles.model import load_conformer_model
from coset.model import load
from coset.model_files import CONFORMERS, SUFFIX, WEIGHTS, read_card, read_model
from coset.recipes.registry import find_recipe

Groups = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Card:
    """values: what the card says. weights: the file. checksum: the SHA-256 the card states, or None."""

    values: dict[str, Any]
    weights: Path
    checksum: str | None

    @property
    def packaged(self) -> bool:
        return self.weights.parent == WEIGHTS

    @property
    def sha256(self) -> str:
        """Of the weights as they are now."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.weights.stat().st_size


def find_card(name: str) -> Card:
    """The card of a packaged model, of a .safetensors file or of a run's folder.

    The weights are loaded, so that what is told of them holds. Raises as `load` does; ValueError where the .json
    beside the weights is broken.
    """
    path = Path(name)
    if not path.exists() and (WEIGHTS / f"{name}{SUFFIX}").is_file():
        path = WEIGHTS / f"{name}{SUFFIX}"
    values, *_ = read_model(path)
    values = (load_conformer_model(path) if values.get("draws") == CONFORMERS else load(path)).card
    weights = path / f"model{SUFFIX}" if path.is_dir() else path
    beside = Path(str(weights).removesuffix(SUFFIX) + ".json")
    told = read_card(beside) if beside.is_file() else {}
    return Card({**values, **told}, weights, told.get("sha256"))


def verify(card: Card) -> str:
    """One line on a card whose weights are those it was written for; a ValueError where they are not."""
    name, found = card.values["name"], card.sha256
    if card.checksum is None:
        return f"{name}: whole, but its card states no checksum; SHA-256 {found}"
    if card.checksum != found:
        raise ValueError(
            f"{name}: the weights {card.weights} have the SHA-256 {found}, their card says {card.checksum}; "
            "copy both files again"
        )
    return f"{name}: whole, SHA-256 {found}"


def changed_settings(card: dict[str, Any]) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The recipe's size that a model's settings are nearest to, and by name what differs: (the size's, the model's)."""
    recipe = find_recipe(card["recipe"])
    nearest: tuple[str, dict[str, tuple[Any, Any]]] | None = None
    for size in recipe.sizes:
        default = json.loads(recipe.resolve({"size": size}).model_dump_json())
        own = {**default, **card["settings"]}
        differing = {key: (default.get(key), value) for key, value in own.items() if value != default.get(key)}
        if nearest is None or len(differing) < len(nearest[1]):
            nearest = size, differing
    assert nearest is not None
    return nearest


def describe(card: dict[str, Any]) -> Groups:
    """What a reader wants to know of a model, in words, under headings."""
    size, changed = changed_settings(card)
    if card.get("draws") == CONFORMERS:
        sizes = f"up to {card['largest']} atoms"
    else:
        of_atoms = sorted(int(atoms) for atoms in card["sizes"])
        sizes = f"{of_atoms[0]} to {of_atoms[-1]} atoms"
    data = card.get("data", {})
    groups: Groups = {
        "Model": {
            "name": card["name"],
            "recipe": f"{card['recipe']}: {find_recipe(card['recipe']).summary}",
            "parameters": f"{card['parameters']:,}",
            "elements": ", ".join(_symbols(card["elements"])),
            "sizes": sizes,
        },
        "Training": {
            "data": f"{data.get('name', '?')}, {data.get('train_molecules', 0):,} molecules",
            "molecules seen": f"{card['molecules_seen']:,}",
            "minutes": f"{card.get('minutes', 0):,.0f}, in {max(len(card.get('legs', [])), 1)} leg(s)",
            "hardware": str(card.get("hardware", "?")),
            "validation loss": f"{card.get('validation', {}).get('valid_loss', float('nan')):.4f}",
            "date": str(card.get("date", "?")),
            "coset": str(card.get("version", "?")),
        },
    }
    if bonds_in_training(card):
        groups["Training"]["bonds"] = "used in training, those of the distance rule"
    if changed:
        told = {key: f"{_value(value)} (default {_value(default)})" for key, (default, value) in changed.items()}
        groups[f"Settings unlike {card['recipe']}, size {size}"] = told
    return groups


def bonds_in_training(card: dict[str, Any]) -> bool:
    """Whether a loss told the model of bonds: it is not to be compared with those that saw coordinates alone."""
    return bool(card["settings"].get("bond_weight"))


def _symbols(numbers: list[int]) -> tuple[str, ...]:
    from coset.molecule import Vocabulary

    return Vocabulary(tuple(numbers)).symbols


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
