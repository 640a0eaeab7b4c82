"""The report of gradient variance: tables of bias and variance, the cost, and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from coset.files import atomic_write
from coset.reproduce.record import Record, heading, markdown_table

EARLIER = {
    0.1: (107, 0.98, 1.04), 0.3: (30.3, 2.7, 3.5), 0.5: (9.4, 3.8, 7.6), 0.7: (3.3, 2.6, 11.4),
    0.9: (0.683, 0.669, 13.8), 0.99: (0.0599, 0.0599, 14.2),
}  # fmt: skip
"""Mean squared distance to the exact mean on another molecule of 19 atoms, 1,000 draws each: the plain target, 200 Haar
draws with the drawn pose among them, 200 without."""
COMPARED = ("plain", "K = 200, drawn pose in", "Algorithm 1, K = 200", "exact")
LEAST = 1e-6  # of what the figure shows
TITLES = {"plane": "the plane, four points, SO(2) x S_4", "qm9": "QM9, SO(3)"}


def write_report(record: Record) -> None:
    """report.md and, where matplotlib is installed, figure.svg."""
    s = record.settings
    budget = (
        f"{len(s['sizes'])} molecules of {', '.join(map(str, s['sizes']))} atoms and the toy, {s['clouds']} noisy "
        f"clouds a molecule and level, {s['repeats']} posterior draws at each; "
        "the paper proves its Theorem 1 without figures"
    )
    text = heading(record, budget, f"{s['seed']}", s["data"]) + _ABOUT.format(steps=s["steps"])
    text += _beside_earlier(record)
    for system in ("qm9", "plane"):
        rows = _levels(record, system)
        text += f"\n## Target: {TITLES[system]}\n\nSquared bias / variance, summed over coordinates.\n\n"
        text += _table(rows, {level: row["targets"] for level, row in rows.items()})
        for network in next(iter(rows.values()))["gradients"]:
            found = {level: row["gradients"][network] for level, row in rows.items()}
            text += f"\n## Gradient of a small {network}: {TITLES[system]}\n\n{_GRADIENT}"
            scaled = {level: _over(each["estimators"], each["scatter"]) for level, each in found.items()}
            text += _table(rows, scaled)
    text += _cost(record.rows["cost"])
    drawn = _draw(record)
    text += "\n![bias and variance](figure.svg)\n" if drawn else "\nNo figure: matplotlib is not installed.\n"
    with atomic_write(record.folder / "report.md") as file:
        file.write(text)


_ABOUT = """\
The noisy cloud z is held; the clean cloud and the noise behind it are drawn anew from the posterior, exactly (matrix
Fisher; permutations by their weights). Squared bias and variance of the target then stand apart, and so do those of
the gradient in the parameters of networks with {steps} steps of training behind them. Both are unbiased estimates: a
squared bias that is zero scatters around zero (and alike at all levels, which share their random numbers).
"""
_GRADIENT = """\
Squared bias / variance at fixed z, both over the variance of the exact target's gradient from one z to the next: 1
means that the target adds as much noise to training as the choice of molecule and noise does.

"""


def _levels(record: Record, system: str) -> dict[float, dict[str, Any]]:
    return {row["alpha"]: row for name, row in record.rows.items() if name.startswith(f"{system} ")}


def _table(rows: Mapping[float, Any], found: Mapping[float, Any]) -> str:
    names = list(next(iter(found.values())))
    lines = []
    for alpha, each in found.items():
        cells = [f"{_number(each[name]['bias2'])} / {_number(each[name]['variance'])}" for name in names]
        lines.append([f"{alpha:g}, {rows[alpha]['sigma']:.3g}", *cells])
    return markdown_table(["alpha, sigma", *names], lines)


def _over(estimators: Mapping[str, Mapping[str, float]], scatter: float) -> dict[str, dict[str, float]]:
    return {name: {part: value / scatter for part, value in each.items()} for name, each in estimators.items()}


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _beside_earlier(record: Record) -> str:
    text = (
        "\n## One molecule of 19 atoms: mean squared distance to the exact mean (Angstrom^2)\n\n"
        "Bias and variance together, ours / an earlier measurement on another molecule of that size.\n\n"
    )
    lines = []
    for alpha, row in _levels(record, "qm9").items():
        known = (*EARLIER[alpha], 0) if alpha in EARLIER else ("-",) * 4
        ours = [sum(row["first"][name].values()) for name in COMPARED]
        cells = [f"{_number(mine)} / {other}" for mine, other in zip(ours, known, strict=True)]
        lines.append([f"{alpha:g}, {row['sigma']:.3g}", *cells])
    return text + markdown_table(["alpha, sigma", *COMPARED], lines)


def _cost(found: Mapping[str, Any]) -> str:
    exact = found["microseconds"]["exact"]
    lines = [[name, f"{each:.3g}", f"{each / exact:.3g}"] for name, each in found["microseconds"].items()]
    shares = ", ".join(f"{100 * share:.2g} % ({name})" for name, share in found["exact over a training step"].items())
    return (
        f"\n## Cost\n\n{found['molecules']} molecules of 18 atoms at once, medians of rounds in which all take turns; "
        f"the training step is that of a transformer of {found['parameters'] / 1e6:.1f} million parameters.\n\n"
        + markdown_table(["what", "microseconds a molecule", "over the exact target"], lines)
        + f"\nThe exact target costs {shares} of a training step.\n"
    )


def _draw(record: Record) -> bool:
    """figure.svg: squared bias (dashed) and variance (solid) against the noise level; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    panels = []
    for system in ("qm9", "plane"):
        rows = _levels(record, system)
        panels.append((f"target, {TITLES[system]}", rows, {a: row["targets"] for a, row in rows.items()}))
        for network in next(iter(rows.values()))["gradients"]:
            found = {a: row["gradients"][network] for a, row in rows.items()}
            scaled = {a: _over(each["estimators"], each["scatter"]) for a, each in found.items()}
            panels.append((f"gradient of the {network}, {TITLES[system]}", rows, scaled))
    figure = Figure(figsize=(13, 3.6 * ((len(panels) + 2) // 3)), layout="constrained")
    axes = figure.subplots((len(panels) + 2) // 3, 3, squeeze=False).flatten()
    for axis, (title, rows, found) in zip(axes, panels, strict=False):
        noise = [rows[alpha]["sigma"] / alpha for alpha in found]
        for number, name in enumerate(n for n in next(iter(found.values())) if n != "exact"):
            each = [values[name] for values in found.values()]
            axis.plot(noise, [max(v["variance"], LEAST) for v in each], "-", color=f"C{number}", label=name)
            # A squared bias below what the mean of the draws scatters by itself cannot be told from zero.
            known = [v["bias2"] if v["bias2"] > v["variance"] / record.settings["repeats"] else math.nan for v in each]
            axis.plot(noise, known, "--", color=f"C{number}")
        axis.set(xscale="log", yscale="log", title=title, xlabel="sigma / alpha", ylim=(2 * LEAST, None))
        axis.title.set_fontsize(9)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    where = axes[len(panels)] if len(panels) < len(axes) else axes[0]
    where.legend(
        *axes[0].get_legend_handles_labels(),
        fontsize=8,
        title="variance (solid), squared bias\n(dashed, where it is told from zero)",
    )
    with atomic_write(record.folder / "figure.svg") as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    return True
