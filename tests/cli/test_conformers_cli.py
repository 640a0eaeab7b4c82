"""`coset conformers`: what it writes, says, refuses, and how a run that was stopped goes on."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from rdkit import Chem

from coset.cli import conformers as module
from coset.ensembles import jobs, methods
from coset.ensembles.model import load_conformer_model
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.graphs.graph import read_smiles
from coset.graphs.stereo import Stereo
from ensemble_files import small_ensembles_file

RDKIT = ["--method", "rdkit"]


def records(path) -> list[Chem.Mol]:
    found = list(Chem.SDMolSupplier(str(path), removeHs=False))
    assert None not in found
    return found


def table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_smiles(run, tmp_path):
    smiles = "C[C@H](O)/C=C/CCl"
    code, out, err = run("conformers", smiles, "-n", 4, "-o", tmp_path / "out.sdf", *RDKIT)
    assert code == 0, err
    assert "4 conformers of 1 of 1 molecules" in out and "a second" in out
    found, asked = records(tmp_path / "out.sdf"), read_smiles(smiles)
    assert [mol.GetProp("conformer") for mol in found] == ["1", "2", "3", "4"]
    for mol in found:
        assert [a.GetAtomicNum() for a in mol.GetAtoms()] == [a.GetAtomicNum() for a in asked.GetAtoms()]
        assert Chem.MolToSmiles(mol) == Chem.MolToSmiles(asked)
        assert Stereo.of(asked).right(mol.GetConformer().GetPositions()[None]).all()
        told = mol.GetPropsAsDict()
        assert {"SMILES": smiles, "seed": 0, "method": "rdkit", "stereo": "right"}.items() <= told.items()
        assert "energy_kcal_mol" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["out.sdf"]


def test_energies_weights_and_names(run, tmp_path):
    (tmp_path / "in.csv").write_text("name,smiles\nbutanol,CCCCO\nglycine,NCC(=O)O\n")
    after = ["--relax", "mmff", "--prune", "0.1", "--window", "5"]
    code, _, err = run("conformers", tmp_path / "in.csv", "-n", 6, "-o", tmp_path / "out.sdf", *RDKIT, *after)
    assert code == 0, err
    for name in ("butanol", "glycine"):
        told = [mol.GetPropsAsDict() for mol in records(tmp_path / "out.sdf") if mol.GetProp("_Name") == name]
        energies = [each["energy_kcal_mol"] for each in told]
        assert energies == sorted(energies) and energies[-1] - energies[0] <= 5 and 0 < len(told) <= 6
        assert sum(each["boltzmann_weight_298K"] for each in told) == pytest.approx(1, abs=1e-5)
        assert {(each["name"], each["energy_method"]) for each in told} == {(name, "MMFF94")}


def test_a_list_with_faults(run, tmp_path):
    smiles = ["CCO ethanol", "C1CC broken", "CC.Cl salt", "[Na+] sodium", "C[CH2] radical", "CCO again", "CC(F)Cl open"]
    (tmp_path / "in.smi").write_bytes("\n".join(smiles).encode("utf-16"))
    code, out, err = run("conformers", tmp_path / "in.smi", "-n", 2, "-o", tmp_path / "out.sdf", *RDKIT)
    assert code == 1, err
    assert "7 conformers of 4 of 7 molecules" in out and "3 molecules failed" in out and "out.failures.csv" in out
    rows = table(tmp_path / "out.failures.csv")
    assert [(row["line"], row["name"], row["smiles"]) for row in rows] == [
        ("2", "broken", "C1CC"), ("3", "salt", "CC.Cl"), ("5", "radical", "C[CH2]"),
    ]  # fmt: skip
    assert "no SMILES" in rows[0]["reason"] and "2 fragments" in rows[1]["reason"] and "unpaired" in rows[2]["reason"]
    found = records(tmp_path / "out.sdf")
    assert [mol.GetProp("_Name") for mol in found] == ["ethanol"] * 2 + ["sodium"] + ["again"] * 2 + ["open"] * 2
    first, again = (found[i].GetConformer().GetPositions() for i in (0, 3))
    assert np.array_equal(first, again) and not found[2].GetConformer().GetPositions().any()
    assert found[5].GetPropsAsDict()["stereo_left_open"] == 1
    code, _, err = run("conformers", "CCO", "-n", 2, "-o", tmp_path / "out.sdf", *RDKIT, "--overwrite")
    assert code == 0 and not (tmp_path / "out.failures.csv").exists(), err


class Stops(DistanceGeometry):
    """Ctrl-C amid a call."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def within(self, seconds):
        return self

    def positions(self, mols, counts, seeds):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().positions(mols, counts, seeds)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_FEWEST", 2)
    (tmp_path / "in.smi").write_text("CCO\nCCN\nC1CC\nCCCC\nCO\nCC=O\nCCF\n")
    command = ["conformers", tmp_path / "in.smi", "-n", 3, *RDKIT, "-o"]
    assert run(*command, tmp_path / "whole.sdf")[0] == 1
    out = tmp_path / "out.sdf"
    with monkeypatch.context() as patched:
        patched.setattr(module, "_method", lambda *_: Stops(4))
        code, told, err = run(*command, out)
    assert code == 130 and "4 of 7 molecules are kept; go on with the same command and --resume" in told
    assert not out.exists()
    code, _, err = run(*command, out)
    assert code == 2 and "go on with --resume, or start anew with --overwrite" in err
    code, _, err = run(*command, out, "--resume", "-n", 4)
    assert code == 2 and "was made with another n 3 (now 4)" in err
    with (tmp_path / "out.sdf.part").open("ab") as file:
        file.write(b"half a rec")
    with (tmp_path / "out.sdf.part.jsonl").open("a") as file:
        file.write('{"done": 6, "le')
    made = []
    monkeypatch.setattr("coset.ensembles.jobs.seed_of", lambda mol, *a: made.append(mol) or methods.seed_of(mol, *a))
    code, told, err = run(*command, out, "--resume")
    assert code == 1 and "going on after 4 of 7" in told and len(made) == 3, err
    assert out.read_bytes() == (tmp_path / "whole.sdf").read_bytes()
    assert (tmp_path / "out.failures.csv").read_bytes() == (tmp_path / "whole.failures.csv").read_bytes()
    assert len(list(tmp_path.iterdir())) == 5


