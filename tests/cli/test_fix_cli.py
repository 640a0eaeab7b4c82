"""`coset sample --fix` as its user meets it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from coset.files import read, write_sdf
from coset.model_files import list_models
from coset.molecule import Molecule

METHYL = [("C", 0, 0, 0), ("H", 1.02, 0, -0.36), ("H", -0.51, 0.88, -0.36), ("H", -0.51, -0.88, -0.36)]


def xyz(atoms) -> str:
    return f"{len(atoms)}\n\n" + "".join(f"{symbol} {x} {y} {z}\n" for symbol, x, y, z in atoms)


def sdf(atoms, bonds=(), extra: str = "", dimension: str = "3D") -> str:
    lines = [
        "",
        f"     coset          {dimension}",
        "",
        f"{len(atoms):3d}{len(bonds):3d}  0  0  0  0  0  0  0  0999 V2000",
    ]
    lines += [f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3} 0  0  0  0  0" for symbol, x, y, z in atoms]
    lines += [f"{a:3d}{b:3d}{order:3d}  0" for a, b, order in bonds]
    return "\n".join(lines) + f"\n{extra}M  END\n$$$$\n"


BONDS = [(1, 2, 1), (1, 3, 1), (1, 4, 1)]


@pytest.mark.parametrize("name", ["methyl.xyz", "methyl.sdf"])
def test_the_fragment_is_kept_and_the_join_rate_told(run, tmp_path, name):
    (tmp_path / name).write_text(xyz(METHYL) if name.endswith("xyz") else sdf(METHYL, BONDS, "M  RAD  1   1   2\n"))
    out = tmp_path / "grown.sdf"
    code, told, err = run("sample", "-n", 3, "--steps", 4, "--fix", tmp_path / name, "--atoms", 7, "-o", out)
    assert code == 0, err
    free = list_models()["qm9"]["metrics"]["counts"]["valid_connected"]
    assert re.search(rf"joined to the fragment \(valid, in one piece\): \d of 3 drawn, .* {free} of 1,000 drawn", told)
    for molecule in read(out):
        assert molecule.symbols[:4] == ["C", "H", "H", "H"] and len(molecule) == 7
        assert np.array_equal(molecule.positions[:4], [row[1:] for row in METHYL])
        assert molecule.properties["fixed"] == 4 and molecule.properties["joined"] in ("yes", "no")


def test_keep_joined_draws_until_enough_are(run, tmp_path):
    (tmp_path / "methyl.xyz").write_text(xyz(METHYL))
    code, told, err = run(
        "sample", "-n", 2, "--steps", 40, "--atoms", 5, "--fix", tmp_path / "methyl.xyz", "--keep", "joined",
        "-o", tmp_path / "grown.sdf",
    )  # fmt: skip
    assert code == 0 and "acceptance (joined)" in told, err
    assert [molecule.properties["joined"] for molecule in read(tmp_path / "grown.sdf")] == ["yes"] * 2


MOVED = [(s, 1.6 * x, 1.6 * y, 1.6 * z) for s, x, y, z in METHYL]
METHANE = [("C", 0, 0, 0), ("H", 0.63, 0.63, 0.63), ("H", -0.63, -0.63, 0.63), ("H", -0.63, 0.63, -0.63),
           ("H", 0.63, -0.63, -0.63)]  # fmt: skip
BAD = {
    "drawing": (sdf([(s, x, y, 0) for s, x, y, _ in METHYL], BONDS, dimension="2D"), "2D drawing"),
    "flat": (sdf([(s, 0, 0, 0) for s, *_ in METHYL]), "no 3D coordinates"),
    "clash": (xyz([*METHYL, ("H", 0.1, 0, 0)]), "atom 1 (C) and atom 5 (H) of the fragment are 0.10 Angstrom apart"),
    "element": (xyz([("Cl", 0, 0, 0), ("C", 1.7, 0, 0)]), "the fragment holds Cl, and this model knows H, C, N, O, F"),
    "charge": (sdf(METHYL, BONDS, "M  CHG  1   1   1\n"), "atom 1 (C) of"),
    "stretched": (sdf(MOVED, BONDS), "1.73 Angstrom apart, which is no bond by the distance rule"),
    "saturated": (xyz(METHANE), "every atom of the fragment is saturated"),
    "radical": (
        sdf([("C", 0, 0, 0), *METHYL[1:], ("O", 0, 0, 1.4)], [*BONDS, (1, 5, 1)], "M  RAD  1   1   2\n"),
        "atom 1 (C) of",
    ),
    "crowded": (xyz([*METHANE, ("O", 0, 0, 1.2)]), "takes 4, so no molecule with it would be valid"),
    "several": (sdf(METHYL, BONDS) * 2, "holds several molecules"),
    "empty": ("", "holds no molecule"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_fragment_is_one_sentence_and_exit_code_2(run, tmp_path, kind):
    text, words = BAD[kind]
    path = Path(tmp_path / ("f.xyz" if text[:1].isdigit() else "f.sdf"))
    path.write_text(text)
    code, out, err = run("sample", "-n", 1, "--steps", 1, "--fix", path, "-o", tmp_path / "m.sdf")
    assert code == 2 and words in err, (out, err)
    assert "Traceback" not in err + out and not (tmp_path / "m.sdf").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fix", "{tmp}/none.sdf"], "there is no such file"),
        (["--fix", "{tmp}/f.sdf", "--atoms", "4"], "the fragment has 4 atoms, which leaves no new one"),
        (["--fix", "{tmp}/f.sdf", "--resample", "0"], "resample must lie between 1"),
        (["--fix", "{tmp}/f.sdf", "--relax", "mmff"], "--relax would move the atoms"),
        (["--keep", "joined"], "give one with --fix"),
    ],
)
def test_options_that_do_not_fit(run, tmp_path, arguments, words):
    (tmp_path / "f.sdf").write_text(sdf(METHYL, BONDS))
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    code, out, err = run("sample", "-n", 1, "--steps", 1, "-o", tmp_path / "m.sdf", *arguments)
    assert code == 2 and words in err, (out, err)


def test_what_coset_wrote_is_a_fragment_again(run, tmp_path):
    """Open valences are written as radicals, which is no mistake."""
    write_sdf(tmp_path / "f.sdf", [Molecule(np.array([6, 1, 1, 1]), np.array([row[1:] for row in METHYL]))])
    assert "RAD" in (tmp_path / "f.sdf").read_text()
    code, _, err = run("sample", "-n", 1, "--steps", 1, "--fix", tmp_path / "f.sdf", "-o", tmp_path / "m.sdf")
    assert code == 0, err
