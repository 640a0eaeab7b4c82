"""Charts: histograms of a sample over those of the data, as SVG without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 10, 24
_ACROSS, _TALL = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_FLOOR = _TOP + _TALL


def bars(
    title: str,
    note: str,
    labels: Mapping[int, str],
    sample: Mapping[int, int],
    data: Mapping[int, int],
    every: int = 1,
) -> str:
    """A `<figure>` with a bar a key of `labels`: the sample's share, before that of the data.

    labels: what stands below each key, in the order from left to right; every: one label in so many is shown. A pointer
    that rests on a bar shows its numbers. data may be empty.
    """
    ours, known = shares(sample), shares(data)
    top = max([ours.get(key, 0) for key in labels] + [known.get(key, 0) for key in labels] + [1e-9])
    step, parts = _ACROSS / max(len(labels), 1), [_axis(top)]
    for place, (key, label) in enumerate(labels.items()):
        left = _LEFT + place * step
        told = f"{label}: {_percent(ours.get(key, 0))}" + (f", data {_percent(known.get(key, 0))}" if known else "")
        parts.append(
            f"<g><title>{escape(told)}</title>"
            + (_bar("data", left + 0.08 * step, 0.84 * step, known.get(key, 0) / top) if known else "")
            + _bar("sample", left + 0.26 * step, 0.48 * step, ours.get(key, 0) / top)
            + f'<rect class="touch" x="{left:.1f}" y="{_TOP}" width="{step:.1f}" height="{_TALL}"/></g>'
        )
        if place % every == 0:
            parts.append(_label(left + step / 2, label))
    return _figure(title, note, parts)


def steps(
    title: str, note: str, sample: Mapping[int, int], data: Mapping[int, int], width: float, labels: Sequence[float]
) -> str:
    """A `<figure>` with two histograms over bins k of [k width, (k + 1) width): data filled, sample as a line."""
    ours, known = shares(sample), shares(data)
    keys = [key for key, share in (*ours.items(), *known.items()) if share > 1e-3]
    low, high = min(keys) - 1, max(keys) + 2
    top, scale = max([*ours.values(), *known.values()]), _ACROSS / (high - low)
    parts = [_axis(top)]
    for shown, kind in ((known, "data"), (ours, "line")):
        if shown:
            corners = [
                f"{_LEFT + (edge - low) * scale:.1f},{_FLOOR - shown.get(key, 0) / top * _TALL:.1f}"
                for key in range(low, high)
                for edge in (key, key + 1)
            ]
            parts.append(f'<path class="{kind}" d="M{_LEFT},{_FLOOR} L{" ".join(corners)} V{_FLOOR}"/>')
    places = [(value, _LEFT + (value / width - low) * scale) for value in labels]
    parts += [_label(x, f"{value:g}") for value, x in places if _LEFT <= x <= WIDTH - _RIGHT]
    return _figure(title, note, parts)


def shares(counts: Mapping[int, int]) -> dict[int, float]:
    total = sum(counts.values())
    return {key: count / total for key, count in counts.items()} if total else {}


def mean(counts: Mapping[int, int]) -> float:
    """Mean key of a histogram that is not empty."""
    return sum(key * count for key, count in counts.items()) / sum(counts.values())


def _figure(title: str, note: str, parts: Sequence[str]) -> str:
    told = escape(f"{title}. {note}", quote=True)
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> <small>{escape(note)}</small></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg></figure>'
    )


def _axis(top: float) -> str:
    """Lines across at zero and at up to five round shares."""
    step = next((each for each in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if top / each <= 5), 1.0)
    marks = [place * step for place in range(int(top / step + 1e-9) + 1)]
    return "".join(
        f'<path class="rule" d="M{_LEFT},{y:.1f}H{WIDTH - _RIGHT}"/>'
        f'<text class="share" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{100 * mark:g}%</text>'
        for mark, y in ((mark, _FLOOR - mark / top * _TALL) for mark in marks)
    )


def _bar(kind: str, left: float, width: float, part: float) -> str:
    tall = part * _TALL
    return f'<rect class="{kind}" x="{left:.1f}" y="{_FLOOR - tall:.1f}" width="{width:.1f}" height="{tall:.1f}"/>'


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 7}">{escape(text)}</text>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else f"{100 * share:.2g} %"
