"""Flags: what holds of one molecule, for filters and for the properties of written files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from coset.metrics.measurement import measure
from coset.molecule import Molecule

FLAGS = ("stable", "valid", "connected", "joined")


def flags(molecules: Sequence[Molecule], protocol: str = "qm9") -> list[dict[str, bool]]:
    """For each molecule: stable (every atom's valence), valid (RDKit sanitises), connected (in one piece).

    protocol: a name of `PROTOCOLS`.
    joined, for molecules drawn around fixed atoms (their property `fixed`): valid and in one piece, which takes a bond
    between each piece of the fixed atoms and a new one. Bonds among the fixed atoms are as they were, for their
    distances are.
    """
    measured = measure(molecules, protocol)
    found = [
        {"stable": bool(stable == size), "valid": smiles is not None, "connected": bool(connected)}
        for stable, size, smiles, connected in zip(
            measured.stable, measured.sizes, measured.smiles, measured.connected, strict=True
        )
    ]
    for molecule, each in zip(molecules, found, strict=True):
        if "fixed" in molecule.properties:
            each["joined"] = each["valid"] and each["connected"]
    return found


def flag(molecules: Sequence[Molecule], protocol: str = "qm9") -> list[Molecule]:
    """The molecules with their flags among their properties, as yes or no."""
    return [
        replace(
            molecule,
            properties={
                **molecule.properties,
                **{name: "yes" if holds else "no" for name, holds in found.items()},
            },
        )
        for molecule, found in zip(molecules, flags(molecules, protocol), strict=True)
    ]


def passes(wanted: Sequence[str], protocol: str = "qm9") -> Callable[[Molecule], bool]:
    """A filter for molecules of which all wanted flags hold; ValueError for an unknown flag.

    No molecule without fixed atoms is joined.
    """
    unknown = sorted(set(wanted) - set(FLAGS))
    if unknown:
        raise ValueError(f"unknown filter {', '.join(unknown)}; choose among {', '.join(FLAGS)}")
    return lambda molecule: all(flags([molecule], protocol)[0].get(name, False) for name in wanted)
