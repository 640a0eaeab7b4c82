"""What a user asks for, as numbers: formulas, SMARTS, SMILES, values of properties."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from rdkit import Chem, rdBase
from torch import Tensor

from coset.conditions.fingerprints import fingerprint
from coset.conditions.layout import FINGERPRINTS, Layout, shares
from coset.conditions.table import Range
from coset.molecule import Vocabulary, element_symbol

ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*)")
SYMBOLS = {element_symbol(number): number for number in range(1, 119)}


@dataclass(frozen=True)
class Asked:
    """Conditions of the molecules to draw: number i gets row i modulo their count.

    scalars: `Condition.scalars`. sizes: atoms of each, where a formula says so. warnings: sentences about what is
    beyond what the model has seen.
    """

    scalars: Float[Tensor, "m f"]
    sizes: Int[Tensor, "m"] | None = None
    warnings: tuple[str, ...] = ()


def ask(
    wishes: Mapping[str, Any], layout: Layout, vocabulary: Vocabulary, ranges: Mapping[str, Range] | None = None
) -> Asked:
    """One wish for all molecules: composition="C6H8O2", pattern=SMARTS, morgan=SMILES, a property's name = a number.

    Raises ValueError for what the model was not told of in training, and for what cannot be read.
    """
    unknown = [name for name in wishes if name not in layout.names]
    if unknown or not wishes:
        known = ", ".join(layout.names) or "nothing"
        raise ValueError(
            f"this model was not trained to be told of {', '.join(unknown) or 'nothing'}; it knows of {known}: take "
            "another model, or train one with condition set"
        )
    values: dict[str, Tensor] = {}
    sizes, told = None, []
    for name, wish in wishes.items():
        if name == "composition":
            counts = formula(str(wish), vocabulary)
            sizes = torch.tensor([int(counts.sum())])
            values[name] = torch.as_tensor(shares(counts))[None]
        elif name in FINGERPRINTS:
            graph = query(str(wish)) if name == "pattern" else molecule(str(wish))
            values[name] = torch.as_tensor(fingerprint(name, graph), dtype=torch.float32)[None]
        else:
            own, value = (ranges or {})[name], _number(name, wish)
            if not own.low <= value <= own.high:
                ends = f"{own.low:.4g} to {own.high:.4g} {own.unit}".rstrip()
                told.append(f"{name}={value:g} lies outside of what the model has seen, {ends}")
            values[name] = torch.tensor([[float(own.standardised(np.asarray(value)))]], dtype=torch.float32)
    return Asked(layout.scalars(values), sizes, tuple(told))


def formula(text: str, vocabulary: Vocabulary) -> np.ndarray:
    """Atoms of each element of the vocabulary (types,). Raises ValueError for others, and as `elements`."""
    counts = elements(text)
    unseen = [element_symbol(number) for number in counts if number not in vocabulary.numbers]
    if unseen:
        raise ValueError(
            f"this model knows the elements {', '.join(vocabulary.symbols)}; the formula {text} has {', '.join(unseen)}"
        )
    return np.array([counts[number] for number in vocabulary.numbers])


def elements(text: str) -> Counter[int]:
    """Atoms by atomic number in a formula such as C6H8O2, hydrogens included. Raises ValueError for other text."""
    pieces = ELEMENT.findall(text.strip())
    if not pieces or "".join(symbol + count for symbol, count in pieces) != text.strip():
        raise ValueError(f"expected a formula such as C6H8O2, elements and their numbers; got {text!r}")
    counts: Counter[int] = Counter()
    for symbol, count in pieces:
        if symbol not in SYMBOLS:
            raise ValueError(f"the formula {text} has {symbol}, which is no element; write CO for carbon monoxide")
        counts[SYMBOLS[symbol]] += int(count or 1)
    if not counts.total():
        raise ValueError(f"the formula {text} has no atoms")
    return counts


def query(smarts: str) -> Chem.Mol:
    """A substructure. Raises ValueError for text that is no SMARTS."""
    with rdBase.BlockLogs():
        graph = Chem.MolFromSmarts(smarts) if smarts.strip() else None
    if graph is None or not graph.GetNumAtoms():
        raise ValueError(f"expected a substructure as SMARTS, such as c1ccoc1 or [OX2H]; got {smarts!r}")
    with rdBase.BlockLogs():
        graph.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(graph)
    return graph


def molecule(smiles: str) -> Chem.Mol:
    """A molecule's graph. Raises ValueError for text that is no SMILES."""
    with rdBase.BlockLogs():
        graph = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if graph is None:
        raise ValueError(f"expected a molecule as SMILES, such as CCO; got {smiles!r}")
    return graph


def matches(graphs: Sequence[Chem.Mol | None], substructure: Chem.Mol) -> list[bool]:
    """Which graphs hold the substructure."""
    return [graph is not None and graph.HasSubstructMatch(substructure) for graph in graphs]


def _number(name: str, wish: Any) -> float:
    try:
        value = float(wish)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"the property {name} is a number; got {wish!r}")
    return value
