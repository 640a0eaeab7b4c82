"""coset data: named data sets, stores of one's own molecules, what is in them, and references made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coset.cli.display import progress_bar, say

if TYPE_CHECKING:
    from coset.data.store import Store

QM9 = "qm9"
app = typer.Typer(help="List, build and describe data sets.", invoke_without_command=True)

Sources = Annotated[list[str], typer.Argument(help="Folders and files: .sdf, .sdf.gz, .xyz, .npz. Or the name qm9.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the new store; qm9 has a place of its own.")]
Elements = Annotated[str | None, typer.Option(help="Allowed ones, as H,C,N,O; those that occur without.")]
Share = Annotated[float, typer.Option(help="Share of the molecules; all conformers of one stay together.")]
Skip = Annotated[bool, typer.Option(help="Leave out and count what cannot be read or has other elements.")]
Group = Annotated[str | None, typer.Option(help="A property that is equal for molecules that must stay together.")]
Packed = Annotated[bool, typer.Option(help="Positions as int16 milli-Angstrom, half the size.")]
Part = Annotated[str | None, typer.Option(help="Of a table with a split: only train, valid or test.")]
Standard = Annotated[bool, typer.Option(help="Check that a table is QM9 in its standard split.")]
Origin = Annotated[Path | None, typer.Option("--from", help="qm9: folder of its archive; downloaded there if absent.")]
Mirror = Annotated[str | None, typer.Option(help="qm9: address under which both files lie, in place of figshare.")]


@app.callback()
def data_sets(context: typer.Context) -> None:
    """List the named data sets, and say where each is or what is missing."""
    if context.invoked_subcommand:
        return
    from coset.data.catalog import NAMES, open_dataset

    for name in NAMES:
        try:
            say(open_dataset(name).describe())
        except (FileNotFoundError, ValueError) as error:
            say(f"{name}: not here: {error}")
        say("")


@app.command()
def build(
    context: typer.Context,
    sources: Sources,
    out: Out = None,
    elements: Elements = None,
    valid: Share = 0.05,
    test: Share = 0.05,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    skip_bad: Skip = False,
    group_by: Group = None,
    packed: Packed = False,
    split: Part = None,
    standard: Standard = False,
    origin: Origin = None,
    mirror: Mirror = None,
) -> None:
    """Make a store of molecules to train on.

    From folders and files of one's own, read one molecule at a time; from QM9's archive (`qm9`, downloaded if need
    be); or from an .npz table with gdb_id and split of its own, which it keeps.
    """
    table = bool(standard or split or _is_table(sources))
    _check_options(context, "qm9" if sources == [QM9] else "a table with a split" if table else "files of one's own")
    if sources == [QM9]:
        store = _build_qm9(out, origin, mirror, packed)
    elif out is None:
        raise ValueError("data build needs a folder for the new store; name it with -o")
    elif table:
        from coset.data import qm9

        if len(sources) > 1:
            raise ValueError(f"--standard and --split are for one .npz table; got {len(sources)} files")
        parts = None if split is None else [split]
        store = qm9.build(sources[0], out, splits=parts, packed=packed, standard=standard)
    else:
        from coset.data import builder

        chosen = builder.Selection(_numbers(elements), valid, test, seed, skip_bad, group_by)
        with progress_bar("building", 1.0) as update:
            store, summary = builder.build(sources, out, chosen, packed=packed, progress=update)
        for line in summary.lines():
            say(line)
    _describe(store)


@app.command()
def info(name: Annotated[str, typer.Argument(help="A named data set, a store's folder or an .npz.")]) -> None:
    """Describe a data set, after checking every array against its checksum."""
    from coset.data.catalog import open_dataset

    dataset = open_dataset(name)
    dataset.store.verify()
    say(dataset.describe())


@app.command()
def reference(
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write, .npz.")],
    name: Annotated[str, typer.Argument(help="A data set with a test split.")] = QM9,
) -> None:
    """Measure a data set's train and test splits into a reference for `coset evaluate`."""
    from coset.data.catalog import open_dataset
    from coset.metrics.reference import build_reference, save_reference

    dataset = open_dataset(name, hold_out=0)
    if not len(dataset.test):
        raise ValueError(f"{name} has no test molecules to make a reference of; build it with --test 0.05 or so")
    train, test = ([_molecule(dataset.store, row) for row in rows] for rows in (dataset.train, dataset.test))
    save_reference(out, build_reference(dataset.name, train, test))
    say(f"reference of {name} -> {out}")


