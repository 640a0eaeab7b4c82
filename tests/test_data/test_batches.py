"""Laws of batching: once each, within the budget, decided by seed and epoch, resumable anywhere."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.data import Batches, open_dataset
from coset.data.batches import passes

sizes_of_molecules = st.lists(st.integers(1, 40), min_size=1, max_size=200)
limits = st.tuples(
    st.none() | st.integers(40, 300), st.none() | st.integers(1, 20), st.none() | st.integers(40**2, 5000)
).filter(any)


@pytest.fixture(scope="module")
def sizes() -> np.ndarray:
    data = open_dataset("qm9-sample")
    return data.store.sizes[data.train]


@settings(deadline=None)  # timing is no law
@given(sizes_of_molecules, limits, st.integers(0, 9))
def test_every_molecule_once_and_no_limit_exceeded(sizes, limit, epoch):
    tokens, molecules, pairs = limit
    batches = Batches(sizes, tokens, molecules=molecules, pairs=pairs)
    found = batches.epoch(epoch)
    assert sorted(np.concatenate(found)) == list(range(len(sizes)))
    assert len(found) == len(batches)
    lengths = [len(rows) * np.array(sizes)[rows].max() for rows in found]
    assert min(map(len, found)) > 0
    assert tokens is None or max(lengths) <= tokens
    assert molecules is None or max(map(len, found)) <= molecules
    assert pairs is None or max(len(rows) * np.array(sizes)[rows].max() ** 2 for rows in found) <= pairs
    assert batches.padding == pytest.approx(sum(lengths) / sum(sizes))


@settings(deadline=None)
@given(sizes_of_molecules, limits, st.integers(0, 3), st.data())
def test_a_resumed_stream_equals_the_uninterrupted_one(sizes, limit, epoch, data):
    tokens, molecules, pairs = limit
    batches = Batches(sizes, tokens, 3, molecules, pairs=pairs)
    done = data.draw(st.integers(0, len(batches)))
    whole = islice(batches.stream(epoch), done, done + len(batches) + 2)
    resumed = Batches(sizes, tokens, 3, molecules, pairs=pairs).stream(epoch, done)
    for (e, k, rows), (again_e, again_k, again) in zip(whole, resumed, strict=False):
        assert (e, k) == (again_e, again_k) and (rows == again).all()


def flat(batches: Batches, epoch: int) -> list[list[int]]:
    return [rows.tolist() for rows in batches.epoch(epoch)]


def test_order_is_decided_by_seed_and_epoch(sizes):
    batches, other = Batches(sizes, 1024, seed=0), Batches(sizes, 1024, seed=1)
    assert flat(batches, 4) == flat(Batches(sizes, 1024, seed=0), 4)
    assert flat(batches, 4) != flat(batches, 5)
    assert flat(batches, 4) != flat(other, 4)
    # Not only the order of the batches changes, but also who is in them.
    assert {frozenset(rows) for rows in flat(batches, 4)} != {frozenset(rows) for rows in flat(batches, 5)}


def test_batches_of_one_epoch_come_in_no_order_of_size(sizes):
    lengths = np.array([sizes[rows].max() for rows in Batches(sizes, 512).epoch(0)])
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.5


def test_batches_are_full_and_hardly_padded(sizes):
    batches = Batches(sizes, 1024)
    assert batches.padding < 1.02
    assert len(batches) <= np.ceil(1.05 * sizes.sum() / 1024)


def test_sharing_the_last_cut_keeps_to_the_budget():
    # Ten atoms and one molecule of five: half of the eleven would need 25 tokens.
    found = Batches([1] * 10 + [5], tokens=10).epoch(0)
    assert sorted(map(len, found)) == [2, 9]


def test_pairs_make_batches_of_large_molecules_small_and_leave_the_others_full():
    found = Batches([10] * 64 + [181] * 6, molecules=16, pairs=2 * 181**2).epoch(0)
    assert sorted(map(len, found)) == [2, 2, 2, 16, 16, 16, 16]


def test_passes_without_gradients_take_molecules_of_any_size():
    found = passes([5] * 300 + [900], 256, np.arange(301))
    assert sorted(np.concatenate(found)) == list(range(301)) and [300] in [rows.tolist() for rows in found]
    assert max(map(len, found)) <= 256


def test_a_fixed_number_of_molecules(sizes):
    found = Batches(sizes, molecules=64).epoch(0)
    lengths = sorted(map(len, found))
    assert set(lengths[2:]) == {64} and sum(lengths) == len(sizes) and lengths[1] - lengths[0] <= 1


def test_rows_stand_for_their_indices(sizes):
    rows = np.random.default_rng(0).permutation(10**6)[: len(sizes)]
    plain, named = Batches(sizes, 512).epoch(2), Batches(sizes, 512, rows=rows).epoch(2)
    assert all((rows[a] == b).all() for a, b in zip(plain, named, strict=True))


def test_what_makes_no_batches_is_told(sizes):
    with pytest.raises(ValueError, match="exceeds the budget of 20 tokens"):
        Batches(sizes, 20)
    with pytest.raises(ValueError, match="exceeds the budget of 20 pairs a batch; raise it to 729"):
        Batches(sizes, pairs=20)
    with pytest.raises(ValueError, match="a limit"):
        Batches(sizes)
    with pytest.raises(ValueError, match="at least 1"):
        Batches(sizes, molecules=0)
    with pytest.raises(ValueError, match="0 sizes"):
        Batches([], 20)
    with pytest.raises(ValueError, match="no batch"):
        Batches(sizes, 512).stream(0, 10**6)
