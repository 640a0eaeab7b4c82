"""The documentation: every block runs, the site builds without a warning and fetches nothing from elsewhere."""

from __future__ import annotations

import logging
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))

import check  # noqa: E402

PAGES = check.pages()
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore")
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check.run_page(page)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_examples_obey_their_laws(example):
    assert example.read_text(encoding="utf-8").count("\n") < 60
    runpy.run_path(str(example), run_name="__main__")


def test_blocks_that_fail_are_found(tmp_path, monkeypatch):
    """The page's own mistakes: in Python, in a command, and in what it says is printed."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    good = "```python\nprint(1)\n```\n\n<!-- output -->\n```text\n1\n```\n\n<!-- not run: why -->\n```sh\nfalse\n```\n"
    page.write_text(good)
    assert check.run_page(page) == 2
    for wrong, place in {
        "```python\n\n1 / 0\n```\n": "page.md:15: ZeroDivisionError",
        "```sh\nfalse\n```\n": "page.md:15: CalledProcessError",
        "```sh\ncoset sample -n 0\n```\n": "page.md:15: ValueError",
        "<!-- output -->\n```text\n2\n```\n": "page.md:16: AssertionError",
    }.items():
        page.write_text(good + "\n" + wrong)
        with pytest.raises(AssertionError, match=place):
            check.run_page(page)


def test_quick_commands_are_the_slow_ones_with_small_numbers():
    """Every number that makes a slow block slow is replaced."""
    for page in PAGES:
        for block in check.blocks(page):
            if block.mark == "slow":
                for line in block.text.splitlines():
                    heavy = re.match(r"coset (train|sample)", line)
                    assert not heavy or any(re.search(pattern, line) for pattern, _ in check.QUICK), line


class Resources(HTMLParser):
    """What a page makes the browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source"}:
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in {"next", "prev", "canonical"}:
            self.found.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does."""
    build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed; pip install 'coset[docs]'")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    warnings = _Warnings()
    logging.getLogger("mkdocs").addHandler(warnings)
    config = load_config(str(DOCS.parent / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build.build(config)
    assert not warnings.messages
    return folder


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.mark.filterwarnings("ignore")
def test_the_site_builds_without_warnings_and_fetches_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES) + 2
    for page in pages:
        if page.name == "404.html":  # its addresses are those of a server's root
            continue
        parser = Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        for resource in filter(None, parser.found):
            assert not re.match(r"(https?:)?//", resource), f"{page.name} fetches {resource}"
            assert (page.parent / resource.split("?")[0]).exists(), f"{page.name} lacks {resource}"


@pytest.mark.filterwarnings("ignore")
def test_generated_pages_say_what_the_library_says(site):
    import coset
    from coset.cli.main import app

    models = (site / "models.html").read_text(encoding="utf-8")
    for name, card in coset.list_models().items():
        assert f'id="{name}"' in models and f"{card['parameters']:,}" in models
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert command.callback and f"coset {command.name or command.callback.__name__}" in commands
    assert "--grid-power" in commands and "coset data build" in commands


def test_every_concept_has_its_figure():
    used = {name for page in PAGES for name in re.findall(r'(?:--8<-- "|\()figures/(\w+)\.svg', page.read_text())}
    drawn = {path.stem for path in (DOCS / "figures").glob("*.svg")}
    assert used == drawn
    for page in [*(DOCS / "concepts").glob("*.md"), DOCS / "symmetry.md"]:
        assert "figures/" in page.read_text(encoding="utf-8"), f"{page.name} shows no figure"


def test_each_of_the_four_places_for_symmetry_has_its_figure():
    sections = (DOCS / "symmetry.md").read_text(encoding="utf-8").split("\n## ")
    for place in ("model", "target", "process", "data"):
        (section,) = [each for each in sections if each.startswith(place.capitalize() + "\n")]
        assert re.findall(r"figures/(\w+)\.svg", section) == [f"symmetry_{place}"]


def test_every_recipe_has_its_place_in_the_table_of_symmetries():
    from coset.recipes.registry import RECIPES

    text = (DOCS / "symmetry.md").read_text(encoding="utf-8")
    assert set(RECIPES) <= set(re.findall(r"`(\w+)`", text))
