"""`coset ...` as its user meets it, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from coset.cli import main


@pytest.fixture
def refused(monkeypatch, capsys) -> Callable[..., str]:
    """Runs a command that must fail: exit code 2, one line on standard error, which is returned."""

    def call(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["coset", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        assert end.value.code == 2, captured.err
        assert len(captured.err.splitlines()) == 1 and captured.err.startswith("error: "), captured.err
        assert "Traceback" not in captured.out
        return captured.err

    return call
