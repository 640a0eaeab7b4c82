"""coset reproduce: published experiments and studies, one command each."""

import typer

from coset.cli.reproduce import steering, tables, targets, trained

app = typer.Typer(
    help="Repeat published experiments and studies: rows.json, report.md and a figure in a folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (targets, tables, trained, steering):
    app.add_typer(part.app)
