"""Druglikeness: how hard a molecule is to make, how like a drug it is, and what rings it has, from its graph."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import QED, rdMolDescriptors

from coset.bonds import Located, bond_orders
from coset.metrics.distribution import total_variation, wasserstein
from coset.metrics.own import of_data, own_scores
from coset.metrics.perceived import perceived
from coset.metrics.sections import Section, decimal
from coset.metrics.validity import valid_smiles

LABEL = f"druglikeness 1 {rdBase.rdkitVersion}"
LABEL_PERCEIVED = f"druglikeness perceived 1 {rdBase.rdkitVersion}"


class Quantity(NamedTuple):
    """How a number is shown and counted: in bins of `width`; of counts (width 1) distances are total variations."""

    name: str
    width: float
    digits: int

    @property
    def counted(self) -> bool:
        return self.width == 1


QUANTITIES = {
    "sa_score": Quantity("SA score, 1 (easy) to 10", 0.05, 2),
    "qed": Quantity("QED", 0.01, 3),
    "logp": Quantity("logP", 0.1, 2),
    "weight": Quantity("molecular weight, Da", 0.5, 1),
    "lipinski": Quantity("Lipinski's rules broken", 1, 2),
    "rings": Quantity("rings", 1, 2),
    "rings_3": Quantity("rings of 3", 1, 2),
    "rings_4": Quantity("rings of 4", 1, 2),
    "rings_5": Quantity("rings of 5", 1, 2),
    "rings_6": Quantity("rings of 6", 1, 2),
    "rings_7": Quantity("rings of 7 or more", 1, 2),
    "aromatic_rings": Quantity("aromatic rings", 1, 2),
    "fused_rings": Quantity("rings fused to another", 1, 2),
}
_FIRST = ("sa_score", "qed", "logp", "weight")


@dataclass(frozen=True)
class Druglikeness:
    """Means over the described molecules, and distances from the data's histograms.

    molecules: asked for; described: valid ones that RDKit described. histograms: by quantity, molecules by bin of its
    width. distances: 1-Wasserstein, in the unit of the quantity, or total variation of counts; NaN without molecules.
    data_*: of the training data, and of as many held-out molecules; None without a packaged reference.
    """

    molecules: int
    described: int
    means: Mapping[str, float]
    histograms: Mapping[str, Mapping[int, int]]
    reference: str | None = None
    distances: Mapping[str, float] | None = None
    data_means: Mapping[str, float] | None = None
    data_distances: Mapping[str, float] | None = None

    @classmethod
    def of(cls, found: Sequence[Mapping[str, float] | None], reference: str | None = None) -> Druglikeness:
        """From results of `describe`, one a molecule; None or an empty one for those that have none."""
        rows = [each for each in found if each]
        means = {name: float(np.mean([row[name] for row in rows])) if rows else math.nan for name in QUANTITIES}
        counts = {name: Counter(_bin(row[name], shown) for row in rows) for name, shown in QUANTITIES.items()}
        known = of_data(reference, "druglikeness")
        if known is None:
            return cls(len(found), len(rows), means, counts, reference)
        data = {name: {int(k): n for k, n in known["histograms"][name].items()} for name in QUANTITIES}
        own = own_scores(reference, "druglikeness", max(len(rows), 1))
        return cls(len(found), len(rows), means, counts, reference, distances(counts, data), known["means"], own)

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "molecules": self.molecules,
            "described": self.described,
            "means": dict(self.means),
            "distances": None if self.distances is None else dict(self.distances),
            "data_means": None if self.data_means is None else dict(self.data_means),
            "data_distances": None if self.data_distances is None else dict(self.data_distances),
            "histograms": {name: dict(sorted(part.items())) for name, part in self.histograms.items()},
        }

    def section(self) -> Section:
        """Means and distances, beside the data's own."""
        far, data, own = self.distances or {}, self.data_means or {}, self.data_distances or {}
        rows = tuple(
            (
                shown.name,
                decimal(self.means[name], shown.digits),
                decimal(data.get(name), shown.digits),
                decimal(far.get(name), 3),
                decimal(own.get(name), 3),
            )
            for name, shown in QUANTITIES.items()
        )
        note = (
            f"Of {self.described:,} valid molecules of {self.molecules:,}. Distances: 1-Wasserstein, of counts total "
            "variation, from the training data; the last column is that of as many of the data's own."
        )
        headings = ("of the graphs", "mean", "data's\nmean", "distance", "data's\nown")
        return Section("Synthesizability, druglikeness, rings", note, headings, rows)


