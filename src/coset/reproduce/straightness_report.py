"""The report on how straight molecules move: a table of means, the ways of atoms and a box a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from coset.files import atomic_write, read
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.record import Record, heading, markdown_table

MEASURES = {"straightness": "straightness", "turning": "turning (rad)", "excess": "S / chord²"}
KINDS = ("noising", "sampling")
COMPARED = ("end", "end_fixed")  # recipes: the full form, and the same network and loss with nothing learned
COLOURS = {"H": "#b8b8b8", "C": "#333333", "N": "#3050f8", "O": "#e0202c", "F": "#2ca02c"}


def write_report(record: Record) -> None:
    """report.md and, where matplotlib is installed, figure.svg."""
    s, rows = record.settings, record.rows
    text = heading(
        record,
        f"{_molecules(rows)} molecules a model, each followed in {s['steps']} equal steps of time",
        str(s["seed"]),
        f"{s['data']}, held-out molecules; the sampled ones have their sizes",
        f" --models NAME=PATH,... --data {s['data']} -n {s['molecules']} --steps {s['steps']} --seed {s['seed']}",
    )
    headings = ["model", "recipe", "noising", *(f"{kind}: {name}" for kind in KINDS for name in MEASURES.values())]
    lines = [_line(name, row) for name, row in rows.items()]
    films = [f"- [{name}]({row['film']})" for name, row in rows.items() if row["film"]]
    drawn = bool(rows) and save_figure(record.folder / "figure.svg", lambda axes: _figure(axes, record), panels=4)
    with atomic_write(record.folder / "report.md") as file:
        file.write(text + markdown_table([*headings, "left out"], lines) + NOTES)
        if films:
            file.write("\nFilms of sampled molecules, for any viewer of .xyz files:\n\n" + "\n".join(films) + "\n")
        file.write("\n![Ways of atoms, and straightness by model](figure.svg)\n" if drawn else f"\n{NO_PLOT}.\n")


NOTES = """
Mean and standard error over molecules. A molecule's path is one polyline through the space of all its coordinates, 3 an
atom. Noising: z_t = F(eps, t, x0) of a held-out molecule, its eps held fixed. Sampling: the deterministic chain (eta =
0) from noise to data; the same noise for every model, and the same molecules. A direct drift has no such chain,
and what a random denoiser draws counts as turning.

Straightness: chord over length, 1 for a straight path, 0.64 for half a circle. Turning: the angles between neighbouring
segments summed up (total curvature), 0 and 3.14 for those. Neither depends on how time runs along the path. S: the
integral of |chord - velocity|² over |chord|² (rectified flow, Liu et al. 2022), 0 for a straight path at constant speed
alone; it does depend on it. All three see rescaling that changes with time. Left out: molecules with an undefined path.

Figure: two molecules sampled with a learned process and with a fixed one, in the plane of their final principal axes,
dots at the data's end (hydrogen grey, carbon black, nitrogen blue, oxygen red, fluorine green); then straightness by
model (boxes: quartiles).
"""


def finite(row: dict[str, Any], kind: str, name: str) -> Float[NDArray, "m"]:
    """The values of a measure; empty where the model has no such paths."""
    return np.array([value for value in row.get(kind, {}).get(name, ()) if value is not None])


def _molecules(rows: dict[str, dict[str, Any]]) -> str:
    return " or ".join(sorted({f"{len(row['atoms']):,}" for row in rows.values()})) or "no"


def _line(name: str, row: dict[str, Any]) -> list[str]:
    found = [finite(row, kind, measure) for kind in KINDS for measure in MEASURES]
    shown = [values for values in found if len(values)]
    missing = max((len(row["atoms"]) - len(values) for values in shown), default=len(row["atoms"]))
    return [name, row["recipe"], "learned" if row["learned"] else "fixed", *map(_mean, found), str(missing)]


def _mean(values: Float[NDArray, "m"]) -> str:
    if not len(values):
        return ""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{error}"


def shown_models(rows: dict[str, dict[str, Any]]) -> list[str]:
    """One with a learned process and one with a fixed one, of `COMPARED` if they are there; or two of a kind."""
    names = [name for name, row in rows.items() if row["film"]]
    names.sort(key=lambda name: rows[name]["recipe"] not in COMPARED)
    kinds = [next((name for name in names if rows[name]["learned"] is kind), None) for kind in (True, False)]
    first = [name for name in kinds if name is not None]
    return (first + [name for name in names if name not in first])[:2]


def _figure(axes: Sequence[Any], record: Record) -> None:
    *ways, noising, sampling = axes
    for axis in ways:
        axis.set_axis_off()
    for axis, name in zip(ways, shown_models(record.rows), strict=False):
        row = record.rows[name]
        if (film := record.folder / row["film"]).exists():
            draw_ways(axis, film)
        axis.set_title(f"{name}, {'learned' if row['learned'] else 'fixed'} noising")
    names = list(record.rows)[::-1]
    for axis, kind in ((noising, "noising"), (sampling, "sampling")):
        values = [finite(record.rows[name], kind, "straightness") for name in names]
        axis.boxplot(values, orientation="horizontal", showfliers=False, medianprops={"color": "black"})
        axis.set_yticks(range(1, len(names) + 1), names if kind == "noising" else [""] * len(names))
        axis.set(xlabel=f"straightness, {kind}")


def draw_ways(axis: Any, film: Path) -> None:
    """The atoms' lines, molecule beside molecule."""
    left = 0.0
    for _, found in groupby(read(film), key=lambda frame: frame.properties["molecule"]):
        frames = list(found)
        ways = in_the_plane(np.stack([frame.positions for frame in frames]))
        ways[..., 0] += left - ways[..., 0].min()
        left = ways[..., 0].max() + 1.0
        for atom, symbol in enumerate(frames[-1].symbols):
            colour = COLOURS.get(symbol, "#9040c0")
            axis.plot(*ways[:, atom].T, color=colour, linewidth=0.7, alpha=0.8)
            axis.plot(*ways[-1, atom], "o", color=colour, markersize=4)
    axis.set_aspect("equal", adjustable="datalim")


def in_the_plane(points: Float[NDArray, "k n 3"]) -> Float[NDArray, "k n 2"]:
    """In the two principal axes of the last frame, about its mean."""
    centred = points - points[-1].mean(0)
    _, _, axes = np.linalg.svd(centred[-1])
    return centred @ axes[:2].T
