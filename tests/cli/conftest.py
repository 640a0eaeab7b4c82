"""What the tests of the command line share."""

from __future__ import annotations

import sys

import pytest

from coset.cli import main
from coset.cli.display import console


@pytest.fixture
def width() -> int:
    """Columns of the terminal: tables are cut to it."""
    return 200


@pytest.fixture
def run(monkeypatch, capsys, width):
    """Runs `coset ...`; gives exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["coset", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", str(width))  # of the console for errors, which is made anew
        monkeypatch.setattr(console, "width", width)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
