"""Time limits of a molecule: what is made by then is kept, the rest is left out and told, and nobody else waits."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from test_learned_method import tiny

from coset.ensembles import jobs, mmff
from coset.ensembles import model as learned
from coset.ensembles.jobs import made
from coset.ensembles.methods import Method
from coset.ensembles.mmff import minimised
from coset.ensembles.plan import Plan
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.ensembles.requests import of_smiles
from coset.graphs.graph import read_smiles
from ensemble_files import ensemble


def clock(step: float) -> SimpleNamespace:
    """A clock on which every look takes so many seconds."""
    now = iter(range(10**9))
    return SimpleNamespace(monotonic=lambda: step * next(now))


class Slow(Method):
    """Makes nothing but broken conformers, and notes how long it may take."""

    name = "slow"

    def __init__(self, given: list[float]) -> None:
        self.given = given

    def within(self, seconds: float) -> Method:
        self.given.append(seconds)
        return self

    def positions(self, mols, counts, seeds):
        return [np.zeros((count, mol.GetNumAtoms(), 3)) for mol, count in zip(mols, counts, strict=True)]


@pytest.fixture
def ticking(monkeypatch) -> Callable[..., None]:
    return lambda module, step: monkeypatch.setattr(module, "time", clock(step))


def test_a_model_draws_no_further_batch_for_a_molecule_whose_time_is_over(ticking, monkeypatch):
    model, mols = tiny(), [read_smiles("CCO"), read_smiles("CCCO")]
    unlimited = model.positions(mols, [5, 2], [1, 2])
    monkeypatch.setitem(learned.TOKENS, "cpu", 9)  # one conformer a batch
    ticking(learned, 1.0)
    found = model.within(2.5).having(steps=3).positions(mols, [5, 2], [1, 2])
    assert [len(each) for each in found] == [3, 2]
    for some, every in zip(found, unlimited, strict=True):
        np.testing.assert_allclose(some, every[: len(some)], atol=1e-4)


def test_every_attempt_has_the_time_that_is_left_and_no_more(ticking):
    given: list[float] = []
    ticking(jobs, 4.0)
    result = made([of_smiles("CCO")], Slow(given), Plan(2, seconds=10.0))[0]
    assert given == [10.0, 6.0, 2.0]
    assert result.mol is None and "broken" in result.reasons[0]


def test_rdkit_leaves_out_what_it_is_too_late_for(monkeypatch):
    found = made([of_smiles("CCO")], DistanceGeometry(), Plan(3, seconds=1e-9))[0]
    assert found.mol is None and "3 of 3 conformers could not be made within 1e-09 s" in found.reasons[0]


def test_mmff_treats_a_few_at_a_time_and_leaves_the_others_as_they_were(monkeypatch):
    monkeypatch.setattr(mmff, "_PAIRS", 0)
    monkeypatch.setattr(mmff, "_FEWEST", 1)
    mol, start = read_smiles("CCO"), 1.1 * ensemble("CCO").positions
    positions, energies, arrived = minimised(mol, start, seconds=0.0)
    assert np.isfinite(energies).tolist() == [True, False, False, False] and not arrived[1:].any()
    np.testing.assert_array_equal(positions[1:], start[1:])
    together = minimised(mol, start, seconds=60.0)
    np.testing.assert_allclose(positions[:1], together[0][:1], atol=1e-6)
    assert together[2].all()
