"""Conformers of many molecules: what they depend on, what is checked, and what failures harm."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from coset.ensembles.api import LeftOut, conformers
from coset.ensembles.candidate import Result
from coset.ensembles.core import Core, laid_onto, read_core
from coset.ensembles.jobs import ROUNDS, made, windows
from coset.ensembles.methods import Method, method_of, positions_of, seed_of
from coset.ensembles.plan import Plan
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.ensembles.requests import Request, of_smiles
from coset.graphs.graph import read_smiles
from coset.graphs.stereo import Stereo

TRANS, CIS = "O=C1CC[C@H]2CCCC[C@@H]2C1", "O=C1CC[C@H]2CCCC[C@H]2C1"  # no rigid motion of a branch changes one to other
RDKIT, RELAXED = DistanceGeometry(), DistanceGeometry(relaxed=True)  # some bonds of the former are broken


def of(*smiles: str, method: Method = RDKIT, count: int = 3, **options) -> list[Result]:
    return made([of_smiles(each, line) for line, each in enumerate(smiles, 1)], method, Plan(count, **options))


class OneRight(Method):
    """Each call makes one conformer as asked for, or none, and others of the other diastereomer."""

    name = "one right"

    def __init__(self, right: int = 1) -> None:
        self.right, self.seeds = right, []

    def positions(self, mols, counts, seeds):
        self.seeds += seeds
        (mol,), (count,), (seed,) = mols, counts, seeds
        right = min(self.right, count)
        wrong = RELAXED.positions([read_smiles(CIS)], [count - right], [seed])[0]
        return [np.concatenate([RELAXED.positions([mol], [right], [seed])[0], wrong])]


class Fails(Method):
    """Fails where sulfur is among its molecules, and gives numbers that are not finite for chlorine."""

    name = "fails"

    def positions(self, mols, counts, seeds):
        if any(atom.GetSymbol() == "S" for mol in mols for atom in mol.GetAtoms()):
            raise RuntimeError("no sulfur,\nplease")
        found = RDKIT.positions(mols, counts, seeds)
        for mol, positions in zip(mols, found, strict=True):
            if any(atom.GetSymbol() == "Cl" for atom in mol.GetAtoms()):
                positions[0, 0, 0] = np.nan
        return found

    def refusal(self, mol):
        return "no bromine" if any(atom.GetSymbol() == "Br" for atom in mol.GetAtoms()) else None


def test_conformers_depend_on_molecule_and_seed_alone():
    alone = positions_of(of("CCCCO")[0].mol)
    company = of("c1ccccc1", "CCCCO", "CCO", "CCCCO")
    assert all(np.array_equal(positions_of(company[i].mol), alone) for i in (1, 3))
    assert not np.array_equal(positions_of(of("CCCCO", seed=1)[0].mol), alone)
    assert np.array_equal(positions_of(of("CCCCO", count=2)[0].mol), alone[:2])
    mol = read_smiles("CCCCO")
    assert len({seed_of(mol, 0), seed_of(mol, 1), seed_of(mol, 0, 1), seed_of(read_smiles("CCCO"), 0)}) == 4
    assert seed_of(read_smiles("OCCCC"), 0) == seed_of(mol, 0)


def test_the_order_of_the_atoms_is_kept():
    asked = Chem.RenumberAtoms(
        Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)/C=C/F")), [3, 9, 0, 7, 1, 8, 2, 4, 5, 6, 10, 11, 12]
    )
    found = conformers(asked, 2, method="rdkit")
    assert [atom.GetAtomicNum() for atom in found.GetAtoms()] == [atom.GetAtomicNum() for atom in asked.GetAtoms()]
    assert Chem.MolToSmiles(found) == Chem.MolToSmiles(asked)
    assert Stereo.of(asked).right(positions_of(found)).all() and found.GetNumConformers() == 2


def test_wrong_stereo_is_drawn_anew_and_what_stays_wrong_is_left_out_and_told():
    method = OneRight()
    result = of(TRANS, method=method, count=8)[0]
    assert result.conformers == 1 + ROUNDS and len(set(method.seeds)) == 1 + ROUNDS
    assert Stereo.of(result.mol).right(positions_of(result.mol)).all()
    assert result.reasons == ("2 of 8 conformers had the wrong stereo and were left out",)
    none = of(TRANS, method=OneRight(0), count=4)[0]
    assert none.mol is None and "4 of 4 conformers had the wrong stereo" in none.reasons[0]
    with pytest.warns(LeftOut, match="2 of 8 conformers had the wrong stereo"):
        assert conformers(TRANS, 8, method=OneRight()).GetNumConformers() == 6
    with pytest.raises(ValueError, match="no conformer is left"):
        conformers(TRANS, 4, method=OneRight(0))


def test_a_mirror_image_is_put_right_at_once():
    class Mirrored(Method):
        name, calls = "mirrored", 0

        def positions(self, mols, counts, seeds):
            self.calls += 1
            return [-each for each in RDKIT.positions(mols, counts, seeds)]

    method = Mirrored()
    result = of("C[C@H](N)C(=O)O", method=method)[0]
    assert result.conformers == 3 and method.calls == 1 and not result.reasons
    assert Stereo.of(result.mol).right(positions_of(result.mol)).all()


def test_a_failure_harms_no_other_molecule():
    smiles = ("CCO", "C1CC", "CC.O", "CCS", "CCCl", "CBr", "[Na+]", "C[CH2]", "*C", "CCN")
    results = of(*smiles, method=Fails())
    assert [result.conformers for result in results] == [3, 0, 0, 0, 3, 0, 1, 0, 0, 3]
    told = [" ".join(result.reasons) for result in results]
    words = ("", "no SMILES", "2 fragments", "fails failed: no sulfur, please", "", "no bromine; try --method rdkit")
    assert all(word in text for word, text in zip(words, told, strict=False))
    assert not any(told[i] for i in (0, 4, 6, 9))  # what is not finite is drawn again
    assert np.isfinite(positions_of(results[4].mol)).all()
    assert (positions_of(results[6].mol) == 0).all()
    for i in (0, 9):
        assert np.array_equal(positions_of(results[i].mol), positions_of(of(smiles[i], method=Fails())[0].mol))


def test_a_method_may_make_fewer():
    class Fewer(Method):
        name = "fewer"

        def positions(self, mols, counts, seeds):
            return [np.zeros((0, mol.GetNumAtoms(), 3)) for mol in mols]

    assert of("CCO", method=Fewer())[0].reasons == ("no conformer is left: 3 of 3 conformers could not be made",)


def test_windows_are_the_same_for_a_run_that_goes_on():
    every = list(windows(100, 50, 1024))
    assert [i for window in every for i in window] == list(range(100))
    assert list(windows(100, 50, 1024, every[2].start)) == every[2:]
    assert {len(window) for window in windows(12, 10_000, 1)} == {4}


def test_molecules_without_parameters_are_refused_not_left_as_they_are():
    mmff = method_of("rdkit-mmff")
    assert "MMFF94 has no parameters" in of("CB(O)O", method=mmff)[0].reasons[0]
    assert of("CCO", method=mmff)[0].conformers == 3
    with pytest.raises(ValueError, match="Unknown method 'omega'; choose one of learned, rdkit, rdkit-mmff"):
        method_of("omega")
    with pytest.raises(ValueError, match="for the learned method"):
        method_of("rdkit", steps=5)


@pytest.mark.parametrize("stopped", [True, False])
def test_ctrl_c_that_rdkit_keeps_for_itself_is_handed_on(monkeypatch, stopped):
    """RDKit's embedding answers SIGINT by returning nothing. What cannot be tried at all returns nothing each time."""
    own, calls, told = rdDistGeom.EmbedMultipleConfs, [], []

    def embed(*arguments):
        calls.append(arguments)
        return [] if len(calls) == 1 or not stopped else own(*arguments)

    monkeypatch.setattr(rdDistGeom, "EmbedMultipleConfs", embed)
    monkeypatch.setattr(signal, "raise_signal", told.append)
    found = RDKIT.positions([read_smiles("CCO")], [2], [0])[0]
    assert len(found) == (2 if stopped else 0) and told == ([signal.SIGINT] if stopped else [])
    assert len(calls) == (2 if stopped else 6)  # from distances, then from random coordinates


