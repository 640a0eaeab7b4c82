"""RDKit's methods on a GPU: chosen where device and library are there; seeds and counts reach the library."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from coset.ensembles.gpu_method import GpuDistanceGeometry
from coset.ensembles.methods import method_of
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.graphs.graph import read_smiles


@pytest.fixture
def library(monkeypatch):
    """A stand-in with the library's signatures that works by RDKit: there is no GPU here."""

    def embed(molecules, params, confsPerMolecule=1, maxIterations=-1, hardwareOptions=None):
        assert params.useRandomCoords
        for mol in molecules:
            rdDistGeom.EmbedMultipleConfs(mol, confsPerMolecule, params)

    def minimise(molecules, maxIters=200):
        for mol in molecules:
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=maxIters)

    for name, member in {"": None, ".embedMolecules": embed, ".mmffOptimization": minimise}.items():
        module = ModuleType(f"nvmolkit{name}")
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        if member is embed:
            module.EmbedMolecules = embed  # pyright: ignore
        if member is minimise:
            module.MMFFOptimizeMoleculesConfs = minimise  # pyright: ignore


def test_a_gpu_is_used_where_the_library_is_there(library):
    assert isinstance(method_of("rdkit", device="cuda"), GpuDistanceGeometry)
    assert method_of("rdkit-mmff", device="cuda:1").name == "nvmolkit-mmff"
    assert isinstance(method_of("rdkit", device="cpu"), DistanceGeometry)


def test_without_the_library_rdkit_does_it():
    assert isinstance(method_of("rdkit", device="cuda"), DistanceGeometry)
    with pytest.raises(ValueError, match="nvMolKit is not installed; take RDKit on the CPU"):
        GpuDistanceGeometry()


def test_conformers_depend_on_the_molecule_and_its_seed_alone(library):
    first, second = read_smiles("CC(O)CN"), read_smiles("CCCO")
    method = method_of("rdkit", device="cuda")
    alone = method.positions([first], [3], [5])[0]
    together = method.positions([second, first], [2, 3], [5, 5])
    assert [len(each) for each in together] == [2, 3] and together[1].shape == (3, 14, 3)
    np.testing.assert_array_equal(alone, together[1])
    assert not np.allclose(alone, method.positions([first], [3], [6])[0])
    assert first.GetNumConformers() == 0


def test_relaxed_conformers_lie_lower(library):
    mol = read_smiles("CC(O)CN")
    drawn, relaxed = (method_of(name, device="cuda").positions([mol], [3], [5])[0] for name in ("rdkit", "rdkit-mmff"))
    assert not np.allclose(drawn, relaxed) and len(relaxed) == 3
