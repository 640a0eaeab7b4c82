"""Laws of the source tree: who may import whom, and where papers are named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import coset

ROOT = Path(coset.__file__).parent
SHARED = {"cloud", "noise", "scales", "gaussian", "interfaces", "diffusion", "molecule", "bonds", "files"}
SHARED |= {"automorphisms", "recomputing", "allocator"}
# What puts parts together may import across.
COMPOSERS = {"training", "recipes", "reproduce", "cli", "model", "model_files", "likelihood", "__init__", "__main__"}
COMPOSERS |= {"ensembles", "scale"}
# Graphs are checked by metrics and moved by symmetries; metrics judge data sets, and bonds in processes of their own.
BESIDE = {"graphs": {"symmetry", "metrics"}, "metrics": {"data", "energies"}}
PAPERS = {
    "edm",
    "symdiff",
    "gdm",
    "geoldm",
    "radm",
    "etflow",
    "etdiff",
    "end",
    "equifm",
    "geobfn",
    "semla",
} | {"ts"}
# "end" is a word of its own: only as a name of something, never as the end of a file or an interval.
LOOSE = {"end", "ts"}
FILES = sorted(ROOT.rglob("*.py"))


def part_of(file: Path) -> str:
    """The folder or top-level file of the package that a source file belongs to."""
    first = file.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """Modules of coset that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "coset")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "coset":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "relative import"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_each_folder_imports_the_shared_files_and_itself_alone(file):
    part = part_of(file)
    if part in COMPOSERS:
        return
    allowed = SHARED if part in SHARED else SHARED | {part} | BESIDE.get(part, set())
    for name in imported(file):
        found = name.split(".")[1] if "." in name else name
        assert found in allowed, f"{part} imports {name}; only {', '.join(sorted(COMPOSERS))} may compose"


def words(name: str) -> set[str]:
    """RecursiveFrame -> recursive, frame; log_snr -> log, snr."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every name a file defines or binds, and whether it names a class or a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, True
        elif isinstance(node, ast.Name):
            yield node.id, False
        elif isinstance(node, ast.arg):
            yield node.arg, False
        elif isinstance(node, ast.Attribute):
            yield node.attr, False
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.rpartition(".")[2], False


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_papers_are_named_in_recipes_and_docstrings_alone(file):
    if part_of(file) == "recipes":
        return
    for part in file.relative_to(ROOT).with_suffix("").parts:
        assert not words(part) & PAPERS, f"{file} is named after a paper"
    for name, defined in identifiers(ast.parse(file.read_text(encoding="utf-8"))):
        found = words(name) & (PAPERS if defined else PAPERS - LOOSE)
        assert not found, f"{file.name}: {name} names a paper ({', '.join(found)}); say what it does instead"


def test_the_rules_can_fail(tmp_path):
    """What they are for is found."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from coset.networks.dit import DiT\n\nclass EDMLoss: ...\n")
    assert list(imported(wrong)) == ["coset.networks.dit.DiT"]
    assert any(words(name) & PAPERS for name, _ in identifiers(ast.parse(wrong.read_text())))
    assert words("RecursiveFrame") == {"recursive", "frame"} and words("EDMLoss") == {"edm", "loss"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_and_functions_fit_on_a_screen_or_two(file):
    """At most 300 lines a file and 60 a function, 8 arguments to a constructor."""
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None and node.end_lineno - node.lineno < 60, node.name
            if node.name == "__init__":
                assert len(node.args.args) + len(node.args.kwonlyargs) <= 9, "8 beside self"
