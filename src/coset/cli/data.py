"""coset data: named data sets, stores of one's own molecules, what is in them, and references made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coset.cli import sources as kinds
from coset.cli.display import progress_bar, say

if TYPE_CHECKING:
    from coset.data.store import Store

app = typer.Typer(help="List, build and describe data sets.", invoke_without_command=True)

Sources = Annotated[
    list[str], typer.Argument(help="Files and folders: .sdf, .sdf.gz, .xyz, .npz. Or qm9, or geom-drugs.")
]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the new store; named sets have a place.")]
Elements = Annotated[str | None, typer.Option(help="Allowed ones, as H,C,N,O; those that occur without.")]
Share = Annotated[float, typer.Option(help="Share of the molecules; all conformers of one stay together.")]
Skip = Annotated[bool, typer.Option(help="Leave out and count what cannot be read or has other elements.")]
Group = Annotated[str | None, typer.Option(help="A property that is equal for molecules that must stay together.")]
Packed = Annotated[bool, typer.Option(help="Positions as int16 milli-Angstrom, half the size.")]
Part = Annotated[str | None, typer.Option(help="Of a table with a split: only train, valid or test.")]
Standard = Annotated[bool, typer.Option(help="Check that a table is QM9 in its standard split.")]
_ORIGIN = "qm9: folder of its archive, downloaded there if absent. geom-drugs: drugs_crude.msgpack, or rdkit_folder."
Origin = Annotated[Path | None, typer.Option("--from", help=_ORIGIN)]
Mirror = Annotated[str | None, typer.Option(help="qm9: address under which both files lie, in place of figshare.")]
Most = Annotated[int, typer.Option(help="geom-drugs: conformers of a molecule, those of lowest energy.")]
_PERMUTATION = "geom-drugs: geom_permutation.npy, for the published split over conformers; by molecule without."
Permutation = Annotated[Path | None, typer.Option(help=_PERMUTATION)]
Neutral = Annotated[bool, typer.Option("--neutral", help="geom-drugs, ensembles: leave charged molecules out.")]
Numpy = Annotated[bool, typer.Option("--allow-numpy", help="geom-drugs: also numpy's arrays and scalars in pickles.")]


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
    most: Most = 30,
    permutation: Permutation = None,
    neutral: Neutral = False,
    allow_numpy: Numpy = False,
) -> None:
    """Make a store of molecules to train on.

    From folders and files of one's own, read one molecule at a time; from QM9's archive (`qm9`, downloaded if need
    be); from GEOM (`geom-drugs`); from an .npz of ensembles, every conformer a molecule; or from an .npz table with
    gdb_id and split. The last two keep the split they have.
    """
    kind = kinds.kind_of(sources, bool(standard or split))
    kinds.check_options(context, kind)
    if kind == kinds.QM9:
        store = _build_qm9(out, origin, mirror, packed)
    elif kind == kinds.GEOM:
        store = _build_geom_drugs(out, origin, permutation, packed, most, neutral, allow_numpy)
    elif out is None:
        raise ValueError("data build needs a folder for the new store; name it with -o")
    elif kind == kinds.ENSEMBLES:
        from coset.data import ensemble_store

        store, _ = ensemble_store.build(Path(sources[0]), out, neutral=neutral, packed=packed)
    elif kind == kinds.TABLE:
        from coset.data import qm9

        if len(sources) > 1:
            raise ValueError(f"--standard and --split are for one .npz table; got {len(sources)} files")
        parts = None if split is None else [split]
        store = qm9.build(sources[0], out, splits=parts, packed=packed, standard=standard)
    else:
        from coset.data import builder

        chosen = builder.Selection(kinds.atomic_numbers(elements), valid, test, seed, skip_bad, group_by)
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
    name: Annotated[str, typer.Argument(help="A data set with a test split.")] = kinds.QM9,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File, .npz; in the store without.")] = None,
    protocol: Annotated[str | None, typer.Option(help="qm9 or drugs; by the elements without.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores without.")] = None,
) -> None:  # fmt: skip
    """Measure a data set's train and test splits into a reference for `coset evaluate`.

    Of more than 300,000 training or 30,000 test molecules so many are drawn, by seed 0. Written into the store, it is
    found by the name of the data set.
    """
    from coset.data.catalog import open_dataset
    from coset.energies.batch import enough
    from coset.metrics.dataset_reference import reference_of
    from coset.metrics.reference import KEPT, save_reference

    dataset = open_dataset(name, hold_out=0)
    if not len(dataset.test):
        raise ValueError(f"{name} has no test molecules to make a reference of; build it with --test 0.05 or so")
    out = out or dataset.store.path / KEPT
    measured = reference_of(dataset, protocol, workers or enough(len(dataset.test), each=500))
    save_reference(out, measured)
    say(f"reference of {name}, protocol {measured.protocol} -> {out}")


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
    target = out or cache_folder() / kinds.QM9
    if target.exists():  # before a download that takes minutes
        raise FileExistsError(f"{target} exists already; remove it or choose another folder with -o.")
    with progress_bar("downloading QM9", 1.0) as update:
        archive, excluded = qm9_archive.download(origin, mirror, update)
    with progress_bar("building", 1.0) as update:
        return qm9_archive.build(archive, excluded, target, packed=packed, progress=update)


def _build_geom_drugs(
    out: Path | None,
    origin: Path | None,
    permutation: Path | None,
    packed: bool,
    most: int,
    neutral: bool,
    allow_numpy: bool,
) -> Store:
    """GEOM-Drugs from one of its two files, told in words."""
    from coset.data import drugs_archive
    from coset.data.catalog import cache_folder

    if origin is None:
        raise ValueError(
            f"{kinds.GEOM} is not downloaded; name GEOM's drugs_crude.msgpack or its rdkit_folder with --from "
            "(doi:10.7910/DVN/JNGTDF)"
        )
    target = out or cache_folder() / kinds.GEOM
    with progress_bar("building", 1.0) as update:
        store, summary = drugs_archive.build(
            origin, target, most=most, neutral=neutral, permutation=permutation, packed=packed,
            allow_numpy=allow_numpy, progress=update,
        )  # fmt: skip
    if permutation:
        say("the published split is over conformers: those of one molecule are in train, valid and test alike")
    for line in summary.lines():
        say(line)
    if summary.failures:
        say(f"reasons -> {drugs_archive.failures_file(target)}")
    return store


def _describe(store: Store) -> None:
    from coset.data.catalog import open_dataset

    say(open_dataset(store.path, hold_out=0).describe())
