"""What `coset data build` makes a store of: five kinds of sources, each with options of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

QM9, GEOM, ENSEMBLES = "qm9", "geom-drugs", "a file of ensembles"
TABLE, FILES = "a table with a split", "files of one's own"

# All kinds have -o and --packed.
_OPTIONS = {
    "origin": (QM9, GEOM),
    "mirror": (QM9,),
    "most": (GEOM,),
    "permutation": (GEOM,),
    "allow_numpy": (GEOM,),
    "neutral": (GEOM, ENSEMBLES),
    "split": (TABLE,),
    "standard": (TABLE,),
} | dict.fromkeys(("elements", "valid", "test", "seed", "skip_bad", "group_by"), (FILES,))


def kind_of(sources: Sequence[str], as_table: bool) -> str:
    """The kind of the sources. as_table: whether options say that they are a table."""
    from coset.data.npz_names import holds_ensembles, holds_table

    if len(sources) == 1 and sources[0] in (QM9, GEOM):
        return sources[0]
    if len(sources) == 1 and holds_ensembles(Path(sources[0])):
        return ENSEMBLES
    return TABLE if as_table or (len(sources) == 1 and holds_table(Path(sources[0]))) else FILES


def check_options(context: typer.Context, kind: str) -> None:
    """Refuses options that would be passed over."""
    for name, kinds in _OPTIONS.items():
        source = context.get_parameter_source(name)
        if kind not in kinds and source is not None and source.name == "COMMANDLINE":
            option = "--from" if name == "origin" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is for {' and '.join(kinds)}, and this is {kind}; leave it out")


def atomic_numbers(elements: str | None) -> tuple[int, ...] | None:
    """Atomic numbers, rising, of "H,C,N,O"."""
    if elements is None:
        return None
    from coset.molecule import element_symbol

    known = {element_symbol(number).lower(): number for number in range(1, 119)}
    names = [name for name in elements.replace(",", " ").split() if name]
    unknown = [name for name in names if name.lower() not in known]
    if unknown or not names:
        raise ValueError(f"--elements expects symbols such as H,C,N,O; got {unknown[0] if unknown else elements!r}")
    return tuple(sorted({known[name.lower()] for name in names}))
