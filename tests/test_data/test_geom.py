"""GEOM's folders and msgpack streams, in their exact formats and in every way broken."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from coset.data import geom_pickles
from coset.data.atom_order import atomic_numbers, intact, reference, stereo_kept
from coset.data.ensembles import Ensembles, Unusable, parts
from coset.data.geom import build
from coset.data.geom_molecules import Conformer, RawMolecule, ensemble_of
from coset.data.geom_pickles import read_split, unpickle
from ensemble_files import conformer, crude, embedded, entry, shuffled, whole_entry, write_folder, write_msgpack

pytest.importorskip("msgpack")
SMILES = ("CCO", "C/C=C/CO", "C[C@H](O)CN", "CC(=O)[O-]", "OC1CCCC1")


class Malicious:
    """Its pickle makes a folder when it is loaded by the ordinary way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"mkdir {self.folder}",)


def failures(out: Path) -> dict[str, tuple[str, str]]:
    with out.with_suffix(".failures.csv").open(newline="") as file:
        return {row["smiles"]: (row["reason"], row["sentence"]) for row in csv.DictReader(file)}


def check(found: Ensembles) -> None:
    """Atoms in the order of the SMILES, with its bonds and stereo, the most populated conformer first."""
    for row in range(len(found)):
        own = found[row]
        mol = reference(own.smiles)
        assert own.numbers.tolist() == atomic_numbers(mol).tolist()
        assert intact(mol, own.positions).all() and stereo_kept(mol, own.positions).all()
        assert (np.diff(own.weights) <= 0).all() and own.energies.min() == 0


@pytest.mark.parametrize("name", ["summary_{}.json", "{}_summary.json"])
def test_a_folder_becomes_ensembles(tmp_path, name):
    folder = write_folder(tmp_path / "rdkit_folder", {each: whole_entry(each) for each in SMILES}, name=name)
    assert (folder / "drugs" / "C_C=C_CO.pickle").is_file()
    made = build(tmp_path, tmp_path / "out.npz")  # the folder around it will do
    found = Ensembles.load(tmp_path / "out.npz")
    check(found)
    assert found.key.tolist() == list(SMILES) and made.molecules == len(SMILES) and not made.left_out
    assert found[0].weights.tolist() == pytest.approx([0.6, 0.3, 0.1, 0.0])
    assert found[0].energies.tolist() == pytest.approx([0.0, 0.4, 1.1, 3.0])
    assert (found.split == parts(SMILES)).all()
    assert Chem.CanonSmiles(found.smiles[1]) == Chem.CanonSmiles("C/C=C/CO") and "@" in found.smiles[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "rdkit_folder"]
    first = embedded("CCO").GetConformer(2).GetPositions()  # that of the greatest weight
    distances = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (first, found[0].positions[0])]
    assert np.abs(distances[0][:3, :3] - distances[1][:3, :3]).max() < 1e-4


def test_the_same_from_a_stream_of_maps(tmp_path):
    entries = {each: whole_entry(each) for each in SMILES}
    write_folder(tmp_path, entries)
    build(tmp_path, tmp_path / "folder.npz")
    stream = write_msgpack(tmp_path / "drugs_crude.msgpack", {k: crude(v) for k, v in entries.items()})
    told = []
    made = build(stream, tmp_path / "stream.npz", progress=lambda share, note: told.append(share))
    first, second = Ensembles.load(tmp_path / "folder.npz"), Ensembles.load(tmp_path / "stream.npz")
    check(second)
    assert made.molecules == len(SMILES) and told[-1] == 1
    assert first.smiles.tolist() == second.smiles.tolist() and (first.counts == second.counts).all()
    for row in range(len(first)):
        heavy = first[row].numbers > 1  # hydrogens of one atom may come in another order
        assert np.abs(first[row].positions[:, heavy] - second[row].positions[:, heavy]).max() < 1e-4


def test_processes_change_nothing(tmp_path):
    write_folder(tmp_path, {each: whole_entry(each) for each in SMILES} | {"CCC": b"broken"})
    for workers in (1, 2):
        build(tmp_path, tmp_path / f"{workers}.npz", workers=workers)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    assert failures(tmp_path / "1.npz") == failures(tmp_path / "2.npz")


def test_the_greatest_weights_are_taken(tmp_path):
    write_folder(tmp_path, {"CCO": whole_entry("CCO")})
    made = build(tmp_path, tmp_path / "out.npz", most=2)
    found = Ensembles.load(tmp_path / "out.npz")
    assert found[0].weights.tolist() == pytest.approx([0.6, 0.3])
    assert made.conformers_left_out == {"not among the first": 2}
    with pytest.raises(ValueError, match="at least 1"):
        build(tmp_path, tmp_path / "out.npz", most=0)


