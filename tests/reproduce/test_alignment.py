"""Alignment: order of directions, and what poses do to it."""

from __future__ import annotations

import numpy as np
import pytest

from coset.model import Model
from coset.molecule import QM9
from coset.recipes.registry import build, find_recipe
from coset.reproduce.alignment import Posed, Study, nematic, order, polar, pose, run, turned_apart
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
    held_out = Posed.of(STUDY)
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
