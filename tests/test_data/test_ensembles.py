"""Ensembles: there and back, atoms in order and with the right hand, splits that keep molecules together."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from coset.data.atom_order import perceived
from coset.data.ensemble_writer import EnsembleWriter
from coset.data.ensembles import (
    Ensemble,
    Ensembles,
    Unusable,
    concatenated,
    open_ensembles,
    ordered,
    ordered_all,
    parts,
)
from ensemble_files import SMILES, embedded, ensemble, numbers_of, shuffled


def same(first: Ensemble, second: Ensemble, near: float = 1e-6) -> bool:
    known = first.energies is not None and np.isfinite(first.energies).any()
    return (
        (first.smiles, first.key, first.numbers.tolist()) == (second.smiles, second.key, second.numbers.tolist())
        and np.abs(first.positions - second.positions).max() < near
        and (not known or np.abs(first.energies - second.energies).max() < near)
    )


@pytest.fixture
def many() -> list[Ensemble]:
    return [ensemble(smiles, 2 + row % 3, known=row != 3) for row, smiles in enumerate(SMILES)]


def test_what_is_saved_is_loaded(tmp_path, many):
    whole = Ensembles.of(many, [0, 1, 2, 0, 0, 1, 2, 0])
    whole.save(tmp_path / "a.npz")
    found = Ensembles.load(tmp_path / "a.npz")
    assert len(found) == len(many) and all(same(first, found[row]) for row, first in enumerate(many))
    assert same(many[-1], found[-1]) and found.split.tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    assert found.rows(2).tolist() == [2, 6] and np.isnan(found[3].energies).all() and found.weights is None
    with pytest.raises(IndexError):
        found[len(many)]


def test_a_writer_writes_the_same_molecule_by_molecule(tmp_path, many):
    with EnsembleWriter(tmp_path / "a.npz") as writer:
        for row, each in enumerate(many):
            writer.append(each, row % 3)
    found, whole = Ensembles.load(tmp_path / "a.npz"), Ensembles.of(many)
    assert all(same(first, found[row]) for row, first in enumerate(many))
    assert (found.positions == whole.positions).all() and found.split.tolist() == [row % 3 for row in range(len(many))]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_writer_that_is_stopped_leaves_what_was_there(tmp_path, many):
    (tmp_path / "a.npz").write_text("earlier")
    with pytest.raises(KeyboardInterrupt), EnsembleWriter(tmp_path / "a.npz") as writer:
        writer.append(many[0], 0)
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="at least one"), EnsembleWriter(tmp_path / "a.npz"):
        pass
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.npz", "earlier")]


def test_some_are_selected_and_put_together(many):
    whole = Ensembles.of(many)
    some = whole.select([6, 1, 1])
    assert some.smiles.tolist() == [SMILES[6], SMILES[1], SMILES[1]]
    assert same(some[0], many[6]) and same(some[2], many[1])
    assert len(whole.select(whole.sizes > 12)) == (whole.sizes > 12).sum()
    both = concatenated([whole, Ensembles.of([ensemble("CCO", known=False)])])
    assert len(both) == len(many) + 1 and same(both[5], many[5]) and np.isnan(both[-1].energies).all()
    with pytest.raises(ValueError, match="at least one molecule"):
        whole.select([])


def test_files_with_names_and_neither_energies_nor_split(tmp_path, many):
    Ensembles.of(many).save(tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["name"] = arrays.pop("key")
    del arrays["energies"], arrays["split"]
    np.savez(tmp_path / "b.npz", **arrays)
    found = Ensembles.load(tmp_path / "b.npz")
    assert found[0].key == many[0].key and found.energies is None and set(found.split) == {0}
    assert (Ensembles.load(tmp_path / "b.npz", split_by_molecule=True).split == parts(SMILES)).all()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("n_atoms", lambda a: a + 1, "rows where"),
        ("positions", lambda a: a[:-1], "positions has"),
        ("positions", lambda a: a * np.nan, "not finite"),
        ("positions", lambda a: a[:, :2], "3 columns"),
        ("atomic_numbers", lambda a: a * 0, "outside 1 to 118"),
        ("split", lambda a: a + 3, "outside 0 to 2"),
        ("n_conformers", lambda a: a * 0, "outside 1"),
        ("smiles", lambda a: np.zeros(len(a)), "smiles has the type float64"),
        ("key", lambda a: None, "no key"),
        ("energies", lambda a: a[1:], "energies has"),
    ],
)
def test_arrays_that_do_not_fit_are_one_sentence(tmp_path, many, name, change, words):
    Ensembles.of(many).save(tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays[name] = change(arrays[name])
    np.savez(tmp_path / "a.npz", **{key: each for key, each in arrays.items() if each is not None})
    with pytest.raises(ValueError, match=f"a.npz is no whole file of ensembles: .*{words}"):
        Ensembles.load(tmp_path / "a.npz")


def test_damage_and_pickles_are_one_sentence(tmp_path, many):
    Ensembles.of(many).save(tmp_path / "a.npz")
    data = (tmp_path / "a.npz").read_bytes()
    for keep in (0, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "b.npz").write_bytes(data[:keep])
        with pytest.raises(ValueError, match="no whole file of ensembles"):
            Ensembles.load(tmp_path / "b.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["smiles"] = np.array([pickle.dumps(each) for each in arrays["smiles"]], dtype=object)
    np.savez(tmp_path / "c.npz", **arrays, allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        Ensembles.load(tmp_path / "c.npz")
    with pytest.raises(FileNotFoundError, match="no file of ensembles"):
        Ensembles.load(tmp_path / "none.npz")


@pytest.mark.parametrize("smiles", [*SMILES, "C[N+](C)(C)CC([O-])=O", "[H][H]", "C1CC2CC1C2", "C[S@](=O)CC", "[2H]OC"])
@pytest.mark.parametrize("seed", [0, 1])
def test_atoms_come_into_the_order_of_the_smiles(smiles, seed):
    """Shuffled and put in order: bonds and stereo are those of the SMILES, and nothing has moved."""
    mol = embedded(smiles)
    mixed = [shuffled(mol, each.GetId(), seed) for each in mol.GetConformers()]
    positions = np.stack([each.GetConformer().GetPositions() for each in mixed])
    found = ordered(Ensemble(smiles, "", numbers_of(mixed[0]), positions, np.arange(len(positions)) + 0.0))
    assert found.numbers.tolist() == numbers_of(mol).tolist() and len(found) == len(positions)
    for before, after in zip(mol.GetConformers(), found.positions, strict=True):
        assert sorted(map(tuple, before.GetPositions().round(5))) == sorted(map(tuple, after.round(5)))
        for bond in mol.GetBonds():
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            assert np.linalg.norm(after[ends[0]] - after[ends[1]]) < 2.1
        tags = [atom.GetChiralTag() for atom in perceived(mol, after).GetAtoms()]
        wanted = [atom.GetChiralTag() for atom in mol.GetAtoms()]
        assert all(a == b for a, b in zip(tags, wanted, strict=True) if b != Chem.ChiralType.CHI_UNSPECIFIED)


def test_of_equivalent_branches_the_one_with_the_right_hand_is_taken():
    """The two arms are equal but for their hands, so only stereo says which is which."""
    smiles = "C[C@H](O)C(=O)[C@@H](C)O"
    mol = embedded(smiles)
    assert {label for _, label in Chem.FindMolChiralCenters(mol)} == {"R", "S"}
    positions = np.stack([each.GetPositions() for each in mol.GetConformers()])
    arms = [6, 5, 7, 3, 4, 1, 0, 2]  # from the other end
    hydrogens = [h.GetIdx() for i in arms for h in mol.GetAtomWithIdx(i).GetNeighbors() if h.GetAtomicNum() == 1]
    order = np.array(arms + hydrogens)
    found = ordered(Ensemble(smiles, "", numbers_of(mol)[order], positions[:, order]))
    wanted = [atom.GetChiralTag() for atom in mol.GetAtoms()]
    for each in found.positions:
        assert [atom.GetChiralTag() for atom in perceived(mol, each).GetAtoms()] == wanted


def test_what_is_in_order_stays_as_it_is(many):
    for each in many:
        assert (ordered(each).positions == each.positions).all()


def test_the_same_elements_in_another_order_are_noticed():
    """Numbers alone would pass: both carbons change places."""
    each = ensemble("CC(=O)N")
    order = np.arange(len(each.numbers))
    order[[0, 1]] = 1, 0
    found = ordered(Ensemble(each.smiles, "", each.numbers, each.positions[:, order]))
    assert np.abs(found.positions[:, :4] - each.positions[:, :4]).max() == 0


def test_conformers_of_another_hand_or_with_other_bonds_are_left_out():
    each = ensemble("C[C@H](O)CN")
    odd = each.positions.copy()
    odd[1] = -odd[1]
    odd[2, 0] += 3.0
    found = ordered(Ensemble(each.smiles, "", each.numbers, odd, each.energies))
    assert found.energies.tolist() == [each.energies[0], each.energies[3]]
    with pytest.raises(Unusable, match="stereo differs"):
        ordered(Ensemble(each.smiles, "", each.numbers, -each.positions))
    with pytest.raises(Unusable, match="bonds differ"):
        ordered(Ensemble(each.smiles, "", each.numbers, 1.6 * each.positions))
    with pytest.raises(Unusable, match="not those of"):
        ordered(Ensemble("CCO", "", each.numbers, each.positions))
    kept, out = ordered_all(Ensembles.of([each, Ensemble(each.smiles, "", each.numbers, -each.positions)]))
    assert len(kept) == 1 and out == {"stereo differs from its SMILES": 1}


def test_where_stereo_is_open_one_isomer_is_kept():
    each = ensemble("C[C@H](O)CN")
    mixed = each.positions.copy()
    mixed[3] = -mixed[3]
    found = ordered(Ensemble("CC(O)CN", "", each.numbers, mixed, each.energies))
    assert found.energies.tolist() == each.energies[:3].tolist()


def test_isomers_go_to_the_same_part_whatever_the_company():
    pairs = [("C[C@H](O)CN", "C[C@@H](O)CN"), ("C/C=C/CO", "C/C=C\\CO"), ("NCC(C)O", "CC(O)CN"), ("[H]/N=C/C", "CC=N")]
    for first, second in pairs:
        assert parts([first]) == parts([second]) == parts(["CCO", first])[1]
    chains = [f"{'C' * n}{head}" for n in range(1, 60) for head in ("O", "N", "F", "C(=O)O", "S")]
    shares = np.bincount(parts(chains), minlength=3) / len(chains)
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 0.06


def test_ensembles_have_names(tmp_path, monkeypatch, many):
    monkeypatch.delenv("COSET_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="COSET_DATA is not set; set COSET_DATA to a folder"):
        open_ensembles("xtb")
    monkeypatch.setenv("COSET_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .*conformer_benchmark\.npz"):
        open_ensembles("drug-like")
    with pytest.raises(FileNotFoundError, match="'nothing' is no set of ensembles: expected xtb, drug-like"):
        open_ensembles("nothing")
    Ensembles.of(many[:4]).save(tmp_path / "conformer_benchmark.npz")
    wrong = Ensemble("CCO", "odd", many[0].numbers, 2 * many[0].positions)
    back = [Ensemble(e.smiles, e.key, e.numbers[::-1], e.positions[:, ::-1]) for e in many[4:]]
    Ensembles.of([*back, wrong]).save(tmp_path / "flexisol_gas.npz")
    out: Counter[str] = Counter()
    found = open_ensembles("drug-like", out)
    assert found.smiles.tolist() == list(SMILES) and out == {"bonds differ from its SMILES": 1}
    assert all(
        found[row].numbers.tolist() == numbers_of(embedded(smiles)).tolist() for row, smiles in enumerate(SMILES)
    )
    assert open_ensembles(tmp_path / "conformer_benchmark.npz").smiles.tolist() == list(SMILES[:4])


def test_what_one_set_holds_out_no_other_trains_on(tmp_path, many):
    Ensembles.of(many, [0, 1, 2, 0, 0, 0, 0, 0]).save(tmp_path / "a.npz")
    mirrored = ensemble("C[C@@H](O)CN", 2)  # the other hand of the second, which the first file validates with
    Ensembles.of([many[2], mirrored, many[0]], [0, 0, 2]).save(tmp_path / "b.npz")
    found = open_ensembles(f"{tmp_path / 'a.npz'}+{tmp_path / 'b.npz'}")
    assert found.smiles.tolist() == [*SMILES, SMILES[2], "C[C@@H](O)CN", SMILES[0]]
    assert found.split.tolist() == [2, 1, 2, 0, 0, 0, 0, 0, 2, 1, 2]
