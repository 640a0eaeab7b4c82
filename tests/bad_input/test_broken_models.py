"""Broken weights and cards: one sentence each, and nothing that could run code is ever loaded."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import coset.model_files
from coset.model import Model, UnseenSize, load
from coset.model_files import list_models


@pytest.fixture(scope="module")
def model() -> Model:
    return load("qm9")


@pytest.fixture(scope="module")
def whole(model: Model, tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    model.save(folder / "m")
    return (folder / "m.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0, 1e-6, 5e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.999, 0.999999])
def test_weights_cut_anywhere_are_refused(tmp_path: Path, whole: bytes, share: float):
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"m\.safetensors is not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize("place", [2, 200, 5000, -1, -100_000])
def test_a_flipped_bit_is_found(tmp_path: Path, whole: bytes, place: int):
    damaged = bytearray(whole)
    damaged[place] ^= 4
    (tmp_path / "m.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"m\.safetensors"):
        load(tmp_path / "m.safetensors")


def test_a_flipped_bit_in_the_name_of_a_header_entry_is_found(tmp_path: Path, whole: bytes):
    """Entries of the header come in any order, so that a place by number may be one of these or not."""
    place = whole.index(b'"format"') + 3
    (tmp_path / "m.safetensors").write_bytes(whole[:place] + b"k" + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"m\.safetensors is damaged: its header is not what was written"):
        load(tmp_path / "m.safetensors")


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_by_their_content(refused, tmp_path: Path, name: str, zipped: bool):
    state = {"weights": torch.zeros(3), "trap": Trap(tmp_path / "ran")}
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    message = refused("sample", "--model", tmp_path / name, "-o", tmp_path / "m.sdf")
    assert "nothing that could run code is loaded" in message and name in message
    (tmp_path / name).write_bytes(pickle.dumps(state["trap"]))
    assert "nothing that could run code is loaded" in refused("sample", "--model", tmp_path / name)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "m.sdf").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "edmm"}, r"unknown recipe 'edmm' \(did you mean edm\?\)"),
        ({"recipe": None}, "unknown recipe None"),
        ({"settings": {"widht": 3}}, "setting widht: Extra inputs are not permitted"),
        ({"settings": {"width": "wide"}}, "setting width: .*valid integer"),
        ({"settings": []}, "mapping"),
        ({"elements": [1, 6, 7, 8, 9, 200]}, "Atomic numbers lie between"),
        ({"elements": None}, "not iterable"),
        ({"sizes": {"many": 1}}, "invalid literal"),
        ({"sizes": {}}, "size counts must be positive"),
    ],
)
def test_a_card_that_does_not_fit_is_named(tmp_path: Path, model: Model, change: dict, message: str):
    replace(model, card={**model.card, **change}).save(tmp_path / "m")
    with pytest.raises(ValueError, match=rf"m\.safetensors: its card does not fit \(.*{message}") as error:
        load(tmp_path / "m.safetensors")
    assert len(str(error.value).splitlines()) == 1 and f"this is {coset.__version__}" in str(error.value)


@pytest.mark.parametrize("key", ["recipe", "settings", "elements", "sizes"])
def test_a_card_that_lacks_an_entry_is_named(tmp_path: Path, model: Model, key: str):
    replace(model, card={name: value for name, value in model.card.items() if name != key}).save(tmp_path / "m")
    with pytest.raises(ValueError, match=f"'{key}' is missing"):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, number: float):
    broken = load("qm9")
    name, parameter = list(broken.diffusion.named_parameters())[3]
    with torch.no_grad():
        parameter.view(-1)[0] = number
    broken.save(tmp_path / "m")
    with pytest.raises(ValueError, match=f"m.safetensors: the weights {name} hold NaN or infinity"):
        load(tmp_path / "m.safetensors")


def test_weights_of_others_are_refused(tmp_path: Path):
    save_file({"weight": torch.zeros(2, 3)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="was not written by coset"):
        load(tmp_path / "m.safetensors")


def test_a_card_beside_the_weights_may_be_missing_but_not_broken_where_it_is_read(tmp_path: Path, monkeypatch, model):
    model.save(tmp_path / "m")
    monkeypatch.setattr(coset.model_files, "WEIGHTS", tmp_path)
    assert list_models()["m"]["recipe"] == model.card["recipe"]
    for content in (b"", b"{", b"[1]", b"\xff\xfe"):
        (tmp_path / "m.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"the card .*m\.json .*copy it again"):
            list_models()
    (tmp_path / "m.json").unlink()
    assert load("m").card == model.card
    with pytest.raises(FileNotFoundError, match=r"no model 'mm' \(did you mean m\?\).*not packaged \(m\)"):
        load("mm")


def test_names_keep_their_dots_and_cards_the_sum_of_the_weights(tmp_path: Path, model: Model):
    for name, stem in (("run.v2", "run.v2"), ("a.b.safetensors", "a.b")):
        model.save(tmp_path / name)
        assert {f"{stem}.safetensors", f"{stem}.json"} <= {path.name for path in tmp_path.iterdir()}
        assert load(tmp_path / f"{stem}.safetensors").card == model.card
    from hashlib import sha256

    card = json.loads((tmp_path / "a.b.json").read_text())
    assert card["sha256"] == sha256((tmp_path / "a.b.safetensors").read_bytes()).hexdigest()
    with safe_open(tmp_path / "a.b.safetensors", "pt") as file:
        assert "sha256" not in file.metadata()["coset"]


def test_sizes_never_seen_are_allowed_with_a_warning(model: Model):
    with pytest.warns(UnseenSize, match="seen molecules of 3 to 29 atoms, never one of 40"):
        assert len(model.sample(1, atoms=40, steps=1)[0]) == 40
    with pytest.warns(UnseenSize, match="never one of 1;"):
        assert len(model.sample(2, atoms=1, steps=2)[1]) == 1
    with pytest.raises(ValueError, match="more than 1,000"):
        model.sample(1, atoms=10**9)
