"""Writing molecules: SDF with bonds, extended XYZ, SMILES."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterable

from rdkit import Chem, rdBase

from coset.bonds import Perception, smiles, to_rdkit
from coset.files.atomic import atomic_write
from coset.files.xyz import COLUMNS, quoted
from coset.molecule import Molecule

_DECIMALS = 10


def write_sdf(path: str | os.PathLike[str], molecules: Iterable[Molecule], perception: Perception = "distance") -> None:
    """Writes an SD file (gzipped where the name ends in .gz) with bonds, charges, and properties as tags.

    Bonds come from `to_rdkit`. Records are V3000 with 10 decimals, since rounding moves pairs across
    thresholds of the distance rule: 4 decimals (all that V2000 has) or 6 changed 1 of 5,185 generated
    molecules, 8 or more none. A property that would break the record raises a ValueError.
    """
    with atomic_write(path, "wb") as file:
        stream = gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if str(path).endswith(".gz") else file
        for molecule in molecules:
            stream.write(_sd_record(to_rdkit(molecule, perception)).encode())
        if stream is not file:
            stream.close()


def write_xyz(path: str | os.PathLike[str], molecules: Iterable[Molecule], decimals: int = _DECIMALS) -> None:
    """Writes frames of an extended XYZ file, positions in Angstrom, properties in the comment lines."""
    with atomic_write(path) as file:
        for molecule in molecules:
            pairs = [f"Properties={COLUMNS}"]
            pairs += [f"{quoted(name)}={quoted(value)}" for name, value in molecule.properties.items()]
            file.write(f"{len(molecule)}\n{' '.join(pairs)}\n")
            for symbol, position in zip(molecule.symbols, molecule.positions.tolist(), strict=True):
                file.write(symbol + "".join(f" {value:.{decimals}f}" for value in position) + "\n")


def write_smiles(
    path: str | os.PathLike[str], molecules: Iterable[Molecule], perception: Perception = "distance"
) -> int:
    """Writes lines of canonical SMILES and the molecule's place in the list, from 1, between them a tab.

    Molecules whose bonds cannot be sanitised have no SMILES and are left out. Returns the number written.
    """
    written = 0
    with atomic_write(path) as file:
        for place, molecule in enumerate(molecules, start=1):
            graph = to_rdkit(molecule, perception)
            if graph.GetProp("sanitized") == "true":
                file.write(f"{smiles(graph)}\t{place}\n")
                written += 1
    return written


def _sd_record(graph: Chem.Mol) -> str:
    options = Chem.MolWriterParams()
    options.precision = _DECIMALS
    options.includeStereo = False  # the coordinates say it
    options.kekulize = graph.GetProp("sanitized") == "true"
    with rdBase.BlockLogs():
        record = Chem.MolToV3KMolBlock(graph, options)
    for name in graph.GetPropNames():
        value = graph.GetProp(name)
        if re.search(r"[\r\n<>]", name) or re.search(r"[\r\n]", value) or value.startswith("$$$$"):
            raise ValueError(f"Cannot write property {name!r} to an SD file: it holds a line break, <, > or $$$$.")
        record += f">  <{name}>\n{value}\n\n"
    return record + "$$$$\n"
