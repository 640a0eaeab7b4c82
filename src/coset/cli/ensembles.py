"""coset data ensembles, coset data geom: files of conformers to train on, made here or converted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset.cli.display import progress_bar, say

_SHOWN = 5  # failures on the terminal; the table has them all

Out = Annotated[Path, typer.Option("-o", "--out", help="File to write, .npz.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores without.")]
Source = Annotated[Path, typer.Argument(help="GEOM's rdkit_folder, or drugs_crude.msgpack.")]
Split = Annotated[Path | None, typer.Option("--published-split", help="split0.npy; by molecule without.")]
Subset = Annotated[str | None, typer.Option(help="drugs or qm9, where the folder holds both.")]
Numpy = Annotated[bool, typer.Option("--allow-numpy", help="Also numpy's arrays and scalars in pickles.")]


def ensembles(
    file: Annotated[str, typer.Argument(help="SMILES and names, a line each (.smi), or a .csv with a column smiles.")],
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="Embeddings of a molecule by ETKDGv3.")] = 50,
    most: Annotated[int, typer.Option(min=1, help="Of these, so many are relaxed with GFN2-xTB.")] = 20,
    window: Annotated[float, typer.Option(help="kcal/mol above the lowest conformer.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Of the embeddings.")] = 0,
    seconds: Annotated[float, typer.Option(help="CPU time for one relaxation, at most.")] = 120.0,
    workers: Workers = None,
) -> None:
    """Make ensembles with GFN2-xTB: ETKDGv3, MMFF94, relaxation, duplicates and changed molecules left out.

    Molecules that fail are listed in OUT.failures.csv. Stopped half-way, the same command goes on where it was.
    """
    from coset.energies.batch import enough
    from coset.ensembles.build import build
    from coset.ensembles.requests import requests
    from coset.ensembles.search import Search

    _check_name(out)
    asked = requests(file)
    search = Search(seeds=seeds, most=most, window=window, seed=seed, seconds=seconds)
    with progress_bar("GFN2-xTB ensembles", len(asked)) as update:
        built = build(asked, out, search, workers or enough(len(asked), 2), update)
    for line, name, smiles, reason in built.failures[:_SHOWN]:
        say(f"line {line}, {name or smiles or 'no name'}: {reason}")
    if len(built.failures) > _SHOWN:
        say(f"and {len(built.failures) - _SHOWN:,} more")
    _tell(built.lines(), out, bool(built.failures))


def geom(
    source: Source,
    out: Out,
    most: Annotated[int, typer.Option(min=1, help="Conformers of a molecule, those of greatest weight.")] = 30,
    published_split: Split = None,
    subset: Subset = None,
    allow_numpy: Numpy = False,
    workers: Workers = None,
) -> None:
    """Convert GEOM to a file of ensembles; pickles may hold RDKit molecules and plain values, nothing else.

    Split by molecule. The published split goes by file: stereoisomers of one molecule may be in train and in test.
    """
    from coset.data.ensemble_writer import failures_file
    from coset.data.geom import build
    from coset.energies.batch import enough

    _check_name(out)
    with progress_bar("converting", 1.0) as update:
        made = build(
            source, out, most=most, published=published_split, subset=subset, allow_numpy=allow_numpy,
            workers=workers or (enough(10**6) if _large(source) else 1), progress=update,
        )  # fmt: skip
    if published_split:
        say("the published split goes by file: stereoisomers of one molecule may be in train and in test")
    _tell(made.lines(), out, failures_file(out).is_file())


def _large(source: Path) -> bool:
    """Whether there is work for more than one process: each takes a second or two to start."""
    if source.is_dir():
        return any(path.stat().st_size > 2**17 for path in source.rglob("*summary*.json"))
    return source.is_file() and source.stat().st_size > 2**24


def _check_name(out: Path) -> None:
    if out.suffix != ".npz":
        raise ValueError(f"Cannot write {out}: expected a name that ends in .npz.")


def _tell(lines: list[str], out: Path, failures: bool) -> None:
    from coset.data.ensemble_writer import failures_file

    for line in lines:
        say(line)
    if failures:
        say(f"reasons -> {failures_file(out)}")
    say(f"-> {out}")
