"""Gallery: drawings of molecules with their flags, and what a viewer needs to show them in three dimensions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from coset.bonds import bond_orders
from coset.metrics.depiction import depict
from coset.metrics.failures import failures, unstable_atoms
from coset.metrics.measurement import Measurement
from coset.molecule import Molecule

_REASONS = 5  # more are counted
_TAGS, _LONG = 24, 200  # what is told of a molecule's properties, and of one


def figure(molecule: Molecule, measured: Measurement, place: int, key: int, reasons: bool = False) -> str:
    """A `<figure>` that is a button: drawing, formula and flags, and in words why it fails if asked for.

    place: where the molecule stands in what was measured. key: where it stands in `viewer_data`.
    """
    flags = "".join(
        f'<span class="flag {"yes" if holds else "no"}">{name}</span>' for name, holds in _flags(measured, place)
    )
    formula = re.sub(r"(\d+)", r"<sub>\1</sub>", molecule.formula)
    told = (
        "".join(f"<li>{escape(reason)}</li>" for reason in _told(failures(molecule, measured.protocol)))
        if reasons
        else ""
    )
    return (
        f'<figure class="molecule" data-molecule="{key}"><button type="button" '
        f'aria-label="Show molecule {place + 1}, {molecule.formula}, in 3D">{drawing(molecule)}</button>'
        f'<figcaption>{formula} <small>no. {place + 1}</small><div class="flags">{flags}</div>'
        + (f"<ul>{told}</ul>" if told else "")
        + "</figcaption></figure>"
    )


def drawing(molecule: Molecule) -> str:
    """`depict`, a third as long and with colours that a style sheet can set: black is var(--m000000)."""
    heavy = int((molecule.numbers > 1).sum())
    scale = 1 + (heavy > 12) / 2 + (heavy > 24) / 2  # room for larger ones, drawn finer
    text = depict(molecule, int(200 * scale), int(150 * scale))
    text = re.sub(r"<!--.*?-->|\s(class|fill)='[^']*'(?=[^<]*style=)|\sclass='[^']*'", "", text)
    text = re.sub(r"style='([^']*)'", lambda match: f'style="{_style(match[1])}"', text)
    text = re.sub(r"fill='(#[0-9A-F]{6})'", lambda match: f'style="fill:{_colour(match[1])}"', text)
    box = re.search(r"viewBox=['\"]([\d. ]+)['\"]", text)
    opening = f'<svg viewBox="{box[1] if box else "0 0 200 150"}" aria-hidden="true">'
    return re.sub(r"\s*\n\s*", "", re.sub(r"<svg.*?>", opening, text, count=1, flags=re.DOTALL))


def viewer_data(molecules: Sequence[Molecule], measured: Measurement, places: Iterable[int]) -> str:
    """JSON of the molecules at these places: atoms, bonds, flags, reasons, properties; safe inside `<script>`."""
    found = [_viewer_datum(molecules[place], measured, place) for place in places]
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _viewer_datum(molecule: Molecule, measured: Measurement, place: int) -> Mapping[str, Any]:
    orders = bond_orders(molecule.numbers[None], molecule.positions[None])[0]
    first, second = np.nonzero(np.triu(orders))
    positions = _facing(molecule.positions).round(3).tolist()
    tags = [(str(name), str(value)[:_LONG]) for name, value in molecule.properties.items()]
    return {
        "place": place + 1,
        "formula": molecule.formula,
        "atoms": [[symbol, *position] for symbol, position in zip(molecule.symbols, positions, strict=True)],
        "bonds": np.stack([first, second, orders[first, second]], -1).tolist(),
        "unstable": unstable_atoms(molecule.numbers, orders),
        "flags": _flags(measured, place),
        "reasons": _told(failures(molecule, measured.protocol)),
        "smiles": measured.smiles[place] or "",
        "tags": tags[:_TAGS],
    }


def _facing(positions: Float[NDArray[np.float64], "n 3"]) -> Float[NDArray[np.float64], "n 3"]:
    """Turned so that the longest extent lies across and the shortest towards the eye; mirrored never."""
    centred = positions - positions.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2] if len(positions) > 2 else np.eye(3)
    return centred @ (axes * np.array([1.0, 1.0, np.linalg.det(axes)])[:, None]).T


def _flags(measured: Measurement, place: int) -> list[tuple[str, bool]]:
    stable = bool(measured.stable[place] == measured.sizes[place])
    valid, connected = measured.smiles[place] is not None, bool(measured.connected[place])
    return [
        ("stable" if stable else "not stable", stable),
        ("valid" if valid else "not valid", valid),
        ("connected" if connected else "in pieces", connected),
    ]


def _told(reasons: Sequence[str]) -> list[str]:
    """The reasons, of long lists of atoms the first few: what concerns the whole molecule always stays."""
    atoms = [reason for reason in reasons if "expected" in reason or "knows no" in reason]
    others = [reason for reason in reasons if reason not in atoms]
    if len(atoms) > _REASONS + 1:
        atoms = [*atoms[:_REASONS], f"and {len(atoms) - _REASONS} more atoms"]
    return [*atoms, *others]


def _style(style: str) -> str:
    """What of RDKit's styles differs from SVG's defaults."""
    given = dict(part.split(":", 1) for part in style.split(";") if ":" in part)
    kept = {name: given[name] for name in ("fill", "stroke", "stroke-width") if name in given}
    if kept.get("fill") == "none":
        del kept["fill"]  # the page's style sheet says so of every path
    kept = {name: value.removesuffix("px").removesuffix(".0") for name, value in kept.items()}
    return ";".join(f"{name}:{_colour(value)}" for name, value in kept.items())


def _colour(value: str) -> str:
    return f"var(--m{value[1:]},{value})" if value.startswith("#") else value
