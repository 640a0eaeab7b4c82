"""Legs: from the queue's top entry, each from the last one's weights, adding to one card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from coset.ensembles.model import load_conformer_model
from coset.files import read
from coset.model import load
from coset.recipes.registry import find_recipe
from coset.training.checkpoint import load_tensors, save_tensors
from coset.training.leg import Leg, in_words, read_entry
from ensemble_files import small_ensembles_file

QUEUE = """# Training queue

## tiny
- recipe: edm
- settings: size=small width=16 depth=1 batch=16 ema=[0.9] validate_molecules=16 sample_molecules=0
- weights: weights/tiny.safetensors
- raw: training/tiny.raw.safetensors
- molecules seen: 0
- metrics: none yet

## later
- recipe: dit
- settings: size=small
- weights: weights/later.safetensors
- raw: training/later.raw.safetensors
- molecules seen: 0
- metrics: none yet
"""
SOME = {"data": "qm9-sample", "minutes": None, "molecules": 160}


@pytest.fixture
def queue(tmp_path):
    path = tmp_path / "training" / "QUEUE.md"
    path.parent.mkdir()
    path.write_text(QUEUE)
    return path


def run_leg(queue, folder):
    leg = Leg.plan(queue, 1.0, SOME)
    card = leg.train(folder, "cpu", None, molecules=3)
    leg.install(folder)
    return leg, card


def test_two_legs_go_on_from_one_another(queue, tmp_path):
    _, first = run_leg(queue, tmp_path / "leg1")
    assert first["molecules_seen"] == 160 and first["metrics"]["counts"]["molecules"] == 3
    assert len(read(tmp_path / "leg1" / "samples.npz")) == 3 and (tmp_path / "leg1" / "metrics.json").is_file()
    leg, second = run_leg(queue, tmp_path / "leg2")
    assert leg.settings.seed == 1
    assert second["flops"] == pytest.approx(2 * first["flops"], rel=0.2) and first["flops"] > 0
    assert second["molecules_seen"] == 320 and [part["molecules"] for part in second["legs"]] == [160, 160]
    text = queue.read_text()
    assert "- molecules seen: 320\n" in text and text.count("- metrics: none yet") == 1
    assert "atom stability" in text.split("## later")[0]
    model = load(tmp_path / "weights" / "tiny.safetensors")
    assert model.card["molecules_seen"] == 320
    card = json.loads((tmp_path / "weights" / "tiny.json").read_text())
    assert {key: card[key] for key in model.card} == model.card


def test_a_leg_starts_at_the_last_weights(queue, tmp_path):
    run_leg(queue, tmp_path / "leg1")
    leg = Leg.plan(queue, 1.0, SOME | {"lr": 1e-12})  # stands still, so that the start shows
    raw, state = load_tensors(leg.entry.raw)
    raw["denoiser.network.head.bias"] += 0.2  # far from the average
    save_tensors(leg.entry.raw, raw, state)
    leg.train(tmp_path / "leg2", "cpu", None, molecules=2)
    before, after = load(tmp_path / "leg1"), load(tmp_path / "leg2")
    updates = 10  # 160 molecules in batches of 16
    for name, parameter in after.diffusion.named_parameters():
        average = dict(before.diffusion.named_parameters())[name]
        expected = raw[name].float() + 0.9**updates * (average - raw[name].float())
        assert torch.allclose(parameter, expected, atol=1e-2)  # fp16 and bf16 on the way


def test_a_leg_may_pause_and_goes_on_to_its_end(queue, tmp_path):
    leg = Leg.plan(queue, 1.0, SOME)
    paused = leg.train(tmp_path / "leg", "cpu", None, molecules=1, pause=0.0)
    whole = leg.train(tmp_path / "leg", "cpu", None, molecules=1)
    assert 0 < paused["molecules_seen"] < whole["molecules_seen"] == 160
    with pytest.raises(ValueError, match="at its end"):
        leg.train(tmp_path / "leg", "cpu", None, molecules=1)


def test_the_top_entry_is_read(queue):
    entry = read_entry(queue)
    assert (entry.name, entry.recipe) == ("tiny", "edm") and entry.settings["width"] == 16
    assert entry.weights == queue.parent.parent / "weights/tiny.safetensors" and entry.card is None


TOLD = """
## told
- recipe: edm
- settings: width=16 depth=1 batch=16 ema=[0.9] validate_molecules=16 sample_molecules=0 condition=[composition]
- weights: weights/told.safetensors
- raw: training/told.raw.safetensors
- molecules seen: 0
- metrics: none yet
"""


def test_another_run_of_the_queue_may_begin_with_a_model_that_was_told_nothing(queue, tmp_path):
    run_leg(queue, tmp_path / "leg1")
    queue.write_text(queue.read_text() + TOLD)
    start = tmp_path / "weights" / "tiny.safetensors"
    settings = SOME | {"init": str(start), "lr": 1e-12, "warmup": 0}  # stands still
    leg = Leg.plan(queue, 1.0, settings, "told")
    card = leg.train(tmp_path / "leg2", "cpu", None, molecules=2)
    leg.install(tmp_path / "leg2")
    told, plain = load(tmp_path / "weights" / "told.safetensors"), load(start)
    assert told.card["settings"]["condition"] == ["composition"] and card["molecules_seen"] == 160
    own = {name.replace("network.network", "network"): value for name, value in told.diffusion.named_parameters()}
    for name, value in plain.diffusion.named_parameters():
        assert torch.allclose(own[name], value, atol=1e-3)
    text = queue.read_text()
    assert text.count("- molecules seen: 160\n") == 2 and text.count("- metrics: none yet") == 1
    with pytest.raises(ValueError, match=r"holds no run untold; its runs: tiny, later, told"):
        read_entry(queue, "untold")


@pytest.mark.parametrize(
    ("text", "message"),
    [("# nothing\n", "holds no run"), ("## a\n- recipe: edm\n", "lacks settings, weights, raw")],
)
def test_a_broken_queue_is_one_sentence(tmp_path, text, message):
    (tmp_path / "Q.md").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_entry(tmp_path / "Q.md")
    with pytest.raises(FileNotFoundError, match="no training queue"):
        read_entry(tmp_path / "none.md")


ENSEMBLES = """
## ensembles
- recipe: dit_conf_ts
- settings: width=16 depth=1 heads=2 batch=4 ema=[0.9] sample_molecules=0
- weights: weights/ensembles.safetensors
- raw: training/ensembles.raw.safetensors
- molecules seen: 0
- metrics: none yet
"""


def test_legs_of_conformers_go_on_from_one_another_and_are_measured_by_coverage(queue, tmp_path):
    queue.write_text(queue.read_text() + ENSEMBLES)
    own = {"data": str(small_ensembles_file(tmp_path / "small.npz")), "minutes": None, "molecules": 24}
    first = Leg.plan(queue, 1.0, own, "ensembles")
    first.train(tmp_path / "leg1", "cpu", None, molecules=2)
    first.install(tmp_path / "leg1")
    first.entry.raw.unlink()  # as where raw weights were not kept: `init` is what the next leg begins with
    still = own | {"lr": 1e-12, "init": str(first.entry.weights)}
    second = Leg.plan(queue, 1.0, still, "ensembles")
    card = second.train(tmp_path / "leg2", "cpu", None, molecules=2)
    second.install(tmp_path / "leg2")
    before, _ = load_tensors(tmp_path / "leg1" / "model.safetensors")
    after, _ = load_tensors(second.entry.raw)
    assert all(torch.allclose(after[name].float(), value.float(), atol=1e-2) for name, value in before.items())
    assert second.settings.seed == 1 and card["molecules_seen"] == 48
    assert [part["molecules"] for part in card["legs"]] == [24, 24]
    assert card["metrics"]["molecules"] == 2 and card["metrics"]["asked"] == 8
    assert load_conformer_model(second.entry.weights).card["metrics"] == card["metrics"]
    text = queue.read_text().split("## ensembles")[1]
    assert "- molecules seen: 48\n" in text and f"- metrics: {in_words(card['metrics'])}\n" in text
    assert queue.read_text().count("- metrics: none yet") == 2


def test_coverage_in_words_is_recall_and_precision_at_both_thresholds():
    found = {"cov_recall_mean_0.5": 0.8229, "cov_precision_mean_0.5": 0.6874}
    found |= {"cov_recall_mean_0.1": 0.153, "cov_precision_mean_0.1": 0.0888}
    words = in_words({"molecules": 200, "steps": 25, "coverage": found})
    assert words == "COV-R/P 82.3/68.7 within 0.5 Å, 15.3/8.9 within 0.1 Å (%, 200 molecules, 25 steps)"


def test_the_projects_own_queue_can_be_run_and_tells_what_the_cards_say():
    queue = Path(__file__).parents[2] / "training" / "QUEUE.md"
    _, *entries = queue.read_text().split("\n## ")
    for text in entries:
        entry = read_entry(queue, text.splitlines()[0])
        assert find_recipe(entry.recipe).resolve(entry.settings)
        if entry.card:
            assert f"\n- molecules seen: {entry.card['molecules_seen']:,}\n" in text
            assert f"\n- metrics: {in_words(entry.card['metrics'])}\n" in text
