"""Conformers a second: a trained model at several numbers of steps against RDKit, on the same core.

    OMP_NUM_THREADS=1 python benchmarks/conformers.py [--model NAME] [--steps 5,10,25] [-n 20] [--rounds 3]

Methods take turns within one run; the table holds medians. Positions alone are timed: not the reading of SMILES, which
is the same for all, nor checks of stereo.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch

from coset.ensembles.methods import Method, seed_of
from coset.ensembles.model import load_conformer_model
from coset.ensembles.rdkit_method import DistanceGeometry
from coset.graphs.graph import read_smiles

SETS = {
    "small": (
        "CCO", "CC(=O)NC", "C1CCOC1", "OCC(O)CO", "CC(C)CC=O", "N#CCCO", "c1ccncc1", "CC1CC1C=O", "CCOC(C)=O", "NCCCO",
        "C[C@H](N)C(=O)O", "OC1CCCC1", "CC#CCO", "CCN(C)C", "O=C1CCCN1", "CC(O)C#N",
    ),
    "drug-like": (
        "CC(=O)Nc1ccc(O)cc1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "CC(=O)Oc1ccccc1C(=O)O",
        "CC(C)NCC(O)COc1cccc2ccccc12", "CCN(CC)CCNC(=O)c1ccc(N)cc1", "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
        "OC(c1ccccc1)C1CCNCC1",
    ),
}  # fmt: skip


def seconds(method: Method, smiles: tuple[str, ...], count: int) -> float:
    """A conformer, of wall time."""
    mols = [read_smiles(each) for each in smiles]
    begun = time.perf_counter()
    found = method.positions(mols, [count] * len(mols), [seed_of(mol, 0) for mol in mols])
    return (time.perf_counter() - begun) / max(sum(map(len, found)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="conformers")
    parser.add_argument("--steps", default="5,10,25")
    parser.add_argument("-n", type=int, default=20, help="conformers a molecule")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # RDKit takes all cores that it sees
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = load_conformer_model(options.model)
    methods: dict[str, Method] = {
        f"{model.name}, {steps} steps": model.having(steps=int(steps)) for steps in options.steps.split(",")
    }
    methods |= {"ETKDGv3": DistanceGeometry(), "ETKDGv3, MMFF94": DistanceGeometry(relaxed=True)}
    print(f"{options.n} conformers a molecule, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    print("| molecules | method | conformers/s | over ETKDGv3 |\n|---|---|---|---|")
    for name, smiles in SETS.items():
        found: dict[str, list[float]] = {each: [] for each in methods}
        for _ in range(options.rounds):
            for each, method in methods.items():
                found[each].append(seconds(method, smiles, options.n))
        median = {each: statistics.median(times) for each, times in found.items()}
        for each, value in median.items():
            print(f"| {name} | {each} | {1 / value:.0f} | {median['ETKDGv3'] / value:.2f} |")


if __name__ == "__main__":
    main()
