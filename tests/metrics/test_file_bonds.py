"""The bonds a file holds, scored beside those its distances imply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from coset.files import read, write_sdf, write_xyz
from coset.metrics.evaluate import RATES, evaluate
from coset.metrics.file_bonds import measure_graphs, read_graphs
from coset.metrics.measurement import Measurement, measure
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"


def written(path: Path, *graphs: Chem.Mol, kekulize: bool = False) -> Measurement:
    """What is measured of a file with these graphs; atoms lie on a line, 2 Angstrom apart."""
    blocks = []
    for graph in graphs:
        conformer = Chem.Conformer(graph.GetNumAtoms())
        conformer.Set3D(True)
        for i in range(graph.GetNumAtoms()):
            conformer.SetAtomPosition(i, (2.0 * i, 0.1 * i, 0.2))
        graph.AddConformer(conformer)
        blocks.append(Chem.MolToMolBlock(graph, kekulize=kekulize) + "$$$$\n")
    path.write_text("".join(blocks))
    found = read_graphs(path)
    assert found is not None
    return measure_graphs(found, read(path))


def raw(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles, sanitize=False)


@pytest.mark.parametrize("name", ["m.sdf", "m.sdf.gz"])
def test_a_file_by_the_distance_rule_scores_as_that_rule(tmp_path: Path, name: str):
    molecules = read(DATA / "gschnet_samples.npz")[:400]
    write_sdf(tmp_path / name, molecules)
    report = evaluate(molecules, graphs=read_graphs(tmp_path / name))
    assert report.file_bonds is not None
    assert 0 < report.counts["stable_molecules"] < 400 and 0 < report.counts["valid"] < 400
    assert report.file_bonds.counts == {key: n for key, n in report.counts.items() if key != "novel"}
    beside = {row.name: row for row in report.file_bonds.rows()}
    for row in report.rows():
        assert (row.name in beside) == (row.name != "novelty")
        assert row.name == "novelty" or beside[row.name][1:4] == row[1:4]


def test_charged_and_aromatic_molecules_are_whole_by_their_own_bonds():
    molecules = read(DATA / "charged.sdf")
    report = evaluate(molecules, None, graphs=read_graphs(DATA / "charged.sdf"))
    assert report.file_bonds is not None
    counts = report.file_bonds.counts
    assert counts["molecules"] == counts["stable_molecules"] == counts["valid"] == counts["unique"] == 16
    assert counts["connected"] == 15  # sodium acetate is a salt
    assert report.counts["valid"] < 16  # where the distance rule knows no charges


def test_valences_charges_and_pieces(tmp_path: Path):
    graphs = [raw(s) for s in ("[H][O][H]", "[H][O]", "[H][O-]", "[H][C]([H])([H])([H])[H]", "[H][O][H].[H][H]")]
    found = written(tmp_path / "m.sdf", *graphs)
    assert found.stable.tolist() == [3, 1, 2, 5, 5]
    assert found.connected.tolist() == [True, True, True, True, False]
    assert [each is not None for each in found.smiles] == [True, True, True, False, True]
    assert found.smiles[0] == found.smiles[4]  # that of the largest piece
    assert found.smiles[1] != found.smiles[0]  # an open valence is not filled


def test_an_aromatic_ring_without_a_kekule_structure_is_not_valid(tmp_path: Path):
    found = written(tmp_path / "m.sdf", raw("c1cccc1"), raw("c1ccccc1"))
    assert [each is not None for each in found.smiles] == [False, True]


def test_other_formats_and_files_without_bonds_have_none(tmp_path: Path):
    molecules = read(DATA / "qm9_200.npz")[:3]
    write_xyz(tmp_path / "m.xyz", molecules)
    assert read_graphs(tmp_path / "m.xyz") is None and read_graphs(DATA / "qm9_200.npz") is None
    bare = Chem.RWMol()
    for _ in range(2):
        bare.AddAtom(Chem.Atom(6))
    bare.AddConformer(Chem.Conformer(2))
    block = Chem.MolToMolBlock(bare).replace("2D", "3D")
    (tmp_path / "bare.sdf").write_text(block + "$$$$\n")
    assert read_graphs(tmp_path / "bare.sdf") is None
    assert evaluate(molecules, None).file_bonds is None


def test_graphs_must_be_those_of_the_molecules(tmp_path: Path):
    molecules = read(DATA / "qm9_200.npz")[:3]
    write_sdf(tmp_path / "m.sdf", molecules)
    graphs = read_graphs(tmp_path / "m.sdf")
    assert graphs is not None
    with pytest.raises(ValueError, match="one graph a molecule"):
        measure_graphs(graphs, molecules[:2])
    with pytest.raises(ValueError, match="does not hold the atoms of molecule 1"):
        measure_graphs(graphs[::-1], molecules)
    assert measure_graphs([None], molecules[:1]).smiles == (None,)


def test_elements_beyond_the_first_rows(tmp_path: Path):
    """S, Cl, P: the distance rule follows the published table, whose sulfur is tetravalent; the file any chemist."""
    names = {"chlorobenzene", "trimethyl phosphate", "thiophene", "methanethiol"}
    blocks = [each for each in (DATA / "charged.sdf").read_text().split("$$$$\n") if each.split("\n")[0] in names]
    (tmp_path / "m.sdf").write_text("".join(block + "$$$$\n" for block in blocks))
    molecules = read(tmp_path / "m.sdf")
    assert len(molecules) == 4
    measured = measure(molecules)
    sulfur = np.array([16 in molecule.numbers for molecule in molecules])
    assert ((measured.stable == measured.sizes) <= ~sulfur).all()
    report = evaluate(molecules, "qm9", graphs=read_graphs(tmp_path / "m.sdf"))
    assert report.file_bonds is not None and report.file_bonds.rates["molecule_stability"].value == 1
    assert report.unknown == {"P": 1, "S": 2, "Cl": 1}
    assert evaluate(molecules, None).unknown == {}


def test_a_molecule_of_one_atom(tmp_path: Path):
    write_sdf(tmp_path / "m.sdf", [Molecule(np.array([10]), np.zeros((1, 3)))])
    found = read_graphs(tmp_path / "m.sdf")
    assert found is not None and measure_graphs(found, read(tmp_path / "m.sdf")).stable.tolist() == [1]


def test_every_rate_but_novelty_has_its_pair(tmp_path: Path):
    molecules = read(DATA / "qm9_200.npz")[:5]
    write_sdf(tmp_path / "m.sdf", molecules)
    report = evaluate(molecules, graphs=read_graphs(tmp_path / "m.sdf"))
    assert set(report.to_dict()["file_bonds"]["rates"]) == set(RATES) - {"novelty"}
