"""`coset sample` told what to draw, as its user meets it."""

from __future__ import annotations

import pytest

from coset.files import read
from coset.recipes.registry import find_recipe
from coset.training.runs import prepare
from coset.training.start import carry_out

SETTINGS = {
    "data": "qm9-sample", "width": 8, "depth": 1, "batch": 16, "molecules": 32, "validate_molecules": 16,
    "validate_every": 32, "sample_molecules": 0, "condition": ["composition", "pattern", "morgan"],
    "condition_width": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A model that hardly began to learn."""
    folder = tmp_path_factory.mktemp("told")
    carry_out(prepare("edm", find_recipe("edm").resolve(SETTINGS), folder, "cpu"), folder, resume=False)
    return folder


def test_a_formula_decides_the_size_and_what_was_kept_is_told(run, told, tmp_path):
    out = tmp_path / "asked.sdf"
    code, text, _ = run(
        "sample", "-n", 3, "--steps", 2, "--model", told, "--composition", "C2H6O", "--substructure", "[OX2H]",
        "--like", "CCO", "--guidance", 2, "-o", out,
    )  # fmt: skip
    assert code == 0 and all(len(molecule) == 9 for molecule in read(out))
    assert "composition C2H6O: " in text and " of 3" in text
    assert "substructure [OX2H]: " in text and "likeness to CCO (Tanimoto, 0 to 1): " in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--composition", "C2Q"], "the formula C2Q has Q, which is no element"),
        (["--substructure", "c1cc"], "expected a substructure as SMARTS"),
        (["--property", "gap"], "--property expects NAME=NUMBER, such as gap=0.25; got 'gap'"),
        (["--property", "gap=0.25"], "this model was not trained to be told of gap; it knows of composition, pattern"),
        (["--guidance", "2"], "--guidance follows a wish"),
        (["--composition", "CH4", "--atoms", "9"], "the composition has 5 atoms, and atoms=9 was asked for"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(run, told, tmp_path, options, sentence):
    code, _, err = run("sample", "-n", 1, "--steps", 2, "--model", told, *options, "-o", tmp_path / "none.sdf")
    assert code == 2 and sentence in " ".join(err.split()) and "Traceback" not in err
    assert not (tmp_path / "none.sdf").exists()


def test_a_model_that_was_told_nothing_says_so(run, tmp_path):
    code, _, err = run("sample", "-n", 1, "--steps", 2, "--composition", "CH4", "-o", tmp_path / "none.sdf")
    assert code == 2 and "not trained to be told of composition; it knows of nothing" in " ".join(err.split())


def test_a_size_that_was_never_seen_is_a_warning(run, told, tmp_path):
    code, _, err = run(
        "sample", "-n", 1, "--steps", 1, "--model", told, "--composition", "C30H62", "-o", tmp_path / "long.sdf"
    )
    assert code == 0 and "never one of 92" in " ".join(err.split())
