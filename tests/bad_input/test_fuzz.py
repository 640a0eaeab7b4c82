"""Whatever bytes a file holds, reading gives molecules or one sentence."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from mutations import mutated, seeds

from coset.files import iterate, read
from coset.molecule import Molecule

_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz")
SCRATCH = Path(_FOLDER.name)
FILES = seeds(SCRATCH)


@pytest.fixture(scope="module", autouse=True)
def cleaned() -> Iterator[None]:
    yield
    _FOLDER.cleanup()


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_whole_before_they_are_damaged(name: str):
    (SCRATCH / name).write_bytes(FILES[name])
    assert len(read(SCRATCH / name)) == 9 + (name == "mixed.sdf")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(mutated(FILES))
def test_a_damaged_file_gives_molecules_or_one_sentence(file: tuple[str, bytes]):
    path = SCRATCH / f"damaged.{file[0]}"
    path.write_bytes(file[1])
    skipped: list[ValueError] = []
    try:
        molecules = read(path)
    except ValueError as error:
        assert_one_sentence(error, path)
    else:
        assert molecules and all(isinstance(each, Molecule) for each in molecules)
    try:
        kept = list(iterate(path, on_error=skipped.append))
    except ValueError as error:
        assert_one_sentence(error, path)
    else:
        assert kept or skipped
    for error in skipped:
        assert_one_sentence(error, path)


def assert_one_sentence(error: ValueError, path: Path) -> None:
    message = str(error)
    assert type(error) is ValueError and message.startswith(str(path)), message
    assert "\n" not in message and message.isascii() and len(message) < 400 + len(str(path)), message
    assert message.endswith("."), message
