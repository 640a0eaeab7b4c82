"""What large jobs make, part by part, is what one call makes."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from coset.ensembles.plan import Plan
from coset.ensembles.requests import requests
from coset.files import read
from coset.model import load
from coset.scale.making import Conformers, Molecules

OPTIONS = {"steps": 3, "atoms": None}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_molecules_are_told_apart_by_their_numbers_alone():
    model = load("qm9")
    whole, part = model.draw(7, seed=2, **OPTIONS).molecules, model.draw(3, seed=2, first=4, **OPTIONS).molecules
    for molecule, other in zip(whole[4:], part, strict=True):
        assert molecule.properties["number"] == other.properties["number"]
        assert np.array_equal(molecule.numbers, other.numbers)
        assert np.allclose(molecule.positions, other.positions, atol=1e-3)


def test_parts_of_a_sampling_job_are_the_molecules_of_one_call(tmp_path):
    make = Molecules("qm9", seed=2, options=OPTIONS).opened("cpu")
    paths = [tmp_path / f"{number}.sdf.gz" for number in range(3)]
    told = [make(part, path) for part, path in zip((range(3), range(3, 7), range(3)), paths, strict=True)]
    assert told[1] == {"molecules": 4, "redrawn": 0}
    assert paths[0].read_bytes() == paths[2].read_bytes()
    found = [molecule for path in paths[:2] for molecule in read(path)]
    assert [molecule.properties["number"] for molecule in found] == list(range(7))
    assert {"stable", "valid", "connected", "model", "seed"} <= set(found[0].properties)
    for molecule, other in zip(found, load("qm9").sample(7, seed=2, **OPTIONS), strict=True):
        assert np.array_equal(molecule.numbers, other.numbers)


def test_a_sampling_job_draws_in_the_precision_it_was_given(tmp_path):
    path = tmp_path / "some.sdf.gz"
    Molecules("qm9", seed=2, options={**OPTIONS, "precision": "bf16"}).opened("cpu")(range(2), path)
    assert [molecule.properties["precision"] for molecule in read(path)] == ["bf16", "bf16"]


def test_parts_of_a_job_of_conformers_are_the_lines_of_one_file(tmp_path):
    (tmp_path / "some.smi").write_text("CCO ethanol\nXX bad\nC[C@H](N)C(=O)O alanine\nCCC propane\n")
    asked = requests(str(tmp_path / "some.smi"))
    make = Conformers("rdkit", Plan(2)).opened("cpu")
    whole, first, second = (tmp_path / f"{name}.sdf.gz" for name in "abc")
    told = make(asked, whole)
    parts = [make(asked[:2], first), make(asked[2:], second)]
    assert told["conformers"] == 6 and told["failed"] == 1 and told["rows"][0][:3] == [2, "bad", "XX"]
    assert parts[0]["rows"] == told["rows"] and parts[1]["failed"] == 0
    text = gzip.decompress(whole.read_bytes())
    assert text.count(b"$$$$") == 6 and text == gzip.decompress(first.read_bytes() + second.read_bytes())
