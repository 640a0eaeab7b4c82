"""coset: 3D molecules from diffusion models in which the way symmetry is respected is an exchangeable part.

>>> import coset
>>> model = coset.load("qm9")
>>> molecules = model.sample(10, seed=0)
>>> print(coset.evaluate(molecules).rates["molecule_stability"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coset.bonds import to_rdkit as to_rdkit
    from coset.ensembles.api import conformers as conformers
    from coset.files import read as read
    from coset.files import write_sdf as write_sdf
    from coset.files import write_xyz as write_xyz
    from coset.metrics.evaluate import evaluate as evaluate
    from coset.model import Model as Model
    from coset.model import load as load
    from coset.model_files import list_models as list_models
    from coset.molecule import Molecule as Molecule
    from coset.samplers.fragments import read_fragment as read_fragment

__version__ = "0.1.0"

_PUBLIC = {
    "Model": "coset.model",
    "Molecule": "coset.molecule",
    "conformers": "coset.ensembles.api",
    "evaluate": "coset.metrics.evaluate",
    "list_models": "coset.model_files",
    "load": "coset.model",
    "read": "coset.files",
    "read_fragment": "coset.samplers.fragments",
    "to_rdkit": "coset.bonds",
    "write_sdf": "coset.files",
    "write_xyz": "coset.files",
}
__all__ = [
    "Model",
    "Molecule",
    "conformers",
    "evaluate",
    "list_models",
    "load",
    "read",
    "read_fragment",
    "to_rdkit",
    "write_sdf",
    "write_xyz",
]


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used: `coset --help` need not wait for torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'coset' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
