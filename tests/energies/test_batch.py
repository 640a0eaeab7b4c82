"""Batches: order, processes, results kept, processes that die; strain beside the data's own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from fatal import fatal_for_methane
from molecules import HEAP, METHANE, METHYL, WATER, shaken, some

from coset.energies import Atoms
from coset.energies.batch import CRASHED, run, undisturbed
from coset.energies.strain import DATA, StrainReport, data_strain, relax_all, strain

MOLECULES = [shaken(some()), METHYL, WATER, HEAP, shaken(some()), METHANE]


def refused(atoms: Atoms) -> dict:
    raise AssertionError("this was computed before")


def test_a_process_that_dies_takes_only_its_molecule_along():
    sizes = [3, 5, 4, 2, 1]
    atoms = [Atoms(np.ones(size, np.int64), np.zeros((size, 3))) for size in sizes]
    found = run(fatal_for_methane, "fatal", atoms, workers=2)
    assert found == [CRASHED if size == 5 else {"atoms": size} for size in sizes]


def test_processes_change_nothing_and_order_is_kept(tmp_path):
    alone = relax_all(MOLECULES)
    kept, told = tmp_path / "kept.jsonl", []
    together = relax_all(MOLECULES, workers=2, kept=kept, progress=lambda done, total: told.append((done, total)))
    for first, second in zip(alone, together, strict=True):
        assert first.failure == second.failure and (first.positions == second.positions).all()
        assert first.strain == second.strain or (np.isnan(first.strain) and np.isnan(second.strain))
    assert [each.converged for each in alone] == [True, False, True, False, True, True]
    assert told[-1] == (6, 6) and told == sorted(told)
    assert len(kept.read_text().splitlines()) == 5  # two are equal


def test_a_stopped_batch_goes_on_where_it_was(tmp_path):
    atoms, kept = [Atoms.of(each) for each in (WATER, METHANE, METHYL)], tmp_path / "kept.jsonl"
    first = run(lambda each: {"atoms": len(each)}, "count", atoms[:2], kept=kept)
    with kept.open("a") as file:
        file.write('{"key": "half a li')
    assert run(refused, "count", atoms[:2], kept=kept) == first
    with pytest.raises(AssertionError):
        run(refused, "another label", atoms[:2], kept=kept)
    with pytest.raises(AssertionError):
        run(refused, "count", [Atoms.of(WATER, charge=1)], kept=kept)
    whole = run(lambda each: {"atoms": len(each)}, "count", atoms, kept=kept)
    assert whole == [*first, {"atoms": 4}]
    assert len([line for line in kept.read_text().splitlines() if line.endswith("}")]) == 3
    assert run(refused, "count", atoms, kept=kept) == whole


def test_a_batch_needs_a_worker():
    with pytest.raises(ValueError, match="at least one worker"):
        relax_all([WATER], workers=0)


def test_strain_is_reported_beside_the_data_s_own():
    report = strain(MOLECULES, reference="qm9")
    assert report.relaxed == 4 and report.failures == {"no bonds at this charge": 1, "too close": 1}
    found = report.summary()
    low, middle, high = found["strain_kcal_mol"]
    assert 0 <= low <= middle <= high and json.loads(json.dumps(found)) == found
    text = "\n".join(report.lines())
    assert (
        "4 of 6 relaxed with MMFF94" in text
        and "qm9's own" in text
        and "1 no bonds at this charge, 1 too close" in text
    )
    nothing = StrainReport.of(relax_all([HEAP]))
    assert nothing.summary()["strain_kcal_mol"] is None and len(nothing.lines()) == 2
    with pytest.raises(ValueError, match="no molecule"):
        strain([])


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("method", ["mmff", "xtb"])
def test_the_data_itself_is_strained(name, method):
    """QM9's geometries are minima of another method, near these methods' but not theirs."""
    known = data_strain(name, method)
    assert known is not None and known["molecules"] >= (30 if name == "drug-like" else 300)
    assert known["relaxed"] > 0.98 * known["molecules"]
    assert sum(known["failures"].values()) == known["molecules"] - known["relaxed"]
    low, middle, high = known["strain_kcal_mol"]
    assert 0.2 < low < middle < high < 20
    assert data_strain("drugs", method) is None


def test_processes_that_start_undisturbed_do_not_hear_ctrl_c():
    told = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with undisturbed():
            deaf = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
        assert deaf.stdout.strip() == "True" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
