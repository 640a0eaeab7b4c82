"""Properties of ensembles: rows resume, and an ensemble set beside itself has no error."""

from __future__ import annotations

import numpy as np
import pytest

from coset.energies import Atoms
from coset.energies.potentials import HARTREE_KCAL
from coset.energies.xtb import calculator, single_point
from coset.ensembles.electronics import halves_errors, property_errors, values_of
from coset.ensembles.measure import References
from coset.ensembles.methods import Method
from coset.graphs.graph import read_smiles
from coset.metrics.ensemble_properties import PROPERTIES
from coset.reproduce.conformer_properties import HALVES, Study, run
from ensemble_files import ensemble, small_ensembles_file

pytest.importorskip("tblite")


class Same(Method):
    """Gives each reference conformer twice, or none of the molecules named."""

    name = "same"

    def __init__(self, references: References, without: str = "") -> None:
        self.references, self.without = references, without

    def positions(self, mols, counts, seeds):
        found = [np.concatenate([each.positions] * 2) for each in self.references.ensembles]
        return [
            x[:0] if each.smiles == self.without else x
            for each, x in zip(self.references.ensembles, found, strict=True)
        ]


def test_the_reference_drawn_again_has_no_error():
    references = References([ensemble("CCO", 2), ensemble("CC(=O)[O-]", 2)])
    found = property_errors(Same(references), references, seed=0)
    assert found["molecules"] == found["scored"] == 2
    np.testing.assert_allclose([found[name] for name in PROPERTIES], 0, atol=1e-6)


def test_a_molecule_without_conformers_has_failed():
    references = References([ensemble("CCO", 2), ensemble("N#CCCO", 2)])
    found = property_errors(Same(references, without="CCO"), references, seed=0)
    assert (found["failed"], found["scored"]) == (1, 1)


def test_energies_differ_between_conformers_as_their_total_energies_do():
    mol, one = read_smiles("CCO"), ensemble("CCO", 1)
    both = np.concatenate([one.positions, one.positions * 1.05])
    values = values_of([mol], [both])[0]
    first, second = (single_point(calculator(Atoms(one.numbers, each)))["energy"] for each in both)
    assert values["energy"][1] - values["energy"][0] == pytest.approx(HARTREE_KCAL * (second - first), rel=1e-6)
    assert values["dipole"].min() > 0.5 and values["gap"].min() > 1


def test_rows_are_measured_once(tmp_path):
    data = str(small_ensembles_file(tmp_path / "small.npz"))
    begun: list[str] = []

    def begin(row):
        begun.append(row)

    study = Study(data, targets=1)
    record = run(study, {}, tmp_path / "out", begin=begin)
    first = (tmp_path / "out" / "rows.json").read_text()
    run(study, {}, tmp_path / "out", begin=begin)
    assert begun == [HALVES, "ETKDGv3, as drawn"] == list(record.rows)
    assert (tmp_path / "out" / "rows.json").read_text() == first
    errors = halves_errors(References.of(data, 1))
    assert record.rows[HALVES]["average_energy"] == errors["average_energy"] >= 0
    assert "ETKDGv3, as drawn" in (tmp_path / "out" / "report.md").read_text()