def describe(smiles: str | None) -> dict[str, float] | None:
    """The `QUANTITIES` of a valid molecule's SMILES (`valid_smiles`); None for None and for what RDKit cannot describe.

    sa_score: Ertl and Schuffenhauer 2009, RDKit's Contrib. qed: Bickerton et al. 2012. logp: Wildman and Crippen 1999.
    lipinski: how many of the four rules (weight, logP, donors, acceptors as N and O) are broken. Rings are RDKit's
    smallest set (SSSR); fused rings share a bond with another. Raises FileNotFoundError where RDKit lacks its
    Contrib folder.
    """
    with rdBase.BlockLogs():
        graph = None if smiles is None else Chem.MolFromSmiles(smiles)
        if graph is None:
            return None
        try:
            found = {**_druglike(graph), **_rings(graph)}
        except (ValueError, ZeroDivisionError, OverflowError, RuntimeError):  # of graphs far from any molecule
            return None
    return found if all(map(math.isfinite, found.values())) else None


def described(molecule: Located) -> dict[str, float]:
    """`describe` of a molecule by its bonds from distances (`valid_smiles`); nothing where it has none."""
    orders = bond_orders(molecule.numbers[None], molecule.positions[None])[0]
    return describe(valid_smiles(molecule.numbers, orders)) or {}


def described_perceived(molecule: Located) -> dict[str, float]:
    """`describe` of a molecule by its bonds as RDKit perceives them (`perceived`); nothing where it finds none."""
    return describe(perceived(molecule)["smiles"]) or {}


def distances(sample: Mapping[str, Mapping[int, int]], data: Mapping[str, Mapping[int, int]]) -> dict[str, float]:
    """1-Wasserstein of histograms by quantity, in its unit; of counts their total variation. NaN for an empty one."""
    return {
        name: total_variation(sample[name], data[name])
        if shown.counted
        else wasserstein(sample[name], data[name], shown.width)
        for name, shown in QUANTITIES.items()
    }


def _druglike(graph: Chem.Mol) -> dict[str, float]:
    known = QED.properties(graph)
    donors, acceptors = rdMolDescriptors.CalcNumLipinskiHBD(graph), rdMolDescriptors.CalcNumLipinskiHBA(graph)
    broken = (known.MW > 500) + (known.ALOGP > 5) + (donors > 5) + (acceptors > 10)  # Lipinski et al. 1997
    values = _score()(graph), QED.qed(graph, qedProperties=known), known.ALOGP, known.MW
    return {**dict(zip(_FIRST, map(float, values), strict=True)), "lipinski": float(broken)}


def _rings(graph: Chem.Mol) -> dict[str, float]:
    info = graph.GetRingInfo()
    sizes = [len(ring) for ring in info.AtomRings()]
    return {
        "rings": float(len(sizes)),
        **{f"rings_{size}": float(sizes.count(size)) for size in (3, 4, 5, 6)},
        "rings_7": float(sum(size > 6 for size in sizes)),
        "aromatic_rings": float(rdMolDescriptors.CalcNumAromaticRings(graph)),
        "fused_rings": float(sum(info.IsRingFused(place) for place in range(len(sizes)))),
    }


def _bin(value: float, shown: Quantity) -> int:
    return math.floor(value / shown.width + 1e-9)


@cache
def _score() -> Callable[[Chem.Mol], float]:
    """The SA score of RDKit's Contrib folder, which is no package. Raises FileNotFoundError where RDKit lacks it."""
    file = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    found = importlib.util.spec_from_file_location("sascorer", file)
    if found is None or found.loader is None or not file.is_file():
        raise FileNotFoundError("This RDKit came without Contrib/SA_Score; run: pip install --upgrade rdkit")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.calculateScore
