"""Plausibility: the tests of PoseBusters on single molecules (Buttenschoen, Morris, Deane 2024)."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import rdkit
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from coset.bonds import Located, to_rdkit
from coset.metrics.intervals import wilson
from coset.metrics.own import of_data
from coset.metrics.sections import Section, decimal

if TYPE_CHECKING:
    from posebusters import PoseBusters

FAST = (
    "sanitization", "inchi_convertible", "all_atoms_connected", "no_radicals", "bond_lengths", "bond_angles",
    "internal_steric_clash", "aromatic_ring_flatness", "non_aromatic_ring_non_flatness", "double_bond_flatness",
)  # fmt: skip
TESTS = (*FAST, "internal_energy")
CONFORMERS, SEED = 50, 42  # of the ensemble that the energy test compares with, as PoseBusters makes it
_ENERGY = "energy_ratio"


@dataclass(frozen=True)
class Plausibility:
    """Tests of m molecules.

    passed, unanswered: molecules by test; a test that RDKit could give no answer to is not passed. passed_all:
    molecules that pass every test. reasons: molecules with an unanswered test, by reason. data: `summary` of
    molecules of the data.
    """

    molecules: int
    passed: Mapping[str, int]
    unanswered: Mapping[str, int]
    passed_all: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    reference: str | None = None
    data: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]], reference: str | None = None) -> Plausibility:
        """From results of `plausible`, or {"crashed": True} in the place of one. reference: a data set to set beside.

        Raises ValueError for no result.
        """
        if not found:
            raise ValueError("There is no molecule to test.")
        results = [{"tests": {}, "reason": "crashed"} if each.get("crashed") else each for each in found]
        names = [name for name in TESTS if any(name in each["tests"] for each in results)] or list(TESTS)
        answers = [[each["tests"].get(name) for name in names] for each in results]
        reasons = Counter(each["reason"] for each in results if each["reason"])
        return cls(
            len(results),
            {name: sum(row[i] is True for row in answers) for i, name in enumerate(names)},
            {name: sum(row[i] is None for row in answers) for i, name in enumerate(names)},
            sum(all(each is True for each in row) for row in answers),
            dict(sorted(reasons.items())),
            reference,
            of_data(reference, "plausibility"),
        )

    def summary(self) -> dict[str, Any]:
        """Plain values: counts, and shares with their 95 % intervals."""
        rates = {**self.passed, "all": self.passed_all}
        shares = {name: [count / self.molecules, *wilson(count, self.molecules)] for name, count in rates.items()}
        return {
            "molecules": self.molecules,
            "passed": dict(self.passed),
            "passed_all": self.passed_all,
            "unanswered": dict(self.unanswered),
            "reasons": dict(self.reasons),
            "rates": shares,
        }

    def section(self) -> Section:
        """The shares in per cent, beside the data's own."""
        own = self.data["rates"] if self.data else {}
        rows = []
        for name, (share, low, high) in self.summary()["rates"].items():
            interval = f"{decimal(100 * low, 1)} - {decimal(100 * high, 1)}"
            none = self.unanswered.get(name, 0)
            data = decimal(100 * own[name][0], 1) if name in own else "-"
            rows.append((_label(name), decimal(100 * share, 1), interval, data, f"{none:,}" if none else ""))
        told = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        note = "Per cent of all molecules. A test without an answer is not passed"
        return Section(
            "PoseBusters",
            f"{note}; {told}." if told else f"{note}.",
            ("passed", "value", "95 % interval", "data's\nown", "no\nanswer"),
            tuple(rows),
        )


def check_installed() -> None:
    """Raises ValueError where PoseBusters is not installed."""
    if find_spec("posebusters") is None:
        raise ValueError("PoseBusters is not installed; run: pip install 'coset[eval]'")


def label(energy: bool = True) -> str:
    """What `plausible` does, with versions: results under another label are other results."""
    return f"posebusters 1 {energy} {version('posebusters')} {rdBase.rdkitVersion}"


