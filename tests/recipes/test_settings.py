"""Settings from the command line."""

from __future__ import annotations

import pytest

from coset.recipes.settings import parse_settings


def test_values_are_json_words_in_brackets_or_text():
    pairs = ["lr=1e-3", "tokens=null", "ema=[0.9,0.99]", "condition=[composition, gap_ev]", 'target="exact"', "size=xs"]
    assert parse_settings(pairs) == {
        "lr": 1e-3, "tokens": None, "ema": [0.9, 0.99], "condition": ["composition", "gap_ev"], "target": "exact",
        "size": "xs",
    }  # fmt: skip


def test_what_is_no_pair_is_told():
    with pytest.raises(ValueError, match="--set expects key=value; got 'lr'"):
        parse_settings(["lr"])
