"""Variation: bonds, bond angles and torsions of a sample beside the data's, kind by kind as chemists name them.

Kinds here are elements and bond orders (C=O, C–C–O), where `Geometry` tells atoms apart by their neighbours; so they
can be read one by one, and compared with tables of others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from coset.metrics.distances import Distance
from coset.metrics.distribution import (
    BIN,
    BondKind,
    bond_lengths_by_kind,
    total_variation,
    valences_by_element,
    wasserstein,
)
from coset.metrics.geometry import ANGLES, TORSIONS, Scale, angle_elements, torsion_elements
from coset.metrics.measurement import Measurement
from coset.metrics.reference import Reference
from coset.metrics.sections import Section, decimal
from coset.metrics.wasserstein import RAREST
from coset.molecule import element_symbol

Family = Literal["bonds", "angles", "torsions"]
FAMILIES: tuple[Family, ...] = ("bonds", "angles", "torsions")
WIDTHS = {"bonds": BIN, "angles": 2.0, "torsions": 10.0}  # pm, degrees, degrees: of the bins of total variations
UNITS = {"bonds": "pm", "angles": "degrees", "torsions": "degrees"}
SHOWN = 6  # kinds of a family in the table
_SIGNS = {1: "–", 2: "=", 3: "≡"}
VARIATIONS = {
    "bond_types": Distance("bond types, total variation", "", 3, "elements and order of bonds"),
    "bond_length_variation": Distance("bond lengths by kind, total variation", "", 3, "mean over kinds"),
    "angle_variation": Distance("bond angles by kind, total variation", "", 3, "mean over kinds"),
    "torsion_variation": Distance("torsions by kind, total variation", "", 3, "mean over kinds"),
    "valence_w1": Distance("valences, Wasserstein", "", 4, "mean over elements by their shares in the data"),
    "angle_w1": Distance("bond angles by element, Wasserstein", "degrees", 3, "weighted by valence"),
}
Histograms = Mapping[Any, Counter[int]]


@dataclass(frozen=True)
class Kind:
    """A kind that makes up 0.1 % or more of the data's bonds, angles or torsions.

    share, data_share: of the sample's and of the data's. variation: total variation of the histograms in bins of
    `WIDTHS`. distance, shift: 1-Wasserstein and difference of means, sample less data, in the family's unit. NaN for
    what the sample lacks.
    """

    family: Family
    name: str
    share: float
    data_share: float
    variation: float
    distance: float
    shift: float


@dataclass(frozen=True)
class Variation:
    """variations: by the keys of `VARIATIONS`, see `variations`. kinds: commonest in the data first, by family.

    own: variations of as many of the data's own held-out molecules; None where the package holds none.
    """

    variations: Mapping[str, float]
    kinds: Sequence[Kind]
    own: Mapping[str, float] | None = None

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        own = None if self.own is None else dict(self.own)
        return {**self.variations, "data": own, "kinds": [asdict(kind) for kind in self.kinds]}

    def sections(self) -> list[Section]:
        """The variations, and the commonest kinds one by one."""
        own = self.own or {}
        rows = tuple(
            (shown.name, shown.text(self.variations[key]), shown.text(own.get(key, math.nan)), shown.unit)
            for key, shown in VARIATIONS.items()
        )
        kinds = [kind for family in FAMILIES for kind in [k for k in self.kinds if k.family == family][:SHOWN]]
        note = "From the training data; 0 is best, and a small sample lies farther: the data's own are as many."
        of_kinds = (
            "Shares of the bonds, angles and torsions of these molecules and of the training data; TV: total "
            "variation; W1 (1-Wasserstein) and shift of the mean in pm or degrees."
        )
        return [
            Section("Variation by kind", note, ("0 is best", "value", "data's own", "unit"), rows),
            Section(
                "Kinds of bonds, angles, torsions",
                of_kinds,
                ("kind", "share, %", "data's, %", "TV", "W1", "shift"),
                tuple(_row(kind) for kind in kinds),
            ),
        ]


def variations(measured: Measurement, known: Reference) -> dict[str, float]:
    """How a sample's kinds differ from the data's, by the keys of `VARIATIONS`; NaN where there is nothing to compare.

    bond_types: total variation of bonds over elements and order (pairs that are not bonded aside, which MiDi counts
    too). *_variation: total variation of the values of each kind, then the mean over kinds by their shares in the data,
    kinds that the sample lacks aside. valence_w1: 1-Wasserstein of each element's sums of bond orders, weighted by the
    element's share. angle_w1: the same of the angles at each element, weighted by its share times the share of its
    atoms with a valence of 2 or more (MiDi, Vignac et al. 2023, and EQGAT-diff, Le et al. 2024, with predicted bonds
    where these are of the distance rule). Kinds of angles that are rare in the data are left out of the sample.
    """
    bonds = [_totals(bond_lengths_by_kind(part.bonds)) for part in (measured, known)]
    found = by_kind(measured, known)
    means = {family: _mean([k for k in found if k.family == family]) for family in FAMILIES}
    return {
        "bond_types": total_variation(*bonds),
        "bond_length_variation": means["bonds"],
        "angle_variation": means["angles"],
        "torsion_variation": means["torsions"],
        **_by_element(measured, known),
    }


def by_kind(measured: Measurement, known: Reference) -> list[Kind]:
    """The kinds that are common in the data, commonest first within bonds, angles, torsions.

    Without angles and torsions for a reference of version 2, which holds none.
    """
    lengths = bond_lengths_by_kind(measured.bonds), bond_lengths_by_kind(known.bonds)
    rows = _kinds("bonds", *lengths, BIN, 1, bond_name)
    if known.geometry is None:
        return rows
    for family, scale, elements in (("angles", ANGLES, angle_elements), ("torsions", TORSIONS, torsion_elements)):
        data = getattr(known.geometry, family)
        sample = _within(getattr(measured.geometry, family), data, scale)
        merge = round(WIDTHS[family] / scale.width)
        pair = _grouped(sample, scale, elements), _grouped(data, scale, elements)
        rows += _kinds(family, *pair, scale.width, merge, _chain)
    return rows


def bond_name(kind: BondKind) -> str:
    """C–H, C=O, C≡N."""
    first, second = (kind.second, kind.first) if kind.first == 1 else (kind.first, kind.second)  # C–H, not H–C
    return f"{element_symbol(first)}{_SIGNS[kind.order]}{element_symbol(second)}"


def _chain(elements: tuple[int, ...]) -> str:
    return "–".join(element_symbol(number) for number in elements)


def _kinds(
    family: Any, sample: Histograms, data: Histograms, width: float, merge: int, name: Callable[[Any], str]
) -> list[Kind]:
    """width: of the bins; merge: so many of them make one for the total variation."""
    counts, known = _totals(sample), _totals(data)
    common = [kind for kind, count in known.most_common() if count >= RAREST * known.total()]
    rows = []
    for kind in common:
        ours, theirs = sample.get(kind, Counter()), data[kind]
        far = total_variation(*(_merged(part, merge) for part in (ours, theirs)))
        shift = width * (_centre(ours) - _centre(theirs))
        share = counts[kind] / counts.total() if counts else math.nan
        apart = wasserstein(ours, theirs, width)
        rows.append(Kind(family, name(kind), share, known[kind] / known.total(), far, apart, shift))
    return rows


def _by_element(measured: Measurement, known: Reference) -> dict[str, float]:
    """valence_w1 and angle_w1."""
    ours, data = valences_by_element(measured.valences), valences_by_element(known.valences)
    valences, angles = [], []
    for number, sums in data.items():
        valences.append((sums.total(), wasserstein(ours.get(number, Counter()), sums)))
    if known.geometry is not None:
        sample = _within(measured.geometry.angles, known.geometry.angles, ANGLES)
        at, there = (_grouped(part, ANGLES, lambda k: angle_elements(k)[1]) for part in (sample, known.geometry.angles))
        for number, counts in there.items():
            inner = sum(count for valence, count in data.get(number, Counter()).items() if valence > 1)
            angles.append((inner, ANGLES.width * wasserstein(at.get(number, Counter()), counts)))
    return {"valence_w1": _weighted(valences), "angle_w1": _weighted(angles)}


def _within(counts: Mapping[int, int], data: Mapping[int, int], scale: Scale) -> Counter[int]:
    """The part of a joint histogram that lies in kinds of the data's: a reference holds the common ones alone."""
    kinds = {key // scale.bins for key in data}
    return Counter({key: count for key, count in counts.items() if key // scale.bins in kinds})


def _grouped(counts: Mapping[int, int], scale: Scale, group: Callable[[int], Any]) -> dict[Any, Counter[int]]:
    """A joint histogram taken apart by what `group` makes of the kind."""
    found: dict[Any, Counter[int]] = {}
    names: dict[int, Any] = {}
    for key, count in counts.items():
        kind, place = divmod(key, scale.bins)
        if kind not in names:
            names[kind] = group(kind)
        found.setdefault(names[kind], Counter())[place] += count
    return found


def _totals(histograms: Histograms) -> Counter[Any]:
    return Counter({kind: counts.total() for kind, counts in histograms.items()})


def _merged(counts: Mapping[int, int], merge: int) -> Counter[int]:
    merged: Counter[int] = Counter()
    for place, count in counts.items():
        merged[place // merge] += count
    return merged


def _centre(counts: Counter[int]) -> float:
    total = counts.total()
    return sum(place * count for place, count in counts.items()) / total if total else math.nan


def _mean(kinds: Sequence[Kind]) -> float:
    return _weighted([(kind.data_share, kind.variation) for kind in kinds])


def _weighted(parts: Sequence[tuple[float, float]]) -> float:
    known = [(weight, value) for weight, value in parts if not math.isnan(value)]
    total = sum(weight for weight, _ in known)
    return float(np.sum([weight * value for weight, value in known]) / total) if total else math.nan


def _row(kind: Kind) -> tuple[str, ...]:
    shares = decimal(100 * kind.share, 1), decimal(100 * kind.data_share, 1)
    return kind.name, *shares, decimal(kind.variation, 3), decimal(kind.distance, 2), decimal(kind.shift, 2, True)