@app.command()
def properties(
    name: Annotated[str, typer.Argument(help="A named data set, a store's folder or an .npz.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Table; gfn2.npz in the store without.")] = None,
    split: Annotated[str | None, typer.Option(help="Only train, valid or test.")] = None,
    first: Annotated[int | None, typer.Option("-n", min=1, help="So many molecules of these, drawn by seed 0.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores without.")] = None,
) -> None:  # fmt: skip
    """Compute energy per atom, dipole moment and orbital gap with GFN2-xTB, to condition models on.

    Rows of molecules that the table holds already are not computed again, so a stopped command goes on where it was.
    """
    from coset.cli.properties import compute

    compute(name, out, split, first, workers)


def _build_qm9(out: Path | None, origin: Path | None, mirror: str | None, packed: bool) -> Store:
    """QM9 from its archive: from --from, else from $COSET_DATA if it lies there, else downloaded beside the stores."""
    import os

    from coset.data import qm9_archive
    from coset.data.catalog import cache_folder

    given = os.environ.get("COSET_DATA")
    if origin is None:
        here = given and (Path(given) / qm9_archive.ARCHIVE.name).is_file()
        origin = Path(given) if given and here else cache_folder() / "downloads"
    target = out or cache_folder() / QM9
    if target.exists():  # before a download that takes minutes
        raise FileExistsError(f"{target} exists already; remove it or choose another folder with -o.")
    with progress_bar("downloading QM9", 1.0) as update:
        archive, excluded = qm9_archive.download(origin, mirror, update)
    with progress_bar("building", 1.0) as update:
        return qm9_archive.build(archive, excluded, target, packed=packed, progress=update)


def _check_options(context: typer.Context, kind: str) -> None:
    """Refuses options that would be passed over: each kind of source has its own beside -o and --packed."""
    own = {
        "qm9": {"origin": "--from", "mirror": "--mirror"},
        "a table with a split": {"split": "--split", "standard": "--standard"},
        "files of one's own": {
            name: f"--{name.replace('_', '-')}"
            for name in ("elements", "valid", "test", "seed", "skip_bad", "group_by")
        },
    }
    for other, options in own.items():
        for name, option in options.items():
            source = context.get_parameter_source(name)
            if other != kind and source is not None and source.name == "COMMANDLINE":
                raise ValueError(f"{option} is for {other}, and this is {kind}; leave it out")


def _is_table(sources: list[str]) -> bool:
    """Whether the one source is an .npz that says itself how it is split."""
    import zipfile

    path = Path(sources[0])
    if len(sources) > 1 or path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"gdb_id.npy", "split.npy"} <= set(archive.namelist())


def _numbers(elements: str | None) -> tuple[int, ...] | None:
    """Atomic numbers, rising, of "H,C,N,O"."""
    if elements is None:
        return None
    from coset.molecule import element_symbol

    known = {element_symbol(number).lower(): number for number in range(1, 119)}
    names = [name for name in elements.replace(",", " ").split() if name]
    unknown = [name for name in names if name.lower() not in known]
    if unknown or not names:
        raise ValueError(f"--elements expects symbols such as H,C,N,O; got {unknown[0] if unknown else elements!r}")
    return tuple(sorted({known[name.lower()] for name in names}))


def _molecule(store: Store, row: int):
    import numpy as np

    from coset.molecule import Molecule

    numbers, positions = store[row]
    return Molecule(numbers.astype(np.int64), positions.astype(np.float64))


def _describe(store: Store) -> None:
    from coset.data.catalog import open_dataset

    say(open_dataset(store.path, hold_out=0).describe())
