"""Comparison: charts of sizes, elements, valences and bond lengths of a sample beside the data's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from coset.bonds import allowed_valences
from coset.metrics.charts import bars, mean, steps
from coset.metrics.distribution import BIN, bond_lengths_by_kind, valences_by_element
from coset.metrics.measurement import Measurement, count_values
from coset.metrics.reference import Reference
from coset.metrics.variation import bond_name
from coset.molecule import element_symbol

_BARS = 60  # more sizes than this share bars
_KINDS, _ELEMENTS = 6, 6


def comparison(measured: Measurement, known: Reference | None) -> dict[str, list[str]]:
    """Charts as `<figure>` elements under the name of what they show; without data they show the sample alone."""
    return {
        "Sizes and elements": [_sizes(measured, known), _elements(measured, known)],
        "Valences": _valences(measured, known),
        "Bond lengths": _bond_lengths(measured, known),
    }


def _sizes(measured: Measurement, known: Reference | None) -> str:
    ours, data = count_values(measured.sizes), known.sizes if known else {}
    low, high = min({*ours, *data}), max({*ours, *data})
    wide = math.ceil((high - low + 1) / _BARS)
    starts = range(low - low % wide, high + 1, wide)
    labels = {start: str(start) if wide == 1 else f"{start}–{start + wide - 1}" for start in starts}
    note = f"atoms with hydrogens; mean {mean(ours):.1f}" + (f", data {mean(data):.1f}" if data else "")
    every = math.ceil(len(labels) / (12 if wide == 1 else 6))
    return bars("Atoms in a molecule", note, labels, _coarse(ours, wide), _coarse(data, wide), every)


def _coarse(counts: Mapping[int, int], wide: int) -> Counter[int]:
    coarse: Counter[int] = Counter()
    for size, count in counts.items():
        coarse[size - size % wide] += count
    return coarse


def _elements(measured: Measurement, known: Reference | None) -> str:
    data = known.types if known else {}
    labels = {number: element_symbol(number) for number in sorted({*measured.types, *data})}
    return bars("Elements", "share of the atoms", labels, measured.types, data, math.ceil(len(labels) / 16))


def _valences(measured: Measurement, known: Reference | None) -> list[str]:
    ours, data = valences_by_element(measured.valences), valences_by_element(known.valences if known else {})
    numbers = [z for z, _ in Counter(known.types if known else measured.types).most_common() if z in ours]
    charts = []
    for number in sorted(numbers[:_ELEMENTS]):
        sample, other = ours[number], data.get(number, Counter())
        common = [v for counts in (sample, other) for v, count in counts.items() if count > 1e-3 * counts.total()]
        labels = {valence: str(valence) for valence in range(min(common), max(max(common), 4) + 1)}
        allowed = " or ".join(map(str, allowed_valences(number))) or "none known"
        note = f"sum of bond orders; stable at {allowed}"
        charts.append(bars(f"Valence of {element_symbol(number)}", note, labels, sample, other))
    return charts


def _bond_lengths(measured: Measurement, known: Reference | None) -> list[str]:
    ours, data = bond_lengths_by_kind(measured.bonds), bond_lengths_by_kind(known.bonds if known else {})
    ranked = sorted(ours, key=lambda kind: -(data or ours).get(kind, Counter()).total())
    charts = []
    for kind in ranked[:_KINDS]:
        sample, other = ours[kind], data.get(kind, Counter())
        note = f"{sample.total():,} bonds; mean {_length(sample):.3f} Å"
        note += f", data {_length(other):.3f} Å" if other else ""
        ticks = [0.05 * tick for tick in range(10, 80)]
        charts.append(steps(bond_name(kind), note, sample, other, BIN / 100, ticks))
    return charts


def _length(bins: Counter[int]) -> float:
    return (mean(bins) + 0.5) * BIN / 100
