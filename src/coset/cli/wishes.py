"""What molecules shall be: options of `coset sample` that tell the model, and how often it kept to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coset.cli.display import say
from coset.cli.options import warn

if TYPE_CHECKING:
    from coset.conditions.asked import Asked
    from coset.model import Model
    from coset.molecule import Molecule

Composition = Annotated[str | None, typer.Option(help="Formula with its hydrogens, such as C6H8O2.")]
Substructure = Annotated[str | None, typer.Option(help="A part that it has, as SMARTS.")]
Like = Annotated[str | None, typer.Option(help="A molecule to be like, as SMILES.")]
Property = Annotated[list[str] | None, typer.Option("--property", help="NAME=NUMBER; again for several.")]
Guidance = Annotated[float, typer.Option(help="How strongly this is followed: 0 not, 1 as in training.")]


def wishes(
    composition: str | None,
    substructure: str | None,
    like: str | None,
    properties: Sequence[str] | None,
    guidance: float = 1.0,
) -> dict[str, Any] | None:
    """Conditions for `Model.draw`; None where nothing is asked. Raises ValueError for guidance towards nothing."""
    found: dict[str, Any] = {"composition": composition, "pattern": substructure, "morgan": like}
    found = {name: value for name, value in found.items() if value is not None}
    for pair in properties or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--property expects NAME=NUMBER, such as gap=0.25; got {pair!r}")
        found[name.strip()] = value.strip()
    if guidance != 1 and not found:
        raise ValueError("--guidance follows a wish; give --composition, --substructure, --like or --property with it")
    return found or None


def heeded(model: Model, asked: dict[str, Any] | None, atoms: int | None) -> Asked | None:
    """What the model is told; warns of values and sizes that it has not seen."""
    told = None if asked is None else model.asked(asked)
    size = atoms if told is None or told.sizes is None else int(told.sizes[0])
    for note in (model.unseen_size(size), *(told.warnings if told else ())):
        if note:
            warn(note)
    return told


def tell(molecules: Sequence[Molecule], asked: dict[str, Any] | None) -> None:
    """A line for each wish that can be checked on the molecules' own bonds."""
    if not asked or not molecules:
        return
    from coset.conditions.kept import kept

    for sentence in kept(molecules, asked):
        say(sentence)
