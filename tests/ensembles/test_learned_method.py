"""The learned method: what its conformers depend on, what it refuses, its files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import coset
from coset.cli.cards import find_card, verify
from coset.ensembles.measure import References, measure
from coset.ensembles.model import ConformerModel, Drawing, load_conformer_model
from coset.graphs.graph import read_smiles
from coset.model_files import CONFORMERS
from coset.recipes.registry import build, find_recipe
from example_ensembles import SMILES, embedded

TINY = {"width": 16, "depth": 2, "heads": 2, "radial": 8}
MOLS = [read_smiles(smiles) for smiles in ("CCO", "c1ccccc1", "CC(=O)NC", "[H][H]", "C[C@H](F)O")]


def tiny(recipe: str = "etflow_ts", **about) -> ConformerModel:
    known = {key: value for key, value in TINY.items() if key in find_recipe(recipe).settings.model_fields}
    settings = find_recipe(recipe).resolve(known)
    diffusion = build(recipe, settings, 0)
    for parameter in diffusion.parameters():  # heads that begin with zeros would leave the noise as it is
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    card = {"name": "tiny", "draws": CONFORMERS, "recipe": recipe, "settings": settings.model_dump(mode="json")}
    card |= {"elements": [1, 6, 7, 8, 9], "largest": 12, "molecules_seen": 0, "parameters": 1, "version": "0"}
    return ConformerModel(diffusion, card | about, Drawing(steps=3))


@pytest.mark.parametrize("recipe", ["etflow", "etdiff", "dit_conf_ts", "mcf"])
def test_conformers_depend_on_molecule_and_seed_alone(recipe):
    model = tiny(recipe)
    found = model.positions(MOLS, [4, 2, 3, 1, 2], [7, 8, 9, 10, 11])
    assert [each.shape for each in found] == [(4, 9, 3), (2, 12, 3), (3, 12, 3), (1, 2, 3), (2, 9, 3)]
    for row, mol in enumerate(MOLS):
        alone = model.positions([mol], [len(found[row])], [7 + row])[0]
        np.testing.assert_allclose(found[row], alone, atol=1e-4)
        assert np.abs(found[row].mean(1)).max() < 1e-4
    again, other = model.positions(MOLS[:1], [2], [7])[0], model.positions(MOLS[:1], [2], [8])[0]
    np.testing.assert_allclose(again, found[0][:2], atol=1e-4)
    assert np.abs(again - other).max() > 0.1 and np.abs(again[0] - again[1]).max() > 0.1


def test_no_conformer_of_none_and_an_atom_at_the_origin():
    model = tiny()
    assert model.positions([], [], []) == []
    assert model.positions(MOLS[:1], [0], [0])[0].shape == (0, 9, 3)
    assert (model.positions([read_smiles("[He]")], [2], [0])[0] == 0).all()


def test_conformers_that_are_not_finite_are_left_out():
    model = tiny()
    next(model.diffusion.parameters()).data[:] = torch.nan
    assert model.positions(MOLS[:1], [3], [0])[0].shape == (0, 9, 3)


def test_strange_elements_and_large_molecules_are_refused_in_a_sentence():
    model = tiny()
    assert model.refusal(MOLS[0]) is None
    assert model.refusal(read_smiles("CS")) == "the model tiny has never seen S"
    assert "26 atoms are more than the 18" in str(model.refusal(read_smiles("CCCCCCCC")))


def test_a_saved_model_draws_the_same_and_its_file_tells_what_it_is(tmp_path):
    model = tiny()
    model.save(tmp_path / "m", dtype=torch.float32)
    loaded = load_conformer_model(tmp_path / "m.safetensors").having(steps=3)
    np.testing.assert_array_equal(loaded.positions(MOLS[:1], [2], [0])[0], model.positions(MOLS[:1], [2], [0])[0])
    assert loaded.key == model.key != model.having(steps=4).key != tiny("etdiff").key
    card = find_card(str(tmp_path / "m.safetensors"))
    assert card.values["draws"] == CONFORMERS and "whole" in verify(card)
    with pytest.raises(ValueError, match="draws conformers of molecules that it is given"):
        coset.load(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="draws molecules, not conformers"):
        load_conformer_model("qm9")
    tiny(elements=None, settings={"width": -1}).save(tmp_path / "broken")
    with pytest.raises(ValueError, match=r"broken.* its card does not fit"):
        load_conformer_model(tmp_path / "broken.safetensors")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"eta": 2.0}, {"grid_power": 0.0}, {"solver": "euler"}], ids=str)
def test_wrong_ways_of_drawing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Drawing(**wrong)


class Perfect(ConformerModel):
    """Gives the reference's conformers, and every other one mirrored."""

    def of_graphs(self, graphs, counts, seeds):
        raise AssertionError

    def positions(self, mols, counts, seeds):
        return [np.concatenate([embedded(smiles), -embedded(smiles)]) for smiles in SMILES]


def test_what_is_measured_of_conformers_that_are_those_of_the_reference():
    """One molecule has a stereocentre: its mirror images are repaired, others' are as good as any."""
    from coset.data.ensembles import Ensemble

    numbers = [np.array([atom.GetAtomicNum() for atom in read_smiles(smiles).GetAtoms()]) for smiles in SMILES]
    references = References([Ensemble(s, s, n, embedded(s)) for s, n in zip(SMILES, numbers, strict=True)])
    model = tiny()
    found = measure(Perfect(model.diffusion, model.card), references, seed=0)
    assert found["asked"] == found["made"] == 16 and found["stereo_right"] == 14 / 16
    assert found["stereo_repaired"] == found["intact"] == 1 and found["coverage"]["cov_recall_mean_0.1"] == 1
    assert found["coverage"]["amr_recall_mean"] < 1e-6
