"""The report is one file that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from coset.files import read
from coset.metrics.depiction import depict
from coset.metrics.evaluate import evaluate
from coset.metrics.page import write_report
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
VOID = {"meta", "br", "img", "hr", "link", "input"}


class Nesting(HTMLParser):
    """Fails where a tag closes that was not the last to open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("reference", ["qm9", None])
def test_the_page_stands_alone(tmp_path: Path, reference: str | None):
    molecules = read(DATA / "gschnet_samples.npz")[:60]
    report = evaluate(molecules, reference)
    write_report(tmp_path / "report.html", report, molecules, {"title": "A <b> & c", "model": "x<y", "seed": 3})
    text = (tmp_path / "report.html").read_text()
    parser = Nesting()
    parser.feed(text)
    assert parser.open == [] and parser.seen.count("figure") == 24 and "script" not in parser.seen
    links = {each for each in re.findall(r"https?://[^\s'\"<]+", text) if not each.startswith("http://www.w3.org")}
    assert links <= {"http://www.rdkit.org/xml"} and "url(" not in text and "src=" not in text
    assert "A &lt;b&gt; &amp; c" in text and "x&lt;y" in text
    assert f"<b>{100 * report.rates['validity'].value:.1f}</b>" in text
    assert ("fluorine" in text) == (reference is not None)


def test_every_generated_molecule_can_be_drawn():
    for molecule in read(DATA / "gschnet_samples.npz")[:200]:
        ElementTree.fromstring(depict(molecule))
    clump = Molecule(np.full(80, 6), np.random.default_rng(0).normal(size=(80, 3)))
    assert "C80" in depict(clump)
