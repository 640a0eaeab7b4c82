"""coset recipes, coset models: what there is."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from coset.cli.display import console, model_table, say, show_card

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def recipes(as_json: AsJson = False) -> None:
    """List recipes, their sizes and parameter counts."""
    from coset.recipes.registry import RECIPES, count_parameters

    found = [
        {
            "name": name,
            "summary": recipe.summary,
            "parameters": count_parameters(name, next(iter(recipe.sizes))),
            "sizes": {size: count_parameters(name, size) for size in recipe.sizes},
        }
        for name, recipe in RECIPES.items()
    ]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table("recipe", "what it is", "sizes (parameters)")
    for entry in found:
        sizes = "\n".join(f"{size}: {count:,}" for size, count in entry["sizes"].items())
        table.add_row(entry["name"], entry["summary"], sizes)
    console.print(table)
    say("train one with: coset train RECIPE --set size=SIZE")


def models(
    name: Annotated[str | None, typer.Argument(help="A model's whole card: a packaged name, a run or a file.")] = None,
    verify: Annotated[bool, typer.Option(help="Check weights against the checksum of their card.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the packaged models with their measured quality, show one's card, or verify weights."""
    from coset.cli.cards import find_card
    from coset.cli.cards import verify as check
    from coset.model_files import list_models

    cards = {each: find_card(each) for each in ([name] if name else list_models())}
    lines = [check(card) for card in cards.values()] if verify else []
    if as_json:
        about = [{**card.values, "bytes": card.size, "sha256": card.sha256} for card in cards.values()]
        print(json.dumps(about[0] if name else about, indent=1))
    elif verify:
        for line in lines:
            say(line)
    elif name:
        show_card(cards[name])
    else:
        console.print(model_table(list(cards.values())))
        say("a whole card: coset models NAME; checksums: coset models --verify")
