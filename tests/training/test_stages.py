"""Two stages under one command: a codec is trained, kept, cached and carried by the diffusion around it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from coset.data.catalog import open_dataset
from coset.likelihood import Settings, likelihood
from coset.metrics.evaluate import evaluate
from coset.model import load
from coset.molecule import DRUGS, QM9, Molecule
from coset.recipes.latent import stage_one
from coset.recipes.latent_settings import Latent
from coset.recipes.registry import build, find_recipe
from coset.training.checkpoint import load_tensors, save_tensors
from coset.training.latents import FILE, encoded
from coset.training.runs import fingerprint, prepare
from coset.training.stages import take_codec
from coset.training.start import carry_out

TINY = {
    "data": "qm9-sample", "size": "small", "width": 16, "depth": 1, "codec_width": 16, "decoder_depth": 1,
    "pose_width": 16, "codec_molecules": 128, "codec_batch": 32, "codec_validate_every": 64, "molecules": 96,
    "batch": 32, "validate_every": 48, "validate_molecules": 16, "sample_molecules": 0, "warmup": 0,
}  # fmt: skip


def settings(**others):
    return find_recipe("radm_gnn").resolve(TINY | others)


def train(folder, **others):
    run = prepare("radm_gnn", settings(**others), folder, "cpu")
    return carry_out(run, folder, resume=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radm") / "run"
    train(folder)
    return folder


def codec_of(model):
    return model.diffusion.codec.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_codec_of_stage_one_travels_with_the_model(trained, tmp_path):
    alone, whole = load(trained / "codec"), load(trained)
    assert alone.card["recipe"] == "autoencoder" and alone.card["settings"]["codec_width"] == 16
    assert same(codec_of(alone), codec_of(whole))
    assert {"valid_position", "valid_type", "valid_charge"} <= set(alone.card["validation"])
    shutil.copytree(trained, tmp_path / "moved", ignore=shutil.ignore_patterns("codec", FILE))
    molecules = load(tmp_path / "moved").sample(3, steps=3)
    assert len(molecules) == 3 and all(isinstance(molecule, Molecule) for molecule in molecules)
    assert evaluate(molecules, reference=None).counts["molecules"] == 3


def test_a_run_resumes_exactly_with_its_codec_and_its_latents(trained, tmp_path):
    train(tmp_path / "run", molecules=48)
    before = load_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]
    assert before["counters"]["molecules"] < 96
    shutil.rmtree(tmp_path / "run" / "codec")  # its weights are in the checkpoint
    about = json.loads((tmp_path / "run" / "settings.json").read_text())
    tensors, state = load_tensors(tmp_path / "run" / "checkpoint.safetensors")
    about["settings"]["molecules"] = state["about"]["settings"]["molecules"] = 96
    save_tensors(tmp_path / "run" / "checkpoint.safetensors", tensors, state)
    train(tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    train(tmp_path / "run")  # at its end; the latents are made anew
    first, again = (load_tensors(folder / FILE)[0]["latents"] for folder in (trained, tmp_path / "run"))
    assert torch.equal(first, again)
    assert same(codec_of(load(trained)), codec_of(load(tmp_path / "run")))


@pytest.mark.parametrize("order", ["data", "spectral"])
def test_latents_are_what_the_codec_makes_of_each_molecule(trained, tmp_path, order):
    dataset = open_dataset("qm9-sample")
    if order == "data":
        codec, path = load(trained).diffusion.codec, trained / FILE
    else:
        codec, path = build("radm_gnn", settings(order=order), types=5).codec, tmp_path / FILE

    def clean(rows):
        return QM9.cloud(*dataset.store.collate(rows))

    latents = encoded(codec, dataset, clean, path, fingerprint(dataset))
    rows = np.sort(dataset.train)[[5, 3, 700]]
    told = latents.join(clean(rows), rows)
    with torch.no_grad():
        known, made = codec.encode(told), codec.encode(clean(rows))
    torch.testing.assert_close(known.x, made.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(known.h, made.h, atol=1e-5, rtol=0)


def test_a_stale_or_damaged_cache_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run" / FILE
    tensors, state = load_tensors(path)
    save_tensors(path, tensors, state | {"codec": "00000000"})
    with pytest.raises(ValueError, match=r"latents.safetensors holds latents of another codec or of other molecules"):
        train(tmp_path / "run")
    whole = (trained / FILE).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"latents.safetensors"):
        train(tmp_path / "run")


def test_a_codec_that_was_trained_before_is_taken(trained, tmp_path):
    train(tmp_path / "run", codec=str(trained / "codec"))
    assert same(codec_of(load(trained / "codec")), codec_of(load(tmp_path / "run")))
    assert not (tmp_path / "run" / "codec").exists()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"latent": 3}, r"the codec codec has latent=1, and this run asks for latent=3; set latent to the former"),
        ({"frame": "pca"}, r"has frame=learned, and this run asks for frame=pca"),
        ({"codec": "nowhere"}, r"no model 'nowhere'"),
        ({"codec": "qm9"}, r"codec=qm9: qm9 is of recipe coset and holds no autoencoder"),
    ],
)
def test_a_codec_that_does_not_fit_is_named_and_nothing_is_left(trained, tmp_path, others, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(tmp_path / "run", **({"codec": str(trained / "codec")} | others))
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_codec_of_other_elements_is_named(trained, tmp_path):
    run = prepare("radm_gnn", settings(codec="codec"), tmp_path / "run", "cpu")
    other = replace(load(trained / "codec"), vocabulary=DRUGS)
    with pytest.raises(
        ValueError, match=r"the codec codec knows H, B, C, .*, Bi, and qm9-sample has H, C, N, O, F; train"
    ):
        take_codec(run.build(), run, other)


def test_an_autoencoder_draws_nothing_and_no_atom_is_kept_in_latent_space(trained):
    with pytest.raises(ValueError, match="codec is an autoencoder and draws no molecules; train a latent diffusion"):
        load(trained / "codec").sample(1)
    fragment = Molecule(np.array([6]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="atoms are kept in place by models that place atoms"):
        load(trained).sample(1, steps=2, fix=fragment, atoms=9)


def test_the_best_autoencoder_is_kept(trained):
    records = [json.loads(line) for line in (trained / "codec" / "log.jsonl").read_text().splitlines()]
    valid = [record for record in records if record["kind"] == "valid"]
    best = valid[0]
    for record in valid[1:]:
        if all(record[key] < min(one[key] for one in valid[: valid.index(record)]) for key in KEYS):
            best = record
    kept = load(trained / "codec").card["validation"]
    assert all(kept[key] == pytest.approx(best[key]) for key in KEYS)


KEYS = ("valid_loss", "valid_position")


def test_a_latent_model_has_a_likelihood(trained):
    dataset = open_dataset("qm9-sample")
    found = likelihood(load(trained), dataset, dataset.valid[:4], Settings(steps=10, repeats=1))
    assert np.isfinite(found.nll)


@pytest.mark.parametrize("name", ["radm_dit_s", "radm_pca", "graphldm", "graphldm_aug", "geoldm"])
def test_stage_one_has_the_codec_that_stage_two_asks_for(name):
    recipe = find_recipe(name)
    s = recipe.resolve({"size": "small", "latent": 2, "scaled": True, "trained_encoder": True})
    assert isinstance(s, Latent)
    first, second = build("autoencoder", stage_one(s), 5), build(name, s, 5)
    shapes = [{key: value.shape for key, value in part.codec.state_dict().items()} for part in (first, second)]
    assert shapes[0] == shapes[1]
    assert any(value.requires_grad for value in second.codec.parameters()) == s.joint


def test_equivariance_of_the_encoder_is_asked_for_where_latents_are_turned():
    with pytest.raises(ValueError, match="set encoder to egnn or none"):
        build("graphldm_aug", find_recipe("graphldm_aug").resolve({"size": "small", "encoder": "gnn"}), 5)


@pytest.mark.parametrize(("name", "others"), [("radm_gnn", {}), ("radm_pca", {"encoder": "none"})])
def test_a_pose_is_not_undone_by_random_rotations(name, others):
    with pytest.raises(ValueError, match="nothing is left of the pose: set frame to none, or rotated to false"):
        build(name, find_recipe(name).resolve({"size": "small", "rotated": True} | others), 5)


def test_a_pose_without_an_autoencoder_is_learned_by_the_diffusion():
    s = find_recipe("radm_gnn").resolve(TINY | {"encoder": "none"})
    diffusion = build("radm_gnn", s, 5)
    dataset = open_dataset("qm9-sample")
    run = prepare("radm_gnn", s, dataset.store.path, "cpu")
    rows = dataset.train[:16]
    diffusion(run.cloud(rows), run.noise(rows, 0)).mean().backward()  # type: ignore[attr-defined]
    learned = [name for name, value in diffusion.named_parameters() if "frame" in name and value.grad is not None]
    assert learned and diffusion.codec.width == 6