def test_reacted_and_turned_conformers_are_left_out_and_counted():
    smiles = "C[C@H](O)CN"
    whole, turned, other = embedded(smiles), embedded("C[C@@H](O)CN"), embedded("CC(N)CO")
    conformers = [Conformer(shuffled(whole, i), 0.1 + 0.01 * i) for i in range(4)]
    conformers += [Conformer(shuffled(turned, 0), 0.05), Conformer(shuffled(other, 0), 0.3), Conformer(turned, 0.02)]
    found, left_out = ensemble_of(RawMolecule(smiles, conformers, 8))
    assert len(found) == 4 and found.smiles == Chem.CanonSmiles(smiles) and found.key == smiles
    assert left_out == {"other stereo": 2, "other graph": 1, "no structure that fits": 1}
    assert np.isnan(found.energies).all()


def test_the_smiles_is_that_of_most_conformers():
    """Where the file's own says another stereo, or none, and where all have reacted."""
    whole, other = embedded("C[C@H](O)CN"), embedded("CC(N)CO")
    for said in ("CC(O)CN", "C[C@@H](O)CN"):
        found, _ = ensemble_of(RawMolecule(said, [Conformer(shuffled(whole, i)) for i in range(4)], 4))
        assert found.smiles == Chem.CanonSmiles("C[C@H](O)CN") and found.key == said and len(found) == 4
    found, _ = ensemble_of(RawMolecule("CC(O)CN", [Conformer(shuffled(other, 0))], 1))
    assert Chem.CanonSmiles(found.smiles, useChiral=False) == Chem.CanonSmiles("CC(N)CO")


def test_conformers_in_different_orders_of_atoms_come_together():
    smiles = "C[C@H](O)CN"
    mols = [shuffled(embedded(smiles), i, seed=i) for i in range(4)]
    found, left_out = ensemble_of(RawMolecule(smiles, [Conformer(m, 0.4 - 0.1 * i) for i, m in enumerate(mols)], 4))
    assert len(found) == 4 and not left_out and found.weights.tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1])
    mol = reference(found.smiles)
    assert intact(mol, found.positions).all() and stereo_kept(mol, found.positions).all()


def test_missing_keys_are_borne(tmp_path):
    whole = whole_entry("CCO")
    for each in whole["conformers"]:
        del each["geom_id"], each["conformerweights"], each["totalenergy"]
    del whole["conformers"][0]["boltzmannweight"], whole["conformers"][1]["relativeenergy"]
    whole["conformers"].append({"geom_id": 9})
    del whole["charge"], whole["totalconfs"], whole["smiles"]
    write_folder(tmp_path, {"CCO": whole})
    made = build(tmp_path, tmp_path / "out.npz")
    found = Ensembles.load(tmp_path / "out.npz")[0]
    assert found.weights[:3].tolist() == pytest.approx([0.6, 0.3, 0.0]) and np.isnan(found.weights[3])
    assert np.isnan(found.energies[2]) and made.conformers_left_out == {"no structure that fits": 1}


