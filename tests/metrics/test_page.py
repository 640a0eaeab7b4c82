"""The report is one file that needs nothing else, holds what it is given as text alone, and runs in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from coset.files import read, write_sdf
from coset.metrics.depiction import depict
from coset.metrics.evaluate import evaluate
from coset.metrics.file_bonds import read_graphs
from coset.metrics.gallery import drawing
from coset.metrics.page import write_report
from coset.metrics.reference import load_reference
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
VOID = {"meta", "br", "img", "hr", "link", "input"}
HOSTILE = "<!--<script ></script ><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not installed here")


class Nesting(HTMLParser):
    """Fails where a tag closes that was not the last to open; collects tags, ids, scripts and handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs) -> None:
        self.seen.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [values[name] for name in ("src", "href") if values.get(name)]
        self.handlers += [name for name in values if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.texts[self.ids[-1]] = self.texts.get(self.ids[-1], "") + data


def parsed(path: Path) -> Nesting:
    page = Nesting()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == [] and len(set(page.ids)) == len(page.ids)
    return page


def molecules_of(page: Nesting) -> list[dict]:
    return json.loads(page.texts["molecules"])


@pytest.fixture(scope="module")
def generated() -> list[Molecule]:
    return read(DATA / "gschnet_samples.npz")[:300]


@pytest.mark.parametrize("reference", ["qm9", None])
def test_the_page_stands_alone(tmp_path: Path, generated: list[Molecule], reference: str | None):
    report = evaluate(generated, reference)
    card = {"title": "A <b> & c", "model": "x<y", "seed": 3, "Settings": {"width": 96}}
    write_report(tmp_path / "report.html", report, generated, card)
    page, text = parsed(tmp_path / "report.html"), (tmp_path / "report.html").read_text()
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "default-src 'none'" in text and "url(" not in text.partition('id="library"')[0]
    assert page.handlers == [] and page.seen.count("script") == 3
    assert "A &lt;b&gt; &amp; c" in text and "x&lt;y" in text and "<dt>width</dt><dd>96</dd>" in text
    assert f"<b>{100 * report.rates['validity'].value:.1f}</b>" in text
    assert ("fluorine" in text) == (reference is not None)
    assert ("data’s own" in text) == (reference is not None)


def test_the_licence_of_what_it_embeds_is_in_it(tmp_path: Path, generated: list[Molecule]):
    write_report(tmp_path / "r.html", evaluate(generated[:2], None), generated[:2], {})
    library = parsed(tmp_path / "r.html").texts["library"]
    assert "University of Pittsburgh" in library and "Redistributions in binary form" in library


def test_first_molecules_in_order_and_the_worst_and_no_others(tmp_path: Path, generated: list[Molecule]):
    report = evaluate(generated, None)
    write_report(tmp_path / "r.html", report, generated, {})
    shown = molecules_of(parsed(tmp_path / "r.html"))
    assert [each["place"] for each in shown[:24]] == list(range(1, 25))
    assert 24 < len(shown) <= 36
    for each in shown:
        molecule = generated[each["place"] - 1]
        assert each["formula"] == molecule.formula and [atom[0] for atom in each["atoms"]] == molecule.symbols
        # turned for the eye, never bent or mirrored
        positions = np.array([atom[1:] for atom in each["atoms"]])
        volume = [np.linalg.det(x[1:4] - x[:1]) for x in (positions, molecule.positions) if len(x) > 3]
        assert np.allclose(volume[:1], volume[1:], atol=0.05)
    last = shown[-1]
    assert last["reasons"] and last["unstable"] and ["not stable", False] in last["flags"]


def test_one_molecule_thousands_and_long_properties(tmp_path: Path, generated: list[Molecule]):
    write_report(tmp_path / "one.html", evaluate(generated[:1]), generated[:1], {})
    assert len(molecules_of(parsed(tmp_path / "one.html"))) == 1
    many = [replace(molecule, properties={"note": "x" * 10_000}) for molecule in generated]
    write_report(tmp_path / "many.html", evaluate(many), many, {})
    small = (tmp_path / "one.html").stat().st_size
    assert (tmp_path / "many.html").stat().st_size < small + 300_000


def test_hostile_text_stays_text(tmp_path: Path, generated: list[Molecule]):
    molecules = [replace(generated[0], properties={HOSTILE: HOSTILE})]
    reference = replace(load_reference("qm9"), name=HOSTILE)
    card = {"title": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}, "file": HOSTILE, "version": HOSTILE}
    write_report(tmp_path / "r.html", evaluate(molecules, reference), molecules, card)
    page = parsed(tmp_path / "r.html")
    assert page.seen.count("script") == 3 and "img" not in page.seen and page.handlers == []
    assert molecules_of(page)[0]["tags"] == [[HOSTILE, HOSTILE]]
    assert not {"<", ">"} & set(page.texts["molecules"])  # a browser ends the script at less than this parser does


def test_drawings_are_whole_and_take_the_colours_of_the_page(generated: list[Molecule]):
    for molecule in generated[:200]:
        ElementTree.fromstring(depict(molecule))
        small = drawing(molecule)
        ElementTree.fromstring(small)
        assert len(small) < len(depict(molecule)) and not re.search(r"[^,]#[0-9A-F]{6}", small)
    clump = Molecule(np.full(80, 6), np.random.default_rng(0).normal(size=(80, 3)))
    assert "C80" in depict(clump) and "C80" in drawing(clump)


def opened(page: Path, folder: Path, fragment: str = "") -> tuple[str, list[str]]:
    """The page as headless Chromium leaves it, and what its console said."""
    assert BROWSER is not None
    quiet = "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking"
    quiet += " --disable-component-update --disable-sync --disable-dev-shm-usage"
    graphics = "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    listen = "--enable-logging=stderr --v=0 --virtual-time-budget=5000 --window-size=1200,900 --dump-dom"
    command = [BROWSER, *f"{quiet} {graphics} {listen}".split(), f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run([*command, page.as_uri() + fragment], capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]


@NEEDS_BROWSER
def test_a_browser_shows_a_molecule_and_has_no_complaint(tmp_path: Path, generated: list[Molecule]):
    molecules = [replace(molecule, properties={HOSTILE: HOSTILE}) for molecule in generated[:30]]
    write_sdf(tmp_path / "m.sdf", generated[:30])
    report = evaluate(molecules, graphs=read_graphs(tmp_path / "m.sdf"))
    write_report(tmp_path / "r.html", report, molecules, {"title": HOSTILE})
    dom, console = opened(tmp_path / "r.html", tmp_path, "#m3")
    assert console == []
    assert 'data-viewer="ready"' in dom or 'data-viewer="unavailable"' in dom
    assert f"No. 3: {molecules[2].formula[0]}" in dom and "<title>owned" not in dom


@NEEDS_BROWSER
def test_the_browser_check_finds_a_script_that_fails(tmp_path: Path):
    (tmp_path / "r.html").write_text("<!doctype html><title>x</title><script>nothing.there()</script>")
    _, console = opened(tmp_path / "r.html", tmp_path)
    assert len(console) == 1 and "nothing is not defined" in console[0]
