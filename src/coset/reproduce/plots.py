"""Plots of experiments, where matplotlib is there: the extra [viz]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coset.files import atomic_write

NO_PLOT = "matplotlib is not installed, so figure.svg was not drawn: pip install 'coset[viz]'"


def save_figure(path: Path, draw: Callable[[Any], None], panels: int, rows: int = 1) -> bool:
    """Writes what `draw` puts on axes, as SVG, the same bytes for the same data; False without matplotlib.

    panels: of a row; `draw` is given all rows' one after the other.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return False
    with matplotlib.rc_context({"svg.hashsalt": "coset", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.2 * panels, 3.4 * rows), layout="constrained")
        draw(figure.subplots(rows, panels, squeeze=False).ravel())
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
    return True
