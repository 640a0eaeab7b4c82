"""Checkpoint files: whole and unchanged, or refused with one sentence."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from coset.model import load
from coset.recipes.registry import build, find_recipe
from coset.training.checkpoint import load_state, load_tensors, save_tensors, strip_prefix, with_prefix
from coset.training.folder import check_same
from coset.training.state import State

SMALL = {"width": 8, "depth": 1, "ema": [0.9], "data": "qm9-sample"}


def state_of(recipe="edm", **settings):
    resolved = find_recipe(recipe).resolve(SMALL | settings)
    about = {"recipe": recipe, "settings": resolved.model_dump(mode="json")}
    return State.start(build(recipe, resolved, 5), resolved), about


@pytest.fixture
def checkpoint(tmp_path):
    state, about = state_of()
    state.save(tmp_path / "checkpoint.safetensors", about)
    return tmp_path / "checkpoint.safetensors"


def test_checkpoint_round_trip(tmp_path):
    tensors = with_prefix("raw", {"a": torch.randn(3, 2).t()})
    save_tensors(tmp_path / "c.safetensors", tensors, {"step": 3})
    loaded, state = load_tensors(tmp_path / "c.safetensors")
    assert state == {"step": 3} and torch.equal(strip_prefix("raw", loaded)["a"], tensors["raw/a"])
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "c.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("keep", [0, 1, 7, 50, 200])
def test_a_truncated_file_is_one_sentence(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"a": torch.randn(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_tensors(path)


def test_a_foreign_or_missing_file_is_one_sentence(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not written by coset"):
        load_tensors(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_tensors(tmp_path / "none.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"a": torch.zeros(1)}, {"step": 1})
    monkeypatch.setattr("coset.training.checkpoint.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_tensors(path, {"a": torch.ones(1)}, {"step": 2})
    assert load_tensors(path)[1] == {"step": 1} and len(list(tmp_path.iterdir())) == 1


SHARES = [0, 1e-6, 1e-4, 0.005, 0.02, 0.1, 0.3, 0.6, 0.9, 0.999, 0.99999]


@pytest.mark.parametrize("share", SHARES)
def test_a_truncated_checkpoint_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    state, _ = state_of(seed=1)
    before = [p.clone() for p in state.diffusion.parameters()]
    with pytest.raises(ValueError, match=r"^[^\n]*checkpoint.safetensors is not a whole safetensors file[^\n]*$"):
        state.load(checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(before, state.diffusion.parameters(), strict=True))


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    """But in the name of the version's entry, whose loss changes nothing that is read."""
    path = tmp_path / "c.safetensors"
    tensors = {"a": torch.randn(5, 3), "b": torch.arange(4), "step": torch.tensor(3.0)}
    save_tensors(path, tensors, {"counters": {"step": 3}})
    content, harmless = path.read_bytes(), 0
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 1 << place % 7
        path.write_bytes(bytes(broken))
        try:
            found, state = load_tensors(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
            continue
        harmless += 1
        assert state == {"counters": {"step": 3}} and found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert harmless <= len("format")


def test_a_flipped_weight_is_named(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    content[-5] ^= 1
    checkpoint.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"is damaged: raw/\S+ is not what was written"):
        load_tensors(checkpoint)


def test_other_versions_are_refused_and_the_first_is_read(tmp_path):
    path, tensors = tmp_path / "c.safetensors", {"a": torch.ones(2)}
    save_file(tensors, path, metadata={"coset": json.dumps({"step": 1})})
    assert load_tensors(path)[1] == {"step": 1}
    save_file(tensors, path, metadata={"coset": "{}", "format": "3"})
    with pytest.raises(ValueError, match="has format version 3, this coset reads 1 and 2"):
        load_tensors(path)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
def test_a_pickle_is_refused_unread(tmp_path, old):
    path = tmp_path / "checkpoint.safetensors"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ValueError, match="is a pickle or a zip"):
        load_tensors(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="is a pickle or a zip"):
        load_state(path)


def test_a_model_is_no_checkpoint_and_a_checkpoint_no_model(checkpoint):
    state, _ = state_of()
    save_tensors(checkpoint.with_name("model.safetensors"), dict(state.diffusion.named_parameters()), {"card": {}})
    with pytest.raises(ValueError, match="not a checkpoint of a training but a model"):
        state.load(checkpoint.with_name("model.safetensors"))
    with pytest.raises(ValueError, match="a training checkpoint, not a model"):
        load(checkpoint)


def test_a_checkpoint_of_another_recipe_or_of_other_settings_says_so(checkpoint):
    with pytest.raises(ValueError, match="belongs to recipe edm, this run is of gdm"):
        check_same(checkpoint, state_of("gdm")[1])
    with pytest.raises(ValueError, match=r"other settings: seed was 0 and is 3, lr was 0.0001 and is 0.01;"):
        check_same(checkpoint, state_of(lr=0.01, seed=3)[1])
    check_same(checkpoint, state_of(lr=0.01)[1], but=("lr",))
    check_same(checkpoint, state_of()[1])
    for wide in ({"width": 12}, {"ema": [0.5]}):
        with pytest.raises(ValueError, match="does not fit this model"):
            state_of(**wide)[0].load(checkpoint)


def test_weights_that_are_not_finite_do_not_replace_good_ones(checkpoint):
    state, about = state_of()
    state.load(checkpoint)
    with torch.no_grad():
        next(state.diffusion.parameters()).fill_(float("nan"))
    before = checkpoint.read_bytes()
    with pytest.raises(FloatingPointError, match=r"not finite after step 0.*the last good checkpoint is .*of step 0"):
        state.save(checkpoint, about)
    assert checkpoint.read_bytes() == before
