"""The generated pages, as Markdown: model cards and the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from coset.cli.cards import describe, find_card
from coset.model_files import list_models


def models_page() -> str:
    """One section a packaged model, from its card."""
    start = [
        "# Models",
        "The models that come with the library, from the cards beside their weights. `coset models NAME` prints the "
        "same, and `coset models --verify` checks that the weights are those of the card.",
    ]
    return _joined([*start, *(part for name in list_models() for part in _model(name))])


def _model(name: str) -> list[str]:
    card = find_card(name)
    file = {"File": {"size": f"{card.size / 1e6:.1f} MB", "SHA-256": f"`{card.sha256}`"}}
    parts = [f"## {name}", *_quality(card.values.get("metrics", {}))]
    for heading, values in {**describe(card.values), **file}.items():
        parts += [f"### {heading}", _table(("", ""), [(key, _plain(value)) for key, value in values.items()])]
    return parts


def _quality(metrics: dict[str, Any]) -> list[str]:
    """The table of rates; cards of other training data may hold none."""
    if not metrics:
        return ["Not measured."]
    if "coverage" in metrics:
        return _coverage(metrics)
    rows = []
    for key, rate in metrics["rates"].items():
        low, high = metrics["intervals"][key]
        own = metrics.get("data", {}).get(key)
        cells = [f"{100 * rate:.1f}", f"{100 * low:.1f} – {100 * high:.1f}", "" if own is None else f"{100 * own:.1f}"]
        rows.append((key.replace("_", " "), *cells))
    drawn = (
        f"Measured on {metrics['molecules']:,} molecules, {metrics['steps']} steps, seed {metrics['seed']}; per cent."
    )
    return [drawn, _table(("", "model", "95 % interval", "the data's own"), rows)]


def _coverage(metrics: dict[str, Any]) -> list[str]:
    """Recall and precision of a model of conformers."""
    found = metrics["coverage"]
    rows = [
        (f"COV within {d} Å, per cent", *(f"{100 * found[f'cov_{side}_mean_{d}']:.1f}" for side in SIDES))
        for d in ("0.1", "0.5")
    ]
    rows.append(("AMR, Å", *(f"{found[f'amr_{side}_mean']:.3f}" for side in SIDES)))
    right = f"{100 * metrics['stereo_right']:.1f} % of the conformers as drawn have the stereo asked for"
    drawn = (
        f"Measured on {metrics['molecules']:,} test molecules, 2 L conformers for L of the reference, "
        f"{metrics['steps']} steps, seed {metrics['seed']}; {right}, {100 * metrics['stereo_repaired']:.1f} % after "
        "repair; the others are left out."
    )
    return [drawn, _table(("", *SIDES), rows)]


SIDES = ("recall", "precision")


COMMANDS = "Every command has `--help`. Exit codes: 0 done, 1 some molecules failed, 2 bad input, 130 Ctrl-C."


def commands_page() -> str:
    """One section a command, from what the commands say of themselves."""
    from typer.main import get_command

    from coset.cli.main import app

    root = get_command(app)
    start = [
        "# Commands",
        root.help or "",
        COMMANDS,
    ]
    return _joined([*start, *(part for name, command in _commands(root, "coset") for part in _command(name, command))])


def _commands(group: Any, path: str) -> Iterable[tuple[str, Any]]:
    """All commands below a group by their full name; a group that does something itself comes first."""
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if not hasattr(command, "commands"):
            yield full, command
            continue
        if command.invoke_without_command:
            yield full, command
        yield from _commands(command, full)


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    names = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    rows = [(f"`{p.name.upper()}`", _help(p), "") for p in arguments]
    choices = _choices(command.callback)
    rows += [(_flags(p, choices.get(p.name, ())), _help(p), _default(p)) for p in options]
    usage = " ".join([name, *names, *(["[OPTIONS]"] if options else [])])
    text = command.callback.__doc__ or "" if hasattr(command, "commands") and command.callback else command.help or ""
    table = [_table(("option", "", "default"), rows)] if rows else []
    return [f"## {name}", f"```text\n{usage}\n```", " ".join(text.split()), *table]


def _flags(parameter: Any, choices: Iterable[str]) -> str:
    flags = ", ".join(f"`{flag}`" for flag in parameter.opts)
    return f"{flags} {' / '.join(choices)}".rstrip()


def _choices(function: Any) -> dict[str, tuple[str, ...]]:
    """What may be given for each parameter whose type is a Literal."""
    hints = get_type_hints(inspect.unwrap(function)) if function else {}
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def _help(parameter: Any) -> str:
    return _plain(getattr(parameter, "help", "") or "")


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value):
        return ""
    return "yes" if value is True else f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _plain(value: str) -> str:
    return value.replace("|", "\\|")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
