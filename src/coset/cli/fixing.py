"""Drawing around a fragment, as `coset sample --fix` does: reads it, and tells how many molecules were joined to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from coset.model import Drawn, Model
    from coset.molecule import Molecule

FIX = "File of one molecule in 3D to draw around: its atoms stay as they are, new ones join where it lacks hydrogens."
Fix = Annotated[Path | None, typer.Option(help=FIX)]
Resample = Annotated[int, typer.Option(help="Times each step is made, with noise between; for --fix.")]


@dataclass
class Fixing:
    """The fragment of a file, or none, and what was seen of the molecules drawn around it, by a protocol."""

    fragment: Molecule | None
    protocol: str = "qm9"
    seen: list[bool] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path | None, wanted: Sequence[str], relax: str | None = None, protocol: str = "qm9") -> Fixing:
        """Raises what `read_fragment` raises, and ValueError for what goes with a fragment alone, or without one."""
        if path is None and "joined" in wanted:
            raise ValueError("--keep joined is for molecules drawn around a fragment; give one with --fix")
        if path is not None and relax:
            raise ValueError("--relax would move the atoms that --fix keeps; draw first, then relax the file")
        from coset.samplers.fragments import read_fragment

        return cls(None if path is None else read_fragment(path), protocol)

    def watched(self, keep: Callable[[Molecule], bool] | None) -> Callable[[Molecule], bool] | None:
        """The filter; counts on the way how many of all the molecules that it judges are joined."""
        if keep is None or self.fragment is None:
            return keep

        def judge(molecule: Molecule) -> bool:
            self.seen.append(joined(molecule, self.protocol))
            return keep(molecule)

        return judge

    def report(self, drawn: Drawn, model: Model) -> str | None:
        """The join rate in words, beside what the model's card says of molecules without a fragment."""
        if self.fragment is None:
            return None
        seen = self.seen or [joined(molecule, self.protocol) for molecule in drawn.molecules]
        text = f"joined to the fragment (valid, in one piece): {rate(sum(seen), len(seen))}"
        metrics = model.card.get("metrics", {})
        counts = metrics.get("counts", {})
        if {"valid_connected", "molecules"} <= set(counts):
            free = rate(counts["valid_connected"], counts["molecules"])
            text += f"; valid and in one piece without a fragment: {free}, by the card ({metrics.get('steps')} steps)"
        return text


def joined(molecule: Molecule, protocol: str) -> bool:
    from coset.metrics.flags import flags

    return flags([molecule], protocol)[0]["joined"]


def rate(some: int, of: int) -> str:
    return f"{some} of {of:,} drawn, {100 * some / of:.1f} %"
