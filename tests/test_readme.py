"""What the README shows, runs."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_api_in_ten_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block = BLOCKS[0].replace("sample(100, seed=0)", "sample(2, seed=0, steps=3)")
    assert block != BLOCKS[0]
    exec(block, {})
    assert (tmp_path / "molecules.sdf").exists() and "molecule stability" in capsys.readouterr().out


def test_the_composition_of_a_paper():
    scope: dict = {}
    exec(BLOCKS[1], scope)
    assert sum(p.numel() for p in scope["model"].parameters()) == 31_194_154


def test_commands_and_recipes_it_names_exist():
    from coset.cli.main import app
    from coset.recipes.registry import RECIPES, count_parameters

    text = README.read_text()
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {group.name for group in app.registered_groups}
    assert set(re.findall(r"^coset (\w+)", text, re.MULTILINE)) <= commands
    table = text.split("| recipe |")[1].split("\n\n")[0]
    names = []
    for row in table.splitlines()[2:]:
        cells = row.split("|")
        for name in re.findall(r"`(\w+)`", cells[1]):
            assert f"{count_parameters(name, next(iter(RECIPES[name].sizes))):,}" == cells[3].strip(), name
            names.append(name)
    assert names == list(RECIPES)
