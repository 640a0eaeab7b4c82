"""coset recipes, coset models, coset data: what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coset.cli.display import console

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
    console.print("train one with: coset train RECIPE --set size=small")


def models(as_json: AsJson = False) -> None:
    """List the packaged models with their measured quality."""
    from coset.model import list_models

    cards = list_models()
    if as_json:
        print(json.dumps(list(cards.values()), indent=1))
        return
    table = Table("model", "recipe", "parameters", "molecules seen", "measured")
    for name, card in cards.items():
        rates = card.get("metrics", {}).get("rates", {})
        measured = "\n".join(f"{key.replace('_', ' ')} {100 * value:.1f} %" for key, value in rates.items())
        table.add_row(name, card["recipe"], f"{card['parameters']:,}", f"{card['molecules_seen']:,}", measured)
    console.print(table)


data = typer.Typer(help="List, build and describe data sets.", invoke_without_command=True)


@data.callback()
def data_sets(context: typer.Context) -> None:
    """List the named data sets, and say where each is or what is missing."""
    if context.invoked_subcommand:
        return
    from coset.data.catalog import NAMES, open_dataset

    for name in NAMES:
        try:
            console.print(open_dataset(name).describe())
        except (FileNotFoundError, ValueError) as error:
            console.print(f"{name}: not here: {error}", soft_wrap=True, markup=False)
        console.print()


@data.command()
def build(
    table: Annotated[Path, typer.Argument(help="An .npz with gdb_id, n_atoms, atomic_numbers, positions, split.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the new store.")],
    packed: Annotated[bool, typer.Option(help="Positions as int16 milli-Angstrom.")] = False,
    split: Annotated[str | None, typer.Option(help="Only train, valid or test.")] = None,
    standard: Annotated[bool, typer.Option(help="Check that the table is QM9 in its standard split.")] = False,
) -> None:
    """Build a memory-mapped store from a table of molecules."""
    from coset.data import qm9

    store = qm9.build(table, out, splits=None if split is None else [split], packed=packed, standard=standard)
    console.print(f"{len(store):,} molecules -> {out}")


@data.command()
def info(name: Annotated[str, typer.Argument(help="A named data set, a store's folder or an .npz.")]) -> None:
    """Describe a data set, after checking every array against its checksum."""
    from coset.data.catalog import open_dataset

    dataset = open_dataset(name)
    dataset.store.verify()
    console.print(dataset.describe())


@data.command()
def reference(
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write, .npz.")],
    name: Annotated[str, typer.Argument(help="A data set with a test split.")] = "qm9",
) -> None:
    """Measure a data set's train and test splits into a reference for `coset evaluate`."""
    from coset.data.catalog import open_dataset
    from coset.metrics.reference import build_reference, save_reference

    dataset = open_dataset(name, hold_out=0)
    train, test = ([_molecule(dataset.store, row) for row in rows] for rows in (dataset.train, dataset.test))
    save_reference(out, build_reference(name, train, test))
    console.print(f"reference of {name} -> {out}")


def _molecule(store, row: int):
    from coset.molecule import Molecule

    numbers, positions = store[row]
    return Molecule(numbers, positions)
