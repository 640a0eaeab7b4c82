"""Draws the first twelve molecules of a file, none picked: python docs/draw.py molecules.sdf docs/molecules.svg"""

from __future__ import annotations

import re
import sys

from coset.files import atomic_write, read
from coset.metrics.depiction import depict

WIDTH, HEIGHT, COLUMNS, COUNT = 200, 150, 6, 12


def main(source: str, target: str) -> None:
    cells = []
    for place, molecule in enumerate(read(source)[:COUNT]):
        x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        drawing = depict(molecule, WIDTH, HEIGHT)
        drawing = re.sub(r"<svg ", f'<svg x="{x}" y="{y}" ', drawing[drawing.index("<svg") :], count=1)
        cells.append(drawing)
    size = f'width="{COLUMNS * WIDTH}" height="{-(-COUNT // COLUMNS) * HEIGHT}"'
    with atomic_write(target) as file:
        paper = '<rect width="100%" height="100%" fill="white"/>'
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{paper}{"".join(cells)}</svg>\n')


if __name__ == "__main__":
    main(*sys.argv[1:3])
