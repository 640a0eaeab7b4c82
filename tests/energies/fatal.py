"""A calculation that may end its process, apart from the tests so that processes import little."""

from __future__ import annotations

import os

from coset.energies import Atoms


def fatal_for_methane(atoms: Atoms) -> dict:
    """Ends its process as a library that crashes would."""
    if len(atoms) == 5:
        os._exit(11)
    return {"atoms": len(atoms)}
