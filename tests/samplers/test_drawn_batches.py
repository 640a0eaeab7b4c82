"""Batches of what is drawn: every molecule once, from the smallest up, as many as both budgets allow."""

from __future__ import annotations

import pytest
import torch

from coset.samplers.batches import by_size

SIZES = torch.randint(1, 40, (200,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("tokens", "pairs"), [(64, None), (64, 400), (1, None), (10**6, 900), (10**6, None)])
def test_budgets_are_kept_and_filled(tokens, pairs):
    def fits(count, size):
        return count * size <= tokens and (pairs is None or count * size**2 <= pairs)

    batches = list(by_size(SIZES, tokens, pairs))
    assert torch.cat(batches).tolist() == SIZES.sort(stable=True).indices.tolist()
    largest = [int(SIZES[batch[-1]]) for batch in batches]
    assert all(len(batch) == 1 or fits(len(batch), size) for batch, size in zip(batches, largest, strict=True))
    first = [int(SIZES[batch[0]]) for batch in batches]
    assert not any(fits(len(batch) + 1, size) for batch, size in zip(batches[:-1], first[1:], strict=True))


def test_nothing_makes_no_batch():
    assert list(by_size(SIZES[:0], 64)) == []
