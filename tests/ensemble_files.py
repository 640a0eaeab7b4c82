"""Small ensembles by RDKit's distance geometry, and GEOM's files in their exact formats."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from coset.data.ensembles import Ensemble, Ensembles

SMILES = ("CCO", "C[C@H](O)CN", "CC(=O)[O-]", "C/C=C/CO", "C[C@@H](F)[C@H](Cl)O", "CCCC", "OC1CCCC1", "N#CCCO")


@cache
def embedded(smiles: str, count: int = 4, seed: int = 7) -> Chem.Mol:
    """With hydrogens and conformers, in the order of the SMILES."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=seed)
    with rdBase.BlockLogs():
        AllChem.MMFFOptimizeMoleculeConfs(mol)
    return mol


def ensemble(smiles: str, count: int = 4, known: bool = True) -> Ensemble:
    mol = embedded(smiles, count)
    positions = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    energies = 0.5 * np.arange(len(positions)) if known else None
    return Ensemble(smiles, f"key {smiles}", numbers_of(mol), positions, energies)


def small_ensembles_file(path: Path) -> Path:
    """Two conformers of each molecule: four molecules to train on, two to validate with, two to test on."""
    Ensembles.of([ensemble(smiles, 2) for smiles in SMILES], split=[0] * 4 + [1] * 2 + [2] * 2).save(path)
    return path


def numbers_of(mol: Chem.Mol) -> np.ndarray:
    return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])


def shuffled(mol: Chem.Mol, conformer: int, seed: int = 0) -> Chem.Mol:
    """One conformer in another atom order, as xyz files have it; the same order for every conformer of a seed."""
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms()).tolist()
    return Chem.RenumberAtoms(Chem.Mol(mol, False, conformer), order)


def conformer(mol: Chem.Mol, weight: float, energy: float, number: int = 1) -> dict:
    """An entry of "conformers" in a pickle."""
    return {
        "geom_id": number,
        "set": 1,
        "degeneracy": 2,
        "totalenergy": -12.3 + energy / 627.5,
        "relativeenergy": energy,
        "boltzmannweight": weight,
        "conformerweights": [weight / 2, weight / 2],
        "rd_mol": mol,
    }


def entry(smiles: str, conformers: list[dict]) -> dict:
    """What a pickle holds; the summary has the same without conformers, and `pickle_path`."""
    return {
        "charge": 0,
        "totalconfs": len(conformers),
        "uniqueconfs": len(conformers),
        "lowestenergy": -12.3,
        "poplowestpct": 60.0,
        "temperature": 298.15,
        "ensembleenergy": 0.3,
        "ensembleentropy": 2.0,
        "ensemblefreeenergy": -0.6,
        "smiles": smiles,
        "conformers": conformers,
    }


def whole_entry(smiles: str, seed: int = 0) -> dict:
    """Conformers out of order, in the atom order of an xyz file."""
    mol = embedded(smiles)
    weights = [0.1, 0.0, 0.6, 0.3][: mol.GetNumConformers()]
    energies = [1.1, 3.0, 0.0, 0.4]
    return entry(smiles, [conformer(shuffled(mol, i, seed), w, energies[i], i) for i, w in enumerate(weights)])


def write_folder(
    root: Path, entries: Mapping[str, object], subset: str = "drugs", name: str = "summary_{}.json"
) -> Path:
    """A `rdkit_folder`; an entry that is bytes is written as it is, None has no pickle_path."""
    (root / subset).mkdir(parents=True, exist_ok=True)
    summary = {}
    for smiles, content in entries.items():
        path = f"{subset}/{smiles.replace('/', '_')}.pickle"
        known = content if isinstance(content, dict) else entry(smiles, [])
        summary[smiles] = {k: v for k, v in known.items() if k not in ("conformers", "smiles")}
        if content is not None:
            summary[smiles]["pickle_path"] = path
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=4)
            (root / path).write_bytes(data)
    (root / name.format(subset)).write_text(json.dumps(summary))
    return root


def crude(content: dict) -> dict:
    """The entry of a msgpack file: positions in place of molecules."""
    found = {key: value for key, value in content.items() if key not in ("smiles", "conformers")}
    found["conformers"] = []
    for each in content["conformers"]:
        mol = each["rd_mol"]
        table = np.column_stack([numbers_of(mol), mol.GetConformer().GetPositions()]).tolist()
        found["conformers"].append({**{k: v for k, v in each.items() if k != "rd_mol"}, "xyz": table})
    return found


def write_msgpack(path: Path, entries: dict, each: int = 2) -> Path:
    """A stream of maps of a few molecules each."""
    import msgpack

    items = list(entries.items())
    with path.open("wb") as file:
        for start in range(0, len(items), each):
            file.write(msgpack.packb(dict(items[start : start + each])))
    return path