def plausible(molecule: Located, energy: bool = True, seconds: float = 30.0) -> dict[str, Any]:
    """PoseBusters' tests "mol" of one molecule, with bonds by coset's perception (`to_rdkit`), which must find the
    molecule's charge (`Atoms.charge`; 0 for molecules that tell none), else those of the distance rule.

    energy: also the internal energy, which takes ten times as long as all others: its UFF energy must be below 100
    times the mean of 50 conformers of its own; without, these are the tests "mol_fast". Gives tests, True or False by
    name, None without an answer, and reason, why one has none, or None. seconds: for the conformers, about; a molecule
    of whose first conformer RDKit makes nothing gets no others, since PoseBusters asks for all of them. A molecule of
    one atom has nothing to test. Raises ValueError where PoseBusters is not installed.
    """
    check_installed()
    names = TESTS if energy else FAST
    if len(molecule.numbers) < 2:
        return {"tests": dict.fromkeys(names), "reason": "single atom"}
    with _quiet():
        graph = _graph(molecule)
        if graph.GetNumBonds() == 0:
            return {"tests": dict.fromkeys(names), "reason": "no bonds"}
        found = _answers(_tests("mol_fast"), graph)
        reason = None if found["sanitization"] else "not sanitised"
        if energy:
            found["internal_energy"] = None
            reason = reason or _embeds(graph, seconds)
            if reason is None:
                found |= _answers(_tests("mol"), graph)
    if reason is None and None in found.values():
        reason = "no energy" if all(found[name] is not None for name in FAST) else "no answer"
    return {"tests": {name: found[name] for name in names}, "reason": reason}


def plausible_conformer(graph: Chem.Mol) -> dict[str, bool | None]:
    """The `FAST` tests of a molecule with its own bonds and one conformer; None for a test without an answer.

    Raises ValueError where PoseBusters is not installed.
    """
    check_installed()
    with _quiet():
        return _answers(_tests("mol_fast"), graph)


def _graph(molecule: Located) -> Chem.Mol:
    """Bonds by RDKit's perception at the charge that is told; with another, what lacks a hydrogen would pass."""
    graph = to_rdkit(molecule, "rdkit")
    told = getattr(molecule, "charge", 0)
    return graph if Chem.GetFormalCharge(graph) == told else to_rdkit(molecule, "distance")


def _embeds(graph: Chem.Mol, seconds: float) -> str | None:
    """Why PoseBusters would get no ensemble, told by the first conformer of it; None where it may get one."""
    again = Chem.MolFromInchi(Chem.MolToInchi(graph))
    if again is None:
        return None
    options = rdDistGeom.ETKDGv3()
    options.randomSeed, options.useRandomCoords = SEED, True
    options.timeout = max(1, math.ceil(seconds))
    began, busy = time.monotonic(), time.thread_time()
    place = rdDistGeom.EmbedMolecule(Chem.AddHs(again), options)
    if place < 0:
        return "time limit" if time.monotonic() - began >= options.timeout else "no conformers"
    return "time limit" if CONFORMERS * (time.thread_time() - busy) > seconds else None


def _answers(tests: PoseBusters, graph: Chem.Mol) -> dict[str, bool | None]:
    row = tests.bust([graph]).iloc[0]
    found = {str(name).replace("-", "_"): value for name, value in row.items()}
    return {name: None if value != value or value is None else bool(value) for name, value in found.items()}


@cache
def _tests(name: str) -> PoseBusters:
    """The tests of a configuration: "mol_fast" as it is, of "mol" the energy alone, on one thread."""
    from posebusters import PoseBusters

    modules = [each for each in PoseBusters(name).config["modules"] if "chosen_binary_test_output" in each]
    chosen = [each for each in modules if (each["function"] == _ENERGY) == (name == "mol") and _tells(each)]
    for each in chosen:
        if each["function"] == _ENERGY:
            each["parameters"] |= {"num_threads": 1, "ensemble_number_conformations": CONFORMERS}
    return PoseBusters(config={"modules": chosen})


def _tells(module: Mapping[str, Any]) -> bool:
    return module["function"] != "loading"  # a molecule that is here was loaded


def _label(name: str) -> str:
    return "all tests" if name == "all" else name.replace("non_", "non-").replace("_", " ")


@contextmanager
def _quiet() -> Iterator[None]:
    """PoseBusters sends RDKit's messages to Python's log and turns all of them on; here they are put back.

    It also leaves RDKit's handler with the error stream of the moment and flushes that one the next time: where
    the stream was closed meanwhile (it belonged to a notebook's cell, a test, a redirection), InChI would fail.
    """
    before = rdBase.LogStatus()
    loggers = [logging.getLogger(name) for name in ("rdkit", "posebusters")]
    levels = [logger.level for logger in loggers]
    stream, rdkit.log_handler.stream = rdkit.log_handler.stream, None
    rdBase.LogToPythonLogger()
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of files that it leaves to be closed
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        rdkit.log_handler.stream = stream
        # where RDKit sends them by itself
        (rdBase.LogToPythonStderr if "ipykernel" in sys.modules else rdBase.LogToCppStreams)()
        for name, state in (line.split(":") for line in before.split()):
            (rdBase.EnableLog if state == "enabled" else rdBase.DisableLog)(name)
