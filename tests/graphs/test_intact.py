"""Which positions are those of a molecule: embedded ones are, broken bonds and clashing atoms are not."""

from __future__ import annotations

import numpy as np
import pytest

from coset.graphs.geometry import intact
from coset.graphs.graph import read_smiles
from example_ensembles import embedded

MANY = (
    "CCO",
    "c1ccccc1Br",
    "CC(=O)[O-]",
    "C1CC1",
    "C#CC#N",
    "CS(C)(=O)=O",
    "OP(O)(=O)O",
    "FC(F)(F)I",
    "[H][H]",
    "C[Si](C)(C)C",
)


@pytest.mark.parametrize("smiles", MANY)
def test_embedded_molecules_are_intact_in_any_pose(smiles):
    x = embedded(smiles)
    assert intact(read_smiles(smiles), np.concatenate([x, -x, x + 5, x[..., [1, 2, 0]]])).all()


def test_a_broken_bond_a_clash_and_undefined_positions_are_found():
    mol, x = read_smiles("CCO"), embedded("CCO")[0]
    wrong = np.repeat(x[None], 5, 0)
    wrong[1, 0] += 3 * (x[0] - x[1])  # the first carbon leaves its neighbours
    wrong[2, 8] = wrong[2, 3] + 0.3  # hydrogens of two atoms meet
    wrong[3, 0, 0] = np.nan
    wrong[4] *= 0.6
    assert intact(mol, wrong).tolist() == [True, False, False, False, False]


def test_one_atom_has_nothing_to_break():
    assert intact(read_smiles("[He]"), np.zeros((2, 1, 3))).all()