def test_each_fault_is_a_row_and_the_others_are_unharmed(tmp_path):
    whole, large = whole_entry("CCO"), embedded("FS(F)(F)(F)(F)F", 1)
    heavy = entry("CCCN", [conformer(embedded("CCCN", 1), 1.0, 0.0)])
    heavy["conformers"][0]["boltzmannweight"] = 10**400
    broken = pickle.dumps(whole, protocol=4)
    entries = {
        "CCO": whole,
        "CCC": None,
        "CCN": broken[: len(broken) // 2],
        "CCF": b"",
        "not a SMILES": whole,
        "CCO.Cl": whole,
        "C[CH2]": whole,
        "CCS": entry("CCS", []),
        "CCCl": pickle.dumps([1, 2], protocol=4),
        "FS(F)(F)(F)(F)F": entry("", [conformer(large, 1.0, 0.0)]),
        "CCCO": pickle.dumps(entry("CCCO", [conformer(Chem.Mol(), 1.0, 0.0)]), protocol=4),
        "CCCN": heavy,
        "\ud800": None,
    }
    write_folder(tmp_path, entries)
    made = build(tmp_path, tmp_path / "out.npz")
    found = {smiles: reason for smiles, (reason, _) in failures(tmp_path / "out.npz").items()}
    assert Ensembles.load(tmp_path / "out.npz").key.tolist() == ["CCO"] and made.molecules == 1
    assert found == {
        "CCC": "no file",
        "CCN": "damaged pickle",
        "CCF": "damaged pickle",
        "not a SMILES": "SMILES cannot be read",
        "CCO.Cl": "several fragments",
        "C[CH2]": "unpaired electrons",
        "CCS": "no conformers",
        "CCCl": "no conformers",
        "FS(F)(F)(F)(F)F": "more than 4 neighbours",
        "CCCO": "no conformers",
        "CCCN": "cannot be read",
        "?": "no file",
    }
    assert sum(made.left_out.values()) == len(found)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    bad = whole_entry("CCN")
    bad["datasets"] = [Malicious(tmp_path / "made")]
    write_folder(tmp_path / "geom", {"CCO": whole_entry("CCO"), "CCN": pickle.dumps(bad, protocol=protocol)})
    build(tmp_path / "geom", tmp_path / "out.npz")
    assert not (tmp_path / "made").exists()
    reason, sentence = failures(tmp_path / "out.npz")["CCN"]
    # Protocols below 3 say bytes by a function of Python's own, which is not allowed either.
    assert reason == "pickle of a class that is not allowed" and "which is not loaded" in sentence
    assert protocol < 3 or ".system" in sentence
    pickle.loads(pickle.dumps(Malicious(tmp_path / "made"), protocol=protocol))
    assert (tmp_path / "made").exists()  # it would have done something


@pytest.mark.parametrize(
    "asked",
    ["cbuiltins\neval\n", "crdkit.Chem.rdchem\nAtom\n", "c__main__\nMol\n", "crdkit.Chem.rdchem\nMol.__new__\n"],
)
def test_nothing_but_the_molecule_itself_is_looked_up(asked):
    name = ".".join(asked[1:].split())
    with pytest.raises(Unusable, match=f"asks for {name.replace('.', '[.]')}, which is not loaded"):
        unpickle(asked.encode() + b".")


def test_numpy_is_allowed_on_request(tmp_path):
    whole = whole_entry("CCO")
    for each in whole["conformers"]:
        each["boltzmannweight"] = np.float64(each["boltzmannweight"])
        each["conformerweights"] = np.array(each["conformerweights"])
    write_folder(tmp_path, {"CCO": whole, "CCN": whole_entry("CCN")})
    build(tmp_path, tmp_path / "out.npz")
    assert "numpy" in failures(tmp_path / "out.npz")["CCO"][1]
    build(tmp_path, tmp_path / "out.npz", allow_numpy=True)
    found = Ensembles.load(tmp_path / "out.npz")
    assert found[0].weights.tolist() == pytest.approx([0.6, 0.3, 0.1, 0.0])
    assert not (tmp_path / "out.failures.csv").exists()


def test_a_path_out_of_the_folder_is_refused(tmp_path):
    folder = write_folder(tmp_path / "geom", {"CCO": whole_entry("CCO"), "CCN": whole_entry("CCN")})
    summary = (folder / "summary_drugs.json").read_text()
    (tmp_path / "secret.pickle").write_bytes((folder / "drugs" / "CCN.pickle").read_bytes())
    (folder / "summary_drugs.json").write_text(summary.replace("drugs/CCN.pickle", "../secret.pickle"))
    build(folder, tmp_path / "out.npz")
    assert failures(tmp_path / "out.npz")["CCN"][0] == "file outside the folder"


def test_the_published_split_counts_sorted_files(tmp_path):
    write_folder(tmp_path, {each: whole_entry(each) for each in SMILES})
    names = sorted(path.name for path in (tmp_path / "drugs").iterdir())
    assert geom_pickles.file_names(tmp_path) == names
    split = np.empty(3, dtype=object)
    split[:] = [np.array([4, 0]), np.array([3]), np.array([1])]
    np.save(tmp_path / "split0.npy", split, allow_pickle=True)
    made = build(tmp_path, tmp_path / "out.npz", published=tmp_path / "split0.npy")
    found = Ensembles.load(tmp_path / "out.npz")
    part = {f"{key.replace('/', '_')}.pickle": int(p) for key, p in zip(found.key, found.split, strict=True)}
    assert part == {names[4]: 0, names[0]: 0, names[3]: 1, names[1]: 2}
    assert made.left_out == {"in no part of the split": 1}
    split[0] = np.array([4, 5])
    np.save(tmp_path / "split0.npy", split, allow_pickle=True)
    with pytest.raises(ValueError, match=r"counts files up to 5, and .* has 5"):
        build(tmp_path, tmp_path / "other.npz", published=tmp_path / "split0.npy")
    with pytest.raises(ValueError, match="is none; leave it out"):
        build(tmp_path / "split0.npy", tmp_path / "other.npz", published=tmp_path / "split0.npy")


def test_a_split_is_arrays_and_nothing_else(tmp_path):
    path = tmp_path / "split0.npy"
    np.save(path, np.arange(6).reshape(3, 2))
    assert [each.tolist() for each in read_split(path)] == [[0, 1], [2, 3], [4, 5]]
    bad = np.empty(3, dtype=object)
    bad[:] = [Malicious(tmp_path / "made")] * 3
    np.save(path, bad, allow_pickle=True)
    with pytest.raises(ValueError, match=r"split0.npy: the pickle asks for .*system, which is not loaded"):
        read_split(path)
    assert not (tmp_path / "made").exists()
    bad[:] = [np.arange(3), np.arange(2), np.array([0.5])]
    np.save(path, bad, allow_pickle=True)
    data = path.read_bytes()
    with pytest.raises(ValueError, match="three rows of whole numbers"):
        read_split(path)
    for cut in (0, 20, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"split0\.npy"):
            read_split(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_split(tmp_path / "none.npy")


def test_a_folder_without_a_summary_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no summary_drugs/qm9\.json"):
        build(tmp_path, tmp_path / "out.npz")
    with pytest.raises(FileNotFoundError, match="no file"):
        build(tmp_path / "none", tmp_path / "out.npz")
    write_folder(tmp_path, {"CCO": whole_entry("CCO")})
    write_folder(tmp_path, {"CCN": whole_entry("CCN")}, subset="qm9")
    with pytest.raises(ValueError, match="choose one with --subset"):
        build(tmp_path, tmp_path / "out.npz")
    build(tmp_path, tmp_path / "out.npz", subset="qm9")
    assert Ensembles.load(tmp_path / "out.npz").key.tolist() == ["CCN"]
    for text in ("[1]", '{"CCO": '):
        (tmp_path / "summary_drugs.json").write_text(text)
        with pytest.raises(ValueError, match=r"summary_drugs\.json"):
            build(tmp_path, tmp_path / "new.npz", subset="drugs")
    assert not (tmp_path / "new.npz").exists()


def test_a_stream_cut_anywhere_is_one_sentence_and_leaves_nothing(tmp_path):
    stream = write_msgpack(tmp_path / "all.msgpack", {each: crude(whole_entry(each)) for each in SMILES})
    data = stream.read_bytes()
    cut = tmp_path / "cut.msgpack"
    for keep in (*np.linspace(1, len(data) - 1, 9).astype(int).tolist(), len(data) - 1):
        cut.write_bytes(data[:keep])
        with pytest.raises(ValueError, match=r"cut\.msgpack ends in the middle of a molecule"):
            build(cut, tmp_path / "out.npz")
    cut.write_bytes(data + b"\x01")
    with pytest.raises(ValueError, match=r"cut\.msgpack is no stream of molecules"):
        build(cut, tmp_path / "out.npz")
    cut.write_bytes(b"\xdf\xff\xff\xff\xff\xdb\xff\xff\xff\xff")  # a map of 2^32 entries, a text of 4 GB
    with pytest.raises(ValueError, match=r"cut\.msgpack"):
        build(cut, tmp_path / "out.npz")
    cut.write_bytes(b"")
    with pytest.raises(ValueError, match="no molecule is left"):
        build(cut, tmp_path / "out.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.msgpack", "cut.msgpack"]


def test_molecules_of_a_stream_that_do_not_fit_are_rows(tmp_path):
    whole, odd = crude(whole_entry("CCO")), crude(whole_entry("CCN"))
    odd["conformers"][0]["xyz"] = "nonsense"
    odd["conformers"][1]["xyz"][0][1] = float("nan")
    odd["conformers"][2]["xyz"][0][1] += 5.0
    entries = {"CCO": whole, "CCN": odd, "CCC": whole, "CCF": {"charge": 0}, "CO.O": whole, "CCS": [1]}
    made = build(write_msgpack(tmp_path / "a.msgpack", entries), tmp_path / "out.npz")
    found = Ensembles.load(tmp_path / "out.npz")
    assert found.key.tolist() == ["CCO", "CCN"] and found.counts.tolist() == [4, 1]
    assert made.conformers_left_out == {"no structure that fits": 3}
    reasons = {smiles: reason for smiles, (reason, _) in failures(tmp_path / "out.npz").items()}
    assert reasons == {
        "CCC": "no conformers", "CCF": "no conformers", "CO.O": "several fragments", "CCS": "no conformers",
    }  # fmt: skip