def test_a_power_cut_costs_what_never_reached_the_disk(run, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_FEWEST", 1)
    (tmp_path / "in.smi").write_text("CCO\nCCN\nCCF\n")
    command = ["conformers", tmp_path / "in.smi", "-n", 2, *RDKIT, "-o", tmp_path / "out.sdf"]
    assert run(*command)[0] == 0
    whole = (tmp_path / "out.sdf").read_bytes()
    (tmp_path / "out.sdf").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(module, "_method", lambda *_: Stops(2))
        assert run(*command)[0] == 130
    part = tmp_path / "out.sdf.part"
    part.write_bytes(part.read_bytes()[:-100])
    code, told, _ = run(*command, "--resume")
    assert code == 0 and "going on after 1 of 3" in told and (tmp_path / "out.sdf").read_bytes() == whole


def test_stopped_before_anything_was_done_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_method", lambda *_: Stops(0))
    code, _, err = run("conformers", "CCO", "-o", tmp_path / "out.sdf", *RDKIT)
    assert code == 130 and err == "interrupted\n" and not list(tmp_path.iterdir())


def test_a_molecule_that_the_model_refuses_is_a_failure_with_a_hint(run, tmp_path, monkeypatch):
    class Narrow(DistanceGeometry):
        alternative = "rdkit"

        def __init__(self) -> None:
            super().__init__()
            self.name, self.alternative = "narrow", "rdkit"

        def refusal(self, mol):
            return "the model narrow has never seen Br" if mol.HasSubstructMatch(Chem.MolFromSmarts("Br")) else None

    monkeypatch.setattr(methods, "method_of", lambda *_, **__: Narrow())
    (tmp_path / "in.smi").write_text("CCO\nCCBr\n")
    code, out, err = run("conformers", tmp_path / "in.smi", "-n", 1, "-o", tmp_path / "out.sdf")
    assert code == 1 and "line 2, CCBr: the model narrow has never seen Br; try --method rdkit" in out, err
    assert "1 molecule failed, 0 lack some conformers" in out
    found = records(tmp_path / "out.sdf")
    assert [mol.GetProp("model") for mol in found] == ["narrow"] and found[0].GetProp("method") == "learned"


def test_the_time_is_told_before_a_long_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LONG", 4)
    (tmp_path / "in.smi").write_text("CCO\nCCN\n")
    code, out, _ = run("conformers", tmp_path / "in.smi", "-n", 2, "-o", tmp_path / "out.sdf", *RDKIT)
    assert code == 0 and "2 molecules, 2 conformers each: about" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["C1CC", *RDKIT], "'C1CC' is no SMILES"),
        (["CC.Cl", *RDKIT], "2 fragments"),
        (["none.smi", *RDKIT], "no such file"),
        (["CCO", "-n", "0", *RDKIT], "-n"),
        (["CCO", "-o", "out.xyz", *RDKIT], "expected a name that ends in .sdf"),
        (["CCO", "-o", "none/out.sdf", *RDKIT], "does not exist"),
        (["CCO", "-o", "there.sdf", *RDKIT], "is there already; give another name with -o, or --overwrite"),
        (["CCO", "--window", "3", *RDKIT], "needs energies"),
        (["CCO", "--prune", "-1", *RDKIT], "prune must be above 0"),
        (["CCO", "--time-limit", "0", *RDKIT], "above 0"),
        (["CCO", "--steps", "5", *RDKIT], "for the learned method"),
        (["CCO", "--core", "none.sdf", *RDKIT], "no such file"),
        (["CCO", "--core", "flat.sdf", *RDKIT], "a drawing"),
        (["CCO", "--core", "there.sdf", *RDKIT], "holds 0 molecules"),
        (["CCO", "--core", "flat.sdf", "--relax", "mmff", *RDKIT], "would move the atoms that --core keeps"),
        (["CCO", "--method", "omega"], "omega"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.sdf").write_text("")
    (tmp_path / "flat.sdf").write_text(Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")))
    code, _, err = run("conformers", *arguments)
    assert code == 2 and words in err and "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"there.sdf", "flat.sdf"}


def test_a_model_is_trained_measured_and_used(run, tmp_path):
    data, folder, out = small_ensembles_file(tmp_path / "small.npz"), tmp_path / "run", tmp_path / "out.sdf"
    chosen = {"size": "xs", "width": 16, "depth": 2, "heads": 2, "batch": 4, "molecules": 40, "data": data}
    sets = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    code, shown, err = run(
        "train", "etdiff_ts", *sets, "--set", "radial=8", "-o", folder, "--evaluate", 2, "--steps", 2
    )
    assert code == 0 and "stereo right" in shown, err
    card = load_conformer_model(folder).card
    assert card["metrics"]["molecules"] == 2 and card["metrics"]["steps"] == 2
    code, shown, _ = run("models", folder)
    assert code == 0 and "recall" in shown and "up to" in shown
    code, shown, _ = run("conformers", "CCO", "-n", 2, "-o", out, "--model", folder, "--steps", 2)
    assert code == 1 and "broken bonds" in shown  # forty molecules teach a model nothing
    code, _, _ = run("conformers", "CS", "-o", tmp_path / "other.sdf", "--model", folder)
    (row,) = table(tmp_path / "other.failures.csv")
    assert code == 1 and "never seen S" in row["reason"] and "--method rdkit" in row["reason"]
