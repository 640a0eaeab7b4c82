"""Alignment: order of directions, and what poses do to it."""

from __future__ import annotations

import numpy as np
import pytest

from coset.data import open_dataset
from coset.model import Model
from coset.molecule import QM9
from coset.recipes.registry import build, find_recipe
from coset.reproduce.alignment import Study, pose, run, turned_apart
from coset.reproduce.directions import MEASURES, Posed, directions, nematic, order, polar
from coset.reproduce.picture import Ball, draw_molecules, seen
from coset.samplers.sizes import SizeDistribution
from coset.symmetry.frames import HaarFrame, IdentityFrame, PrincipalFrame

STUDY = Study("qm9-sample", molecules=100)


def tiny(recipe):
    settings = find_recipe(recipe).resolve({"size": "small", "width": 8, "depth": 1})
    card = {"name": recipe, "recipe": recipe}
    return Model(build(recipe, settings, 5), QM9, SizeDistribution({9: 1}), card)


def test_order_is_one_for_equal_directions_and_none_for_those_by_chance():
    random = np.random.default_rng(0)
    axes = random.normal(size=(20_000, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    assert nematic(axes) < 0.03 and polar(axes) < 0.03
    same = np.array([[0.0, 0.6, 0.8]]) * random.choice([-1.0, 1.0], size=(1000, 1))
    assert nematic(same) == pytest.approx(1) and polar(same) < 0.1
    assert polar(np.abs(same)) == pytest.approx(1)


def test_poses_order_molecules_as_they_must():
    held_out = Posed.of(open_dataset(STUDY.data), STUDY.molecules)
    assert len(held_out.rings) > 50 and len(held_out.carbonyls) > 10
    principal = order(held_out, pose(held_out.clean, PrincipalFrame(random=False), 0))
    assert principal["longest_axes"] == pytest.approx(1) and principal["shortest_axes"] == pytest.approx(1)
    chance = order(held_out, pose(held_out.clean, HaarFrame(reflections=False), 0))
    assert chance["longest_axes"] < 0.35 and chance["ring_normals"] < 0.35
    assert turned_apart(held_out.clean, PrincipalFrame(random=False), 0) < 1e-3
    assert 115 < turned_apart(held_out.clean, IdentityFrame(), 0) < 150
    assert 115 < turned_apart(held_out.clean, HaarFrame(reflections=False), 0) < 150


def test_the_report_has_a_line_for_every_pose(tmp_path):
    models = {"learned": tiny("radm_gnn"), "pca": tiny("radm_pca")}
    record = run(STUDY, models, tmp_path)
    assert set(record.rows) == {"as in the data", "random", "principal axes", "learned", "pca"}
    assert record.rows["pca"]["longest_axes"] == pytest.approx(record.rows["principal axes"]["longest_axes"], abs=1e-3)
    assert record.rows["learned"]["codec"]["rmsd"] > 0
    report = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in report for name in record.rows)
    with pytest.raises(ValueError, match="edm is of recipe edm, which has no pose; give a latent model"):
        run(STUDY, {"edm": tiny("edm")}, tmp_path / "other")


def test_order_is_that_of_the_directions_that_are_drawn():
    held_out = Posed.of(open_dataset(STUDY.data), STUDY.molecules)
    turns = pose(held_out.clean, PrincipalFrame(random=False), 0)
    drawn, found = directions(held_out, turns), order(held_out, turns)
    assert set(drawn) == set(found) == set(MEASURES)
    assert np.abs(np.abs(drawn["longest_axes"]) - [0, 0, 1]).max() < 1e-6
    assert found["carbonyls"] == polar(drawn["carbonyls"]) and found["ring_normals"] == nematic(drawn["ring_normals"])


def test_the_eye_turns_space_and_sees_z_upwards():
    across = seen(np.eye(3))
    assert np.allclose(across @ across.T, np.eye(3)) and np.linalg.det(across) == pytest.approx(1)
    assert across[2, 1] > 0.9 and abs(across[2, 0]) < 1e-12


def test_nearer_atoms_are_drawn_larger_and_after_those_behind_them():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axis = figure.subplots()
    towards = np.linalg.inv(seen(np.eye(3)))[2]  # to the eye
    draw_molecules(axis, [Ball(np.array([6, 6]), np.stack([3 * towards, -3 * towards]), [(0, 1)])], columns=1)
    bonds, *layers = axis.collections
    behind, before = (layer for layer in layers if len(layer.get_offsets()))
    assert before.get_sizes()[0] > 1.5 * behind.get_sizes()[0]
    assert bonds.get_zorder() < behind.get_zorder() and len(bonds.get_segments()) == 1
