"""Draws what docs/gallery.md shows, with the packaged models: python docs/gallery.py"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from draw import main as draw

METHYL = "4\n\nC 0 0 0\nH 1.02 0 -0.36\nH -0.51 0.88 -0.36\nH -0.51 -0.88 -0.36\n"
STEERED = ["--model", "qm9-steered", "--guidance", "4"]
# Name of the picture: options of `coset sample`, as the page prints them.
PICTURES = {
    "grown": ["--fix", "methyl.xyz", "--keep", "joined"],
    "formula": [*STEERED, "--composition", "C7H10O2"],
    "part": [*STEERED, "--substructure", "C#N"],
    "like": [*STEERED, "--like", "OCC1CCOC1"],
    "low_gap": [*STEERED, "--property", "gap_ev=2.5"],
    "high_gap": [*STEERED, "--property", "gap_ev=7"],
}


def main(names: list[str]) -> None:
    figures = Path(__file__).parent / "figures"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "methyl.xyz").write_text(METHYL)
        for name in names or PICTURES:
            command = [
                sys.executable,
                "-m",
                "coset",
                "sample",
                "-n",
                "12",
                "--seed",
                "0",
                *PICTURES[name],
                "-o",
                "drawn.sdf",
            ]
            subprocess.run(command, cwd=folder, check=True)
            draw(str(Path(folder) / "drawn.sdf"), str(figures / f"gallery_{name}.svg"))


if __name__ == "__main__":
    main(sys.argv[1:])
