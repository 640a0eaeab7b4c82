"""`coset relax`, `coset sample --relax` and `coset data properties`: what they write, say and refuse."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from conformers import library
from coset.cli import relax as relax_module
from coset.data import Store
from coset.energies import potentials
from coset.energies.table import PropertyTable
from coset.files import read, write_sdf, write_xyz
from coset.molecule import Molecule

HEAP = Molecule(np.array([6, 6, 1]), np.array([[0, 0, 0], [0, 0, 0.02], [1.1, 0, 0]]), {"name": "heap"})
needs_tblite = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite (coset[eval]) is not installed")


@pytest.mark.parametrize("method", ["mmff", pytest.param("xtb", marks=needs_tblite)])
def test_relaxed_molecules_carry_energies_and_failed_ones_stay(run, tmp_path, method):
    write_xyz(tmp_path / "in.xyz", [*library()[:2], HEAP])
    code, out, err = run("relax", tmp_path / "in.xyz", "-o", tmp_path / "out.sdf", "--method", method)
    assert code == 0, err
    assert "2 of 3 relaxed" in out and "qm9's own" in out and "not relaxed: 1 too close" in out
    before, after = read(tmp_path / "in.xyz"), read(tmp_path / "out.sdf")
    for old, new in zip(before[:2], after[:2], strict=True):
        told = new.properties
        strain = float(told[f"{method}_energy_before_kcal_mol"]) - float(told[f"{method}_energy_kcal_mol"])
        assert strain >= 0 and float(told[f"{method}_strain_kcal_mol"]) == pytest.approx(strain, abs=1e-3)
        shift = np.sqrt(np.square(new.positions - old.positions).sum(-1).mean())
        assert shift == pytest.approx(float(told[f"{method}_rmsd_angstrom"]), abs=1e-3)
    assert np.allclose(after[2].positions, HEAP.positions) and after[2].properties["name"] == "heap"
    assert "atoms 1 and 2 are 0.020 Å apart" in str(after[2].properties[f"{method}_failed"])
    assert {path.name for path in tmp_path.iterdir()} == {"in.xyz", "out.sdf"}


def test_a_stopped_relaxation_goes_on_where_it_was(run, tmp_path, monkeypatch):
    write_sdf(tmp_path / "in.sdf", library()[:3])
    out = tmp_path / "out.sdf"
    relax_module.relaxed(read(tmp_path / "in.sdf")[:2], "mmff", out)
    kept = relax_module.partial(out, "mmff")
    assert len(kept.read_text().splitlines()) == 2
    calls = []
    own = potentials.potential
    monkeypatch.setattr("coset.energies.relaxation.potential", lambda *a: calls.append(a) or own(*a))
    code, _, err = run("relax", tmp_path / "in.sdf", "-o", out)
    assert code == 0, err
    assert len(calls) == 1 and not kept.exists() and len(read(out)) == 3


def test_sampled_molecules_are_relaxed(run, tmp_path):
    arguments = "-n", 3, "--steps", 5, "--atoms", 5, "--relax", "mmff", "-o", tmp_path / "drawn.sdf"
    code, out, err = run("sample", *arguments)
    assert code == 0, err
    assert "of 3 relaxed with MMFF94" in out
    for each in read(tmp_path / "drawn.sdf"):
        assert "mmff_strain_kcal_mol" in each.properties or "mmff_failed" in each.properties
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.sdf"]


@needs_tblite
def test_properties_of_a_store(run, tmp_path):
    write_sdf(tmp_path / "in.sdf", library()[:12])
    store = tmp_path / "store"
    assert run("data", "build", tmp_path / "in.sdf", "-o", store, "--test", 0.3, "--valid", 0.2)[0] == 0
    code, out, err = run("data", "properties", store, "-n", 4)
    assert code == 0, err
    assert "4 of 12 molecules computed" in out and "gap_ev: median" in out
    code, out, err = run("data", "properties", store)
    assert code == 0 and "12 of 12 molecules computed" in out, err
    table = PropertyTable.load(store / "gfn2.npz")
    assert len(table) == len(Store.open(store)) and np.isfinite(table.values["dipole_debye"]).all()
    code, _, err = run("data", "properties", store, "--split", "other")
    assert code == 2 and "--split expects train, valid, test" in err
    (store / "gfn2.npz").write_bytes(b"")
    code, _, err = run("data", "properties", store)
    assert code == 2 and "is not a whole table of properties; remove it" in err


@pytest.mark.parametrize("command", ["relax", "sample", "properties"])
def test_without_tblite_one_sentence_before_the_work(run, tmp_path, monkeypatch, command):
    monkeypatch.setattr(potentials, "find_spec", lambda name: None)
    write_sdf(tmp_path / "in.sdf", library()[:1])
    out = tmp_path / "out.sdf"
    arguments = {
        "relax": ["relax", tmp_path / "in.sdf", "-o", out, "--method", "xtb"],
        "sample": ["sample", "-n", 1, "-o", out, "--relax", "xtb"],
        "properties": ["data", "properties", "qm9-sample", "-o", out],
    }[command]
    code, _, err = run(*arguments)
    assert code == 2 and "pip install 'coset[eval]'" in err and "Traceback" not in err and not out.exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--method", "uff"], "uff"),
        (["--seconds", "0"], "above 0"),
        (["-o", "{tmp}/none/out.sdf"], "does not exist"),
        (["-o", "{tmp}/out.pdb"], "expected a name that ends in"),
    ],
)
def test_mistakes_are_one_sentence(run, tmp_path, extra, words):
    write_sdf(tmp_path / "in.sdf", library()[:1])
    arguments = [str(each).replace("{tmp}", str(tmp_path)) for each in ["-o", tmp_path / "out.sdf", *extra]]
    code, _, err = run("relax", tmp_path / "in.sdf", *arguments)
    assert code == 2 and words in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["in.sdf"]
