"""The distance rule, and RDKit molecules made with it."""

from __future__ import annotations

import numpy as np
import pytest

from coset.bonds import allowed_valences, bond_orders, smiles, to_rdkit
from coset.molecule import Molecule


def diatomic(first: int, second: int, picometres: float) -> Molecule:
    return Molecule(np.array([first, second]), np.array([[0, 0, 0], [picometres / 100, 0, 0]]))


def order(first: int, second: int, picometres: float) -> int:
    pair = diatomic(first, second, picometres)
    return int(bond_orders(pair.numbers[None], pair.positions[None])[0, 0, 1])


METHANE = Molecule(
    np.array([6, 1, 1, 1, 1]),
    0.63 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    {"name": "methane", "seed": 3},
)


@pytest.mark.parametrize(
    ("pair", "steps"),
    [((6, 6), (164, 139, 123)), ((6, 7), (157, 134, 119)), ((1, 8), (106, 0, 0)), ((7, 7), (155, 130, 113))],
)
def test_orders_change_at_length_plus_margin(pair: tuple[int, int], steps: tuple[int, int, int]):
    for bond, limit in enumerate(steps, start=1):
        if limit:
            assert order(*pair, limit - 0.01) == bond == order(*reversed(pair), limit - 0.01)
            assert order(*pair, limit + 0.01) == bond - 1


def test_comparisons_are_strict():
    assert order(1, 9, 102.0) == 0  # H-F: 92 + 10
    assert order(1, 9, 101.9999999) == 1


def test_untabulated_pairs_are_never_bonded():
    assert order(5, 5, 50) == 0
    assert order(9, 9, 150) == 1
    assert allowed_valences(15) == (3, 5)
    assert allowed_valences(54) == ()


def test_the_carbon_sulfur_double_bond_is_found_in_either_direction():
    assert order(6, 16, 160) == order(16, 6, 160) == 2


def test_padding_and_order_of_atoms_change_nothing():
    rng = np.random.default_rng(0)
    numbers, positions = rng.choice([1, 6, 7, 8, 9], (3, 12)), 1.5 * rng.normal(size=(3, 12, 3))
    orders = bond_orders(numbers, positions)
    wide = bond_orders(np.pad(numbers, ((0, 0), (0, 4))), np.pad(positions, ((0, 0), (0, 4), (0, 0))))
    assert (wide[:, :12, :12] == orders).all() and not wide[:, 12:].any() and not wide[:, :, 12:].any()
    shuffle = rng.permutation(12)
    assert (bond_orders(numbers[:, shuffle], positions[:, shuffle]) == orders[:, shuffle][:, :, shuffle]).all()
    assert (orders == orders.transpose(0, 2, 1)).all() and orders.any()


@pytest.mark.parametrize("perception", ["distance", "rdkit"])
def test_methane(perception):
    graph = to_rdkit(METHANE, perception)
    assert smiles(graph) == "C"
    assert smiles(graph, hydrogens=True).count("[H]") == 4
    np.testing.assert_array_equal(graph.GetConformer().GetPositions(), METHANE.positions)
    assert graph.GetProp("name") == "methane" and graph.GetProp("perception") == perception


def test_nothing_is_added_to_what_lacks_a_hydrogen():
    methyl = Molecule(METHANE.numbers[:4], METHANE.positions[:4])
    graph = to_rdkit(methyl)
    assert graph.GetNumAtoms() == 4
    assert smiles(graph) == "[CH3]"
    assert graph.GetAtomWithIdx(0).GetNumRadicalElectrons() == 1


def test_an_impossible_valence_comes_unsanitised(capfd):
    crowd = Molecule(np.array([6, *[1] * 6]), np.concatenate([np.zeros((1, 3)), 1.1 * np.eye(3), -1.1 * np.eye(3)]))
    graph = to_rdkit(crowd)
    assert graph.GetProp("sanitized") == "false"
    assert graph.GetNumBonds() == 6
    assert capfd.readouterr().err == ""  # RDKit's chatter is silenced


def test_rdkit_perception_records_the_charge():
    oxonium = Molecule(
        np.array([8, 1, 1, 1]), np.array([[0, 0, 0.3], [0.95, 0, 0], [-0.47, 0.82, 0], [-0.47, -0.82, 0]])
    )
    graph = to_rdkit(oxonium, "rdkit")
    assert graph.GetProp("charge") == "1"
    with pytest.raises(ValueError, match="Unknown perception"):
        to_rdkit(METHANE, "guess")  # pyright: ignore[reportArgumentType]
