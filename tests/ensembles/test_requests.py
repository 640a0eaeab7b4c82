"""Reading requests: every format and encoding, and faults that stay with their line."""

from __future__ import annotations

import gzip

import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor

from coset.ensembles.requests import of_smiles, requests

LINES = "SMILES name\nCCO ethanol\n\n# a comment\nC1CC broken\nCC |$a;$| with labels\nCCN\tcafé au lait\n"


def read(path, content: bytes | str):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return requests(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_encoding_reads_the_same(tmp_path, encoding):
    found = read(tmp_path / "a.smi", LINES.encode(encoding))
    assert [(each.line, each.smiles, each.name) for each in found] == [
        (2, "CCO", "ethanol"), (5, "C1CC", "broken"), (6, "CC |$a;$|", "with labels"), (7, "CCN", "café au lait"),
    ]  # fmt: skip
    assert found[2].mol().GetNumAtoms() == 8


def test_line_ends_and_gzip(tmp_path):
    for ends in ("\r\n", "\r"):
        assert [each.line for each in read(tmp_path / "a.smi", LINES.replace("\n", ends))] == [2, 5, 6, 7]
    assert len(read(tmp_path / "a.smi.gz", gzip.compress(LINES.encode()))) == 4
    with pytest.raises(ValueError, match="not a whole gzip file"):
        read(tmp_path / "a.smi.gz", gzip.compress(LINES.encode())[:-9])


def test_broken_lines_are_faults_of_their_own(tmp_path):
    found = read(tmp_path / "a.smi", b"CC\0O nul\n" + b"C" * 20_000 + b" long\n\xff\xfe\xfa odd\nCCO fine\n")
    for request, words in zip(found, ("no text", "20,000 characters", "no SMILES"), strict=False):
        with pytest.raises(ValueError, match=words):
            request.mol()
        assert len(request.smiles) <= 200 and request.smiles.isprintable()
    assert found[3].mol().GetNumAtoms() == 9


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(tmp_path, delimiter):
    rows = ["ID,note,Smiles", 'a,"x, y",CCO', 'b,"open,CCN', "c,short", "d,,CC(C)O", "", "e,,"]
    text = "\n".join(row.replace(",", delimiter) for row in rows)
    found = read(tmp_path / "a.csv", text)
    assert [(each.line, each.fault is None) for each in found] == [
        (2, True),
        (3, False),
        (4, False),
        (5, True),
        (7, False),
    ]
    assert (found[0].name, found[0].smiles, found[3].name, found[3].smiles) == ("a", "CCO", "d", "CC(C)O")
    assert "quotation" in str(found[1].fault) and "2 of 3 columns" in str(found[2].fault)
    with pytest.raises(ValueError, match="no column smiles; its first line names id, mol"):
        read(tmp_path / "b.csv", "id,mol\n1,CCO\n")


def test_sd_files_keep_order_stereo_and_line_of_each_record(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)O"))
    mol = Chem.RenumberAtoms(mol, list(range(mol.GetNumAtoms()))[::-1])
    rdDepictor.Compute2DCoords(mol)
    mol.SetProp("_Name", "one $$$$ two")
    block = Chem.MolToMolBlock(mol)
    lines = block.count("\n") + 1
    found = read(tmp_path / "a.sdf", f"{block}$$$$\nbroken\n\n\n  9 9 V2000\nM  END\n$$$$\n\n$$$$\n{block}")
    assert [each.line for each in found] == [1, lines + 1, lines + 7, lines + 9]
    for request in (found[0], found[3]):
        read_back = request.mol()
        assert Chem.MolToSmiles(read_back) == Chem.MolToSmiles(mol) and read_back.GetNumConformers() == 0
        assert [a.GetAtomicNum() for a in read_back.GetAtoms()] == [a.GetAtomicNum() for a in mol.GetAtoms()]
        assert "$$$$" not in request.name
    for request, words in zip(found[1:3], ("cannot read this MOL block", "empty"), strict=True):
        with pytest.raises(ValueError, match=words):
            request.mol()


def test_one_smiles_and_what_is_none(tmp_path):
    assert requests(" F/C=C/F ")[0].mol().GetNumAtoms() == 6
    for text, words in (
        ("C1CC", "no SMILES"),
        ("CC.Cl", "2 fragments"),
        ("", "no atoms|no SMILES"),
        ("C\nC", "no text|no SMILES"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            requests(text)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        requests("none.smi")
    (tmp_path / "a.xyz").write_text("1\n\nHe 0 0 0\n")
    with pytest.raises(ValueError, match=r"expected a SMILES, or a name that ends in \.smi"):
        requests(str(tmp_path / "a.xyz"))
    with pytest.raises(ValueError, match="holds no molecule"):
        read(tmp_path / "empty.smi", "\n\n")
    (tmp_path / "folder.smi").mkdir()
    with pytest.raises(ValueError, match="it is a folder"):
        requests(str(tmp_path / "folder.smi"))
    assert of_smiles("CCO", 3, "a\tb").name == "a b"
