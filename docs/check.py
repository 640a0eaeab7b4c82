"""Runs what the pages show. `python docs/check.py [--slow] [--write] [PAGE ...]`.

Every ```python and ```sh block of a page runs, from top to bottom in one empty folder; the Python blocks of a page
share their variables. A comment on the line above a block says what is special about it:

<!-- slow -->            takes minutes: runs at full size with --slow, else with small numbers in place of its own
<!-- not run: reason --> is shown only
<!-- output -->          a ```text block: what the Python block before it prints, compared; --write fills it in
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]+?) -->\n)?```(?P<language>\w+).*?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
# What makes a slow command quick: the same options and files with small numbers.
QUICK = [
    (r"(train (?:radm|geoldm|graphldm)\S*)", r"\1 --set codec_molecules=64 --set codec_width=16 --set pose_width=16"),
    (
        r"--minutes \d+",
        "--set molecules=64 --set batch=16 --set validate_molecules=8 --set sample_molecules=2 --set sample_steps=2",
    ),
    (r"sample -n \d+", "sample -n 4 --steps 2"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; span: where its text lies in the page."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    span: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    """The written pages; generated ones show nothing to run."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page from top to bottom, included files in place."""
    source = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(source):
        text = SNIPPET.sub(lambda snippet: (DOCS / snippet[1]).read_text(encoding="utf-8"), found["text"])
        line = source.count("\n", 0, found.start("text"))
        yield Block(page, line, found["language"], text, found["mark"] or "", found.span("text"))


def run_page(page: Path, slow: bool = False, write: bool = False) -> int:
    """Runs a page's blocks in the current folder; returns how many. Raises what fails, with the page and line."""
    module = types.ModuleType(f"page_{page.stem}")
    sys.modules[module.__name__] = module  # where dataclasses look for the names of their annotations
    scope = vars(module)
    ran, printed, fresh = 0, "", []
    for block in blocks(page):
        try:
            if block.mark.startswith("not run"):
                continue
            if block.language == "python":
                printed = run_python(block, scope)
            elif block.language == "sh":
                run_shell(block, quick=not slow)
            elif block.mark == "output":
                fresh.append((block.span, printed))
                assert write or block.text == printed, f"the page shows\n{block.text}\nand it prints\n{printed}"
            else:
                continue
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error
        ran += 1
    if write and fresh:
        rewrite(page, fresh)
    return ran


def run_python(block: Block, scope: dict[str, object]) -> str:
    """Runs a block; what it prints. Line numbers of its errors are the page's."""
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, scope)
    return printed.getvalue()


def run_shell(block: Block, quick: bool) -> None:
    """Runs a block line by line. Quickly: with small numbers, and coset's commands within this process."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if quick and block.mark == "slow":
            for pattern, small in QUICK:
                line = re.sub(pattern, small, line)
        if quick and line.startswith("coset "):
            run_command(shlex.split(line, comments=True)[1:])
        elif line.strip():
            environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            subprocess.run(["bash", "-ec", line], check=True, env=environment)


def run_command(arguments: list[str]) -> None:
    """One of coset's commands, without the second or two of a new process."""
    from coset.cli.main import app

    with contextlib.redirect_stdout(io.StringIO()):
        code = app(arguments, standalone_mode=False)
    assert not code, f"exit code {code}"


def rewrite(page: Path, fresh: list[tuple[tuple[int, int], str]]) -> None:
    """Puts new outputs into the page, from the last one up so that the places stay right."""
    source = page.read_text(encoding="utf-8")
    for (start, stop), printed in reversed(fresh):
        source = source[:start] + printed + source[stop:]
    page.write_text(source, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, default=pages(), help="all of them without")
    parser.add_argument("--slow", action="store_true", help="slow blocks at their full size")
    parser.add_argument("--write", action="store_true", help="write printed outputs into the pages")
    options = parser.parse_args()
    for page in [each.resolve() for each in options.pages]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            print(f"{page.name}: {run_page(page, options.slow, options.write)} blocks", flush=True)


if __name__ == "__main__":
    main()
