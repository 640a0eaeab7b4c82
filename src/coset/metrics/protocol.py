"""Protocol: how the published rates are counted, which for GEOM-Drugs differs from QM9 in one point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from coset.molecule import DRUGS


@dataclass(frozen=True)
class Protocol:
    """highest: bonds of a higher order become such ones before RDKit is asked for validity, and so in the SMILES that
    uniqueness and novelty compare; stability always counts real orders. corrected: whether the corrected rates
    (`measure_corrected`) stand beside.
    """

    name: str
    highest: int
    corrected: bool

    def capped(self, orders: Int[NDArray, "n n"]) -> Int[NDArray, "n n"]:
        """The bond orders that RDKit is asked about."""
        return np.minimum(orders, self.highest)


# Hoogeboom et al. 2022: `get_bond_order`, and `geom_predictor` with `limit_bonds_to_one`; the table of lengths is one.
PROTOCOLS = {"qm9": Protocol("qm9", 3, corrected=False), "drugs": Protocol("drugs", 1, corrected=True)}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name; ValueError for an unknown one."""
    if name not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {name!r}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def protocol_of(vocabulary: Iterable[int]) -> str:
    """The protocol's name for data of these elements: "drugs" for the 16 of GEOM-Drugs, else "qm9"."""
    return "drugs" if set(vocabulary) == set(DRUGS.numbers) else "qm9"
