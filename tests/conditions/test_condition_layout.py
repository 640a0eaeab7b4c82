"""Conditions as numbers: what is not given is zero, a part's fingerprint lies in the whole's, shares add up."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from coset.cloud import Condition
from coset.conditions.asked import ask, formula, matches, query
from coset.conditions.dropout import Dropout
from coset.conditions.fingerprints import fingerprint, fingerprints, heavy_graph, tanimoto
from coset.conditions.layout import BITS, Layout
from coset.conditions.table import Range, Table
from coset.data import open_dataset
from coset.molecule import QM9, Molecule
from coset.noise import Noise
from example_clouds import random_cloud

ALL = Layout(("composition", "pattern", "morgan", "gap"), 5)
GAP = Range(mean=5.0, deviation=2.0, low=1.0, high=9.0, unit="eV")


class Described(SimpleNamespace):
    extra: Any
    units: Any
    collate: Any

    def __len__(self):
        return 200


@pytest.fixture(scope="module")
def table():
    """Of the packaged sample, with a property that some molecules lack."""
    store, values = open_dataset("qm9-sample").store, np.arange(200.0)
    values[3] = np.nan
    described = Described(extra={"gap": values}, units={"gap": "eV"}, collate=store.collate)
    return Table.of(described, ALL, QM9, np.arange(100))


def test_places_are_side_by_side_with_a_flag_each():
    assert ALL.size == 4 + 5 + 2 * BITS + 1
    slices = list(ALL.slices.values())
    assert slices[0].start == 0 and slices[-1].stop == ALL.size
    assert all(a.stop == b.start for a, b in pairwise(slices))
    with pytest.raises(ValueError, match="each condition can be given once; got gap, gap"):
        Layout(("gap", "gap"), 5)


def test_what_is_not_given_is_zero():
    scalars = ALL.scalars({"gap": torch.tensor([[0.5]])})
    assert scalars[0, -2:].tolist() == [1.0, 0.5] and not scalars[0, :-2].any()


def test_shares_add_up_and_unknown_properties_have_no_flag(table):
    scalars = table(np.array([0, 3, 7]))
    place = ALL.slices["composition"]
    torch.testing.assert_close(scalars[:, place].sum(1), torch.full((3,), 21.0))  # the flag and the shares
    assert scalars[:, -2].tolist() == [1, 0, 1] and scalars[1, -1] == 0
    values = np.delete(np.arange(100.0), 3)
    assert float(scalars[2, -1]) == pytest.approx((7 - values.mean()) / values.std())


def test_a_table_agrees_with_what_a_user_would_ask_for(table):
    store = open_dataset("qm9-sample").store
    numbers, positions = store[5]
    asked = ask({"composition": Molecule(numbers.astype(int), positions.astype(float)).formula}, ALL, QM9)
    place = ALL.slices["composition"]
    torch.testing.assert_close(asked.scalars[0, place], table(np.array([5]))[0, place])
    assert asked.sizes is not None and asked.sizes.tolist() == [len(numbers)]


def test_every_bit_of_a_part_is_one_of_the_whole():
    numbers, positions = open_dataset("qm9-sample").store.collate(np.arange(60))
    bits, known = fingerprints("pattern", numbers, positions)
    assert known.mean() > 0.9
    from coset.bonds import bond_orders

    graphs = [
        heavy_graph(n[n > 0], o[: (n > 0).sum(), : (n > 0).sum()])
        for n, o in zip(numbers, bond_orders(numbers, positions), strict=True)
    ]
    hits = 0
    for smarts in ("[OX2H]", "C=O", "C1CC1", "C#N", "[NX3]"):
        part = query(smarts)
        own = fingerprint("pattern", part)
        for held, whole in zip(matches(graphs, part), bits, strict=True):
            if held:
                hits += 1
                assert not (own & ~whole).any()
    assert hits > 20


def test_likeness():
    first = np.array([1, 1, 0, 0], np.uint8)
    assert tanimoto(first, np.array([1, 0, 1, 0], np.uint8)) == pytest.approx(1 / 3)
    assert tanimoto(first, first) == 1 and tanimoto(0 * first, 0 * first) == 1


def test_a_formula_counts_its_elements():
    assert formula("C6H8O2", QM9).tolist() == [8, 6, 0, 2, 0]
    assert formula("CHCl3".replace("Cl3", "F3"), QM9).tolist() == [1, 1, 0, 0, 3]
    assert formula("CH3CH2OH", QM9).tolist() == [6, 2, 0, 1, 0]


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"composition": "c6h8"}, "expected a formula such as C6H8O2, elements and their numbers; got 'c6h8'"),
        ({"composition": ""}, "expected a formula such as C6H8O2"),
        ({"composition": "C2Xx"}, "the formula C2Xx has Xx, which is no element"),
        ({"composition": "CH3Cl"}, "this model knows the elements H, C, N, O, F; the formula CH3Cl has Cl"),
        ({"composition": "C0"}, "the formula C0 has no atoms"),
        ({"pattern": "c1cc"}, "expected a substructure as SMARTS, such as c1ccoc1 or [OX2H]; got 'c1cc'"),
        ({"morgan": "C(C"}, "expected a molecule as SMILES, such as CCO; got 'C(C'"),
        ({"gap": "wide"}, "the property gap is a number; got 'wide'"),
        ({"gap": float("nan")}, "the property gap is a number; got nan"),
        ({"dipole": 1.0}, "this model was not trained to be told of dipole; it knows of composition, pattern,"),
        ({}, "it knows of composition, pattern, morgan, gap"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused_in_one_sentence(wishes, sentence):
    with pytest.raises(ValueError) as error:
        ask(wishes, ALL, QM9, {"gap": GAP})
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_property_beyond_the_data_is_told_with_its_range():
    assert not ask({"gap": 8.9}, ALL, QM9, {"gap": GAP}).warnings
    asked = ask({"gap": 12}, ALL, QM9, {"gap": GAP})
    assert asked.warnings == ("gap=12 lies outside of what the model has seen, 1 to 9 eV",)
    assert float(asked.scalars[0, -1]) == 3.5


def told(dropout, cloud):
    """The scalars that are left."""
    found: Any = dropout(cloud, Noise.from_seed(0, torch.arange(len(cloud)))).condition
    return found.scalars


def conditioned(copies=4000):
    cloud = random_cloud([3]).take(torch.zeros(copies, dtype=torch.long))
    scalars = torch.ones(copies, ALL.size)
    return type(cloud)(cloud.x, cloud.h, cloud.mask, Condition(scalars=scalars))


def test_dropout_leaves_every_number_of_kinds_equally_often_and_thins_parts():
    cloud = conditioned()
    found = told(Dropout(ALL, 0.25), cloud)
    flags = torch.stack([found[:, place.start] for place in ALL.slices.values()], 1)
    number = flags.sum(1).long().bincount() / len(flags)
    torch.testing.assert_close(number, torch.tensor([0.25, *[0.75 / 4] * 4]), atol=0.02, rtol=0)
    alone = flags[flags.sum(1) == 1].mean(0)
    torch.testing.assert_close(alone, torch.full((4,), 0.25), atol=0.05, rtol=0)
    for name, place in ALL.slices.items():
        own = found[:, place]
        assert not own[own[:, 0] == 0].any()  # forgotten altogether
        whole = (own[own[:, 0] == 1] == 1).all(1).double().mean()
        assert whole == 1 if name != "pattern" else 0.45 < whole < 0.55
    pattern = found[:, ALL.slices["pattern"]]
    share = pattern[pattern[:, 0] == 1, 1:].mean(1)
    assert 0.7 < share.mean() < 0.8 and share.min() < 0.05


@pytest.mark.parametrize(("rate", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_at_its_ends(rate, left):
    found = Dropout(Layout(("composition",), 5), rate)
    cloud = random_cloud([3, 4])
    cloud = type(cloud)(cloud.x, cloud.h, cloud.mask, Condition(scalars=torch.ones(2, 6)))
    assert (told(found, cloud) == left).all()
    assert found(random_cloud([3]), Noise(torch.arange(1))).condition is None
    with pytest.raises(ValueError, match=r"the rate of a dropout lies between 0 and 1; got 1\.5"):
        Dropout(ALL, 1.5)
