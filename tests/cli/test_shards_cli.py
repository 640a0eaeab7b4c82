"""coset sample and coset conformers in many files: what is told, what goes on, what is refused."""

from __future__ import annotations

import csv

import pytest

from coset.files import read


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Workers that are this process."""

    def work(job, numbers, devices):
        make = job.maker.opened(devices[0])
        for number in numbers:
            job.shards.write(number, job.part(number), make)
            yield number

    monkeypatch.setattr("coset.scale.run.run_processes", work)


def test_samples_in_many_files(run, tmp_path):
    command = ("sample", "-n", 5, "--steps", 2, "--shards", 2, "-o", tmp_path / "many.sdf.gz")
    code, out, _ = run(*command, "--shard", 1)
    assert code == 0 and "3 molecules in 1 of 2 files" in out
    code, out, _ = run(*command, "--workers", 3)
    files = sorted((tmp_path / "many").glob("*.sdf.gz"))
    assert code == 0 and "5 molecules in 2 files" in out and len(files) == 2
    assert [m.properties["number"] for file in files for m in read(file)] == list(range(5))
    stamps = [file.stat().st_mtime_ns for file in files]
    assert run(*command)[0] == 0 and [file.stat().st_mtime_ns for file in files] == stamps
    code, _, err = run(*command, "--seed", 1)
    assert code == 2 and "holds another job: seed was 0 and is 1" in err


def test_conformers_in_many_files(run, tmp_path):
    (tmp_path / "some.smi").write_text("CCO ethanol\nXX bad\nCCC propane\n")
    command = ("conformers", tmp_path / "some.smi", "-n", 2, "--method", "rdkit", "-o", tmp_path / "many")
    code, out, _ = run(*command, "--shards", 3)
    assert code == 1 and "3 molecules in 3 files" in out and "4 conformers" in out
    rows = list(csv.DictReader((tmp_path / "many" / "failures.csv").read_text().splitlines()))
    assert [(row["line"], row["name"]) for row in rows] == [("2", "bad")]
    assert [len(read(tmp_path / "many" / f"part-0000{number}-of-00003.sdf.gz")) for number in (0, 2)] == [2, 2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--workers", 2), "--workers, --shard and --ray are for jobs in many files; give --shards too"),
        (("--shards", 2, "--keep", "stable", "--relax", "mmff"), "--keep, --relax cannot be had with --shards"),
        (("--shards", 9), "5 molecules make at least 1 and at most as many files; got --shards 9"),
    ],
)
def test_options_that_do_not_go_together_are_refused(run, tmp_path, options, told):
    code, _, err = run("sample", "-n", 5, "--steps", 2, "-o", tmp_path / "m.sdf", *options)
    assert code == 2 and told in err and not list(tmp_path.iterdir())