@pytest.fixture
def indoline(tmp_path) -> Core:
    mol = Chem.RemoveHs(conformers("c1ccc2c(c1)CCN2", 1, method="rdkit", relax="mmff"))
    writer = Chem.SDWriter(str(tmp_path / "core.sdf"))
    writer.write(mol)
    writer.close()
    return read_core(tmp_path / "core.sdf")


def test_a_core_is_kept_and_the_deviation_told(indoline):
    inside, outside = of("CC(=O)N1CCc2cc(OC)ccc21", "CCO", core=indoline)
    assert "does not contain the core" in outside.reasons[0] and inside.conformers == 3
    match = indoline.matches(inside.mol)[0]
    for conformer, positions in zip(inside.mol.GetConformers(), positions_of(inside.mol), strict=True):
        away = np.linalg.norm(positions[list(match)] - indoline.positions, axis=-1).max()
        assert away == pytest.approx(conformer.GetDoubleProp("core_max_deviation_angstrom"), abs=1e-3)
        assert away < 0.2 and conformer.GetProp("core").startswith("put in place") == (away == 0)


def test_a_method_that_knows_no_cores_is_aligned_only(indoline):
    result = of("CC(=O)N1CCc2cc(OC)ccc21", method=Fails(), core=indoline)[0]
    free = of("CC(=O)N1CCc2cc(OC)ccc21", method=Fails())[0]
    first, second = positions_of(result.mol), positions_of(free.mol)
    assert not np.allclose(first, second)
    distances = [np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) for x in (first, second)]
    assert np.allclose(*distances)
    assert all(each.GetProp("core") == "aligned only" for each in result.mol.GetConformers())


