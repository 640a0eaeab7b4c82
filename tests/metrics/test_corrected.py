"""The corrected rates: bonds, aromaticity and charges as perceived, and what perception may not buy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from coset.bonds import to_rdkit
from coset.energies.atoms import Atoms
from coset.energies.strain import relax_all
from coset.files import read
from coset.metrics.corrected import measure_corrected
from coset.metrics.evaluate import RATES, evaluate
from coset.metrics.graphs import judge
from coset.metrics.perceived import perceived
from coset.metrics.plausibility import plausible
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
NAMES = [block.split("\n")[0] for block in (DATA / "charged.sdf").read_text().split("$$$$\n") if block]
CHARGED = dict(zip(NAMES, read(DATA / "charged.sdf"), strict=True))
NEUTRAL = ("nitrobenzene", "thiophene", "dimethyl sulfoxide", "dimethyl sulfone", "methyl azide", "chlorobenzene",
           "trimethyl phosphate", "indole", "methanethiol", "glycine zwitterion")  # fmt: skip
CATIONS = ("N-methylpyridinium", "tetramethylammonium", "trimethylsulfonium", "imidazolium")


def without(molecule: Molecule, *atoms: int) -> Molecule:
    return Molecule(np.delete(molecule.numbers, atoms), np.delete(molecule.positions, atoms, 0))


def propane() -> Molecule:
    graph = Chem.AddHs(Chem.MolFromSmiles("CCC"))
    rdDistGeom.EmbedMolecule(graph, randomSeed=1)
    numbers = np.array([atom.GetAtomicNum() for atom in graph.GetAtoms()])
    return Molecule(numbers, graph.GetConformer().GetPositions())


@pytest.mark.parametrize("name", [*NEUTRAL, *CATIONS])
def test_aromatic_and_charged_molecules_are_stable_and_valid(name: str):
    molecule = CHARGED[name]
    found = perceived(molecule)
    assert found["stable"] == len(molecule) and found["connected"] and found["smiles"]
    assert found["charge"] == (name in CATIONS)


def test_the_rates_count_neutral_molecules_apart():
    molecules = [CHARGED[name] for name in (*NEUTRAL, *CATIONS)]
    counts = measure_corrected(molecules).counts()
    assert counts["valid"] == counts["stable_molecules"] == counts["unique"] == counts["connected"] == 14
    assert counts["valid_neutral"] == 10
    report = evaluate(molecules, None, protocol="drugs")
    assert report.corrected is not None and report.corrected.counts == counts
    assert set(report.corrected.rates) == {*RATES, "valid_and_neutral"} - {"novelty"}
    assert report.counts["stable_molecules"] < 14  # by the published protocol
    assert report.to_dict()["corrected"]["rates"]["valid_and_neutral"]["value"] == pytest.approx(10 / 14)


def test_a_lacking_hydrogen_is_not_bought_with_a_charge_on_carbon():
    """Perception makes an ion of propane less a hydrogen, which RDKit sanitises."""
    whole = propane()
    lacking = [without(whole, atom) for atom in np.flatnonzero(whole.numbers == 1).tolist()]
    for molecule in lacking:
        found = perceived(molecule)
        assert found["charge"] in (1, -1) and found["smiles"]
        assert found["stable"] == len(molecule) - 1
    counts = measure_corrected([whole, *lacking]).counts()
    assert (counts["valid"], counts["valid_neutral"], counts["stable_molecules"]) == (9, 1, 1)


def test_where_nothing_is_perceived_a_molecule_is_invalid_and_its_atoms_are_judged_by_distances():
    """A methane of five hydrogens beside a water: the water's atoms are what they were."""
    far = Molecule(
        np.array([6, 1, 1, 1, 1, 1, 8, 1, 1]),
        np.array([[0, 0, 0], [1.05, 0, 0], [-1.05, 0, 0], [0, 1.05, 0], [0, -1.05, 0], [0, 0, 1.05],
                  [9, 0, 0], [9.96, 0, 0], [8.76, 0.93, 0]]),
    )  # fmt: skip
    found = perceived(far)
    assert found == {"stable": 8, "connected": False, "smiles": None, "charge": None}
    heap = Molecule(np.full(40, 6), np.random.default_rng(0).normal(scale=0.3, size=(40, 3)))
    assert perceived(heap) == {"stable": 0, "connected": False, "smiles": None, "charge": None}
    assert measure_corrected([far, heap]).counts()["valid"] == 0


def test_the_order_of_the_atoms_does_not_lose_a_nitro_group():
    """RDKit's perception misses nitro groups in some orders of their atoms."""
    molecule, rng = CHARGED["nitrobenzene"], np.random.default_rng(0)
    for _ in range(20):
        order = rng.permutation(len(molecule))
        turned = Molecule(molecule.numbers[order], molecule.positions[order])
        graph = to_rdkit(turned, "rdkit")
        assert graph.GetProp("perception") == "rdkit" and sum(judge(graph).stable) == 14
        assert np.allclose(graph.GetConformer().GetPositions(), turned.positions)
        assert [atom.GetAtomicNum() for atom in graph.GetAtoms()] == turned.numbers.tolist()


def test_counts_do_not_depend_on_processes():
    molecules = list(CHARGED.values())
    assert measure_corrected(molecules, workers=2).counts() == measure_corrected(molecules).counts()


def test_a_molecule_that_ends_its_process_counts_as_one_without_bonds(monkeypatch):
    monkeypatch.setattr("coset.metrics.corrected.run", lambda *arguments, **options: [{"crashed": True}])
    found = measure_corrected([CHARGED["indole"]])
    assert found.charges == (None,)
    assert found.counts() == dict.fromkeys(found.counts(), 0) | {"molecules": 1, "atoms": 16}


def test_strain_and_plausibility_take_a_molecule_at_the_charge_that_it_tells():
    cation = CHARGED["N-methylpyridinium"]
    charged, neutral = relax_all([Atoms.of(cation, 1), Atoms.of(cation)])
    assert charged.converged and not neutral.converged
    assert plausible(Atoms.of(cation, 1), energy=False)["tests"]["sanitization"] is True
    assert plausible(Atoms.of(cation), energy=False)["tests"]["sanitization"] is False
