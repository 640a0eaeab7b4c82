"""Averages, learning rate, clipping, checkpoint files."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coset.training.checkpoint import load_tensors, save_tensors, strip_prefix, with_prefix
from coset.training.ema import EMA
from coset.training.optimisation import Clipper, rate_factor


def test_average_follows_its_recursion_and_applies_for_a_while():
    model = nn.Linear(1, 1, bias=False)
    ema, expected = EMA(model, [0.5]), model.weight.item()
    for step in range(30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.averages[0.5][0].item() == pytest.approx(expected, rel=1e-5)
    with ema.applied(0.5):
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 29


def test_an_average_taken_over_is_not_forgotten():
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, [0.99], fresh=False)
    start = model.weight.item()
    with torch.no_grad():
        model.weight.fill_(start + 1)
    ema.update(0)
    assert ema.averages[0.99][0].item() == pytest.approx(start + 0.01, rel=1e-5)


def test_rate_rises_holds_and_falls_to_zero():
    assert rate_factor(0, 0.0, warmup=10, decay=0.4) == pytest.approx(0.1)
    assert rate_factor(99, 0.5, warmup=10, decay=0.4) == 1
    assert rate_factor(99, 0.8, warmup=10, decay=0.4) == pytest.approx(0.5)
    assert rate_factor(99, 1.0, warmup=10, decay=0.4) == 0
    assert rate_factor(99, 0.99, warmup=0, decay=0.0) == 1


def test_queue_clipping_is_the_published_rule():
    clipper, parameter = Clipper("queue"), nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([5000.0])
    assert clipper([parameter]) == 5000  # limit 1.5 * 3000 + 2 * 0
    assert parameter.grad.item() == pytest.approx(4500, rel=1e-5)
    assert clipper.history == [3000, 4500]
    parameter.grad = torch.tensor([1.0])
    clipper([parameter])
    assert parameter.grad.item() == 1
    for _ in range(60):
        clipper([parameter])
    assert len(clipper.history) == 50


def test_no_limit_and_a_number():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert Clipper(None)([parameter]) == 5 and parameter.grad.norm() == 5
    Clipper(1.0)([parameter])
    assert parameter.grad.norm().item() == pytest.approx(1, rel=1e-5)


def test_a_nan_gradient_is_seen():
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([math.nan])
    assert math.isnan(Clipper("queue")([parameter]))


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
    from safetensors.torch import save_file

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