def test_laying_onto_a_core_undoes_any_pose_but_mirrors_nothing(indoline):
    mol = of("CN1CCc2ccccc21")[0].mol
    positions, match = positions_of(mol), indoline.matches(mol)
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    laid = laid_onto(indoline, match, positions, exactly=False)
    assert np.allclose(laid.positions, laid_onto(indoline, match, positions @ turn + 5.0, exactly=False).positions)
    assert not np.allclose(laid.positions, laid_onto(indoline, match, -positions, exactly=False).positions, atol=0.1)
    assert not laid.exact.any() and (laid.deviation < 1.0).all()  # the ring puckers


def test_a_plan_and_a_request_refuse_nonsense():
    with pytest.raises(ValueError, match="At least one conformer"):
        Plan(0)
    with pytest.raises(ValueError, match="above 0 s"):
        Plan(1, seconds=0)
    with pytest.raises(ValueError, match="no text"):
        conformers("CC\0O", method="rdkit")
    with pytest.raises(ValueError, match="2 fragments"):
        Request(1, "", "", given=Chem.MolFromSmiles("C.C")).mol()
    for molecule, n, seed, words in (
        (None, 2, 0, "a SMILES or an RDKit molecule, got None"),
        (b"CCO", 2, 0, "RDKit molecule, got bytes"),
        ("CCO", 2.0, 0, "n must be a whole number, got 2.0"),
        ("CCO", 2, "0", "seed must be a whole number, got '0'"),
    ):
        with pytest.raises(ValueError, match=words):
            conformers(molecule, n, seed, RDKIT)  # type: ignore[arg-type]
    assert conformers("CCO", np.int64(2), np.int64(1), RDKIT).GetNumConformers() == 2  # type: ignore[arg-type]
