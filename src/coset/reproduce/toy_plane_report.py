"""The report of the plane: best RMSD by the number of sampling steps, beside the paper's; the case that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from coset.files import atomic_write
from coset.recipes.ts import PLANE, PLANE_POINTS
from coset.reproduce.plots import NO_PLOT, save_figure
from coset.reproduce.record import Record, heading, markdown_table
from coset.reproduce.toy_training import fingerprint

EQUIVARIANT = ("nsd_enet", "nsd_enet_ts_haar", "nsd_enet_ts")
PAPER = {"nsd_enet": {"50": 0.29}, "nsd_enet_ts_haar": {"15": 0.15}}
"""Read off Figure 3; the paper's TS is its Algorithm 1."""
GOAL = {"15": 0.15}
Arms = Mapping[str, dict[str, dict[str, Any]]]  # model -> seed -> row


def write_plane_report(record: Record) -> None:
    """report.md and, where matplotlib is installed, figure.svg."""
    s, arms = record.settings, _by_arm(record)
    seeds = sorted({seed for rows in arms.values() for seed in rows}, key=int)
    spent = (
        f"{s['iterations']:,} iterations (the paper does not state its own), batches of {s['batch']}, "
        f"rate {s['lr']:g}, {s['samples']:,} samples"
    )
    data = f"four points on a line, in any pose and order, {fingerprint(PLANE_POINTS)}"
    options = "".join(f" --{key} {s[key]}" for key in ("iterations", "batch", "lr", "samples"))
    text = heading(record, spent, ",".join(seeds), data, f"{options} --seeds {','.join(seeds)}")
    text += _table("Equivariant network", _ABOUT, {arm: arms[arm] for arm in EQUIVARIANT if arm in arms})
    text += _verdict(arms)
    text += _table("Plain network", _PLAIN, {arm: rows for arm, rows in arms.items() if arm not in EQUIVARIANT})
    text += _failure(arms)
    drawn = save_figure(record.folder / "figure.svg", lambda axes: _figure(axes, arms), panels=2)
    text += "\n![Best RMSD](figure.svg)\n" if drawn else f"\n{NO_PLOT}.\n"
    with atomic_write(record.folder / "report.md") as file:
        file.write(text)


def _by_arm(record: Record) -> Arms:
    """The rows of all seeds of each model, in the order of the models."""
    parted = [(*name.split(", seed "), row) for name, row in record.rows.items()]
    found = {arm: {seed: row for name, seed, row in parted if name == arm} for arm in PLANE}
    return {arm: rows for arm, rows in found.items() if rows}


def _table(title: str, about: str, arms: Arms) -> str:
    if not arms:
        return ""
    steps, rows = _steps(arms), []
    for arm, found in arms.items():
        cells = [_cell([row["rmsd"][k] for row in found.values()]) for k in steps]
        rows.append([PLANE[arm].name, str(len(found)), *cells])
        if arm in PAPER:
            rows.append(["the paper's", "", *(f"about {PAPER[arm][k]}" if k in PAPER[arm] else "" for k in steps)])
    return f"\n## {title}\n\n{about}\n\n" + markdown_table(["", "seeds", *(f"{k} steps" for k in steps)], rows)


def _steps(arms: Arms) -> list[str]:
    return list(next(iter(next(iter(arms.values())).values()))["rmsd"])


def _verdict(arms: Arms) -> str:
    """Whether the exact target is no worse than the plain one, and meets the goal."""
    plain, ts = arms.get("nsd_enet", {}), arms.get("nsd_enet_ts", {})
    both = [seed for seed in plain if seed in ts]
    if not both:
        return ""
    change = {k: mean(ts[seed]["rmsd"][k] - plain[seed]["rmsd"][k] for seed in both) for k in _steps(arms)}
    worse = [k for k in change if change[k] > 0]
    said = f"worse at {', '.join(worse)} steps" if worse else "no worse than the plain one at every number of steps"
    text = f"\nMean over {len(both)} seed(s): the exact target is {said}"
    text += f" (change {', '.join(f'{k}: {by:+.4f}' for k, by in change.items())})."
    lost = {k: [seed for seed in both if ts[seed]["rmsd"][k] > plain[seed]["rmsd"][k]] for k in change}
    counts = ", ".join(f"{k}: {len(seeds)}" for k, seeds in lost.items())
    text += f" Seeds of which it is worse, of {len(both)} ({counts})."
    for k, goal in GOAL.items():
        text += f" At {k} steps it has {mean(row['rmsd'][k] for row in ts.values()):.4f}; the goal was {goal}."
    return text + "\n"


def _failure(arms: Arms) -> str:
    """How much worse the exact target is without rotated data."""
    if "nsd_ts" not in arms or "sd_ts" not in arms:
        return ""
    last = _steps(arms)[-1]
    one_pose, rotated = (mean(row["rmsd"][last] for row in arms[arm].values()) for arm in ("nsd_ts", "sd_ts"))
    return f"\nAt {last} steps: {one_pose / rotated:.1f} times the error where the data are not rotated.\n"


def _figure(axes: Sequence[Any], arms: Arms) -> None:
    for axis, equivariant in zip(axes, (True, False), strict=True):
        for arm, found in arms.items():
            if (arm in EQUIVARIANT) == equivariant:
                steps = _steps(arms)
                values = [mean(row["rmsd"][k] for row in found.values()) for k in steps]
                axis.plot([int(k) for k in steps], values, marker="o", markersize=3, label=PLANE[arm].name)
        axis.set(title="equivariant network" if equivariant else "plain network", xlabel="steps", yscale="log")
        axis.set_ylabel("best RMSD")
        if axis.get_lines():
            axis.legend(fontsize=7)


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


_ABOUT = (
    "RMSD of samples to the four points, best over rotations and the 24 orders; mean ± s.d. over seeds. All models "
    "of a seed start from the same noise. A perfect denoiser has 0.0000 at each of these numbers of steps."
)
_PLAIN = (
    "A plain network has no symmetry of its own. With the exact target over rotations but data in one pose it never "
    "meets the poses that its sampler walks into; with rotated data (SD) it does. The group here is that of the "
    "rotations alone, for the points keep their order. NSD with the plain target only has to learn one pose, and is "
    "not equivariant: its row is what is possible without symmetry."
)
