"""Large jobs: the same files whatever the number of workers, nothing lost and nothing twice where some are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coset.scale.job import Job, Shards
from coset.scale.run import Workforce, run
from example_makers import Numbers

ITEMS, FILES = range(100, 123), 5
SCRIPT = """
import sys
from pathlib import Path
from test_shards import job_of
from coset.scale.run import Workforce, run
if __name__ == "__main__":
    run(job_of(Path(sys.argv[1]), seconds=0.1), Workforce(workers=2), "cpu")
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals that kill")


def job_of(folder, items=ITEMS, **options):
    (folder / "marks").mkdir(parents=True, exist_ok=True)
    maker = Numbers(folder / "marks", **options)
    return Job(maker, items, Shards(folder / "out", FILES, maker.suffix), {"what": "numbers"})


def texts(job):
    return [job.shards.path(number).read_text() for number in range(FILES)]


def assert_whole(job):
    """Every item once, in order; nothing half-written is left."""
    assert "".join(texts(job)) == "".join(f"{item}\n" for item in ITEMS)
    assert len(list(job.shards.folder.iterdir())) == 2 * FILES + 1
    assert sum(record["molecules"] for record in job.records()) == len(ITEMS)


def test_a_lost_worker_is_replaced_and_its_file_made_again(tmp_path):
    """By one worker, then by two of which one dies amid a file."""
    told = []
    one, two = job_of(tmp_path / "one"), job_of(tmp_path / "two", deadly=112)
    assert run(one, Workforce(workers=1), "cpu", told.append)
    assert told == [0, 1, 2, 3, 4, 5] and one.maker.made() == [f"part-0000{n}" for n in range(FILES)]
    assert run(two, Workforce(workers=2), "cpu")
    assert len(list(two.maker.marks.glob("dead*"))) == 1 and two.maker.made() == one.maker.made()
    for job in (one, two):
        assert_whole(job)
    assert texts(one) == texts(two)
    for number in range(FILES):
        assert 4 <= len(one.part(number)) <= 5


def test_a_job_that_was_killed_goes_on_and_makes_nothing_twice(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], env=os.environ | {"PYTHONPATH": path})
    job = job_of(tmp_path)
    while len(job.records()) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = [number for number in range(FILES) if job.shards.done(number)]
    stamps = [job.shards.path(number).stat().st_mtime_ns for number in before]
    assert 2 <= len(before) < FILES
    assert run(job, Workforce(workers=1), "cpu")
    assert_whole(job)
    assert [job.shards.path(number).stat().st_mtime_ns for number in before] == stamps


def test_one_file_alone_for_arrays_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.scale.run.run_processes", in_this_process)
    job = job_of(tmp_path)
    assert not run(job, Workforce(only=3), "cpu") and job.maker.made() == ["part-00003"]
    for number in (0, 1, 2):
        assert not run(job, Workforce(only=number), "cpu")
    assert run(job, Workforce(only=4), "cpu")
    assert_whole(job)
    with pytest.raises(ValueError, match="numbered 0 to 4; got --shard 5"):
        run(job, Workforce(only=5), "cpu")


def in_this_process(job, numbers, devices):
    make = job.maker.opened(devices[0])
    for number in numbers:
        job.shards.write(number, job.part(number), make)
        yield number


def test_what_cannot_be_made_is_one_sentence_that_names_the_file(tmp_path):
    job = job_of(tmp_path / "wrong", wrong=110)
    with pytest.raises(ValueError, match=r"part-00002-of-00005.txt: 110 cannot be written"):
        run(job, Workforce(workers=1), "cpu")
    assert job.shards.done(0) and not job.shards.done(2)
    job = job_of(tmp_path / "deadly", deadly=100, deaths=9)
    with pytest.raises(ValueError, match="3 processes ended while they made part-00000"):
        run(job, Workforce(workers=1), "cpu")


def test_a_folder_holds_one_job(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.scale.run.run_processes", in_this_process)
    run(job_of(tmp_path), Workforce(only=0), "cpu")
    with pytest.raises(ValueError, match="holds another job: molecules was 23 and is 22; give another folder"):
        run(job_of(tmp_path, ITEMS[:-1]), Workforce(), "cpu")
    with pytest.raises(ValueError, match="3 molecules make at least 1 and at most as many files"):
        job_of(tmp_path, range(3))


def test_ray_missing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'coset\[scale\]'; on one machine --workers does without"):
        run(job_of(tmp_path), Workforce(workers=2, ray=True), "cpu")


@pytest.mark.filterwarnings("ignore")
def test_a_lost_worker_of_ray_is_replaced_and_its_file_made_again(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed; pip install 'coset[scale]'")
    pytest.importorskip("ray.data")
    import example_makers

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.cloudpickle.register_pickle_by_value(example_makers)  # whose place the workers do not know
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        job = job_of(tmp_path, deadly=112)
        assert run(job, Workforce(workers=2, ray=True), "cpu")
        assert len(list(job.maker.marks.glob("dead*"))) == 1
        assert_whole(job)
    finally:
        ray.shutdown()


def test_workers_that_cannot_start_are_told_so(tmp_path):
    """A script without the guard begins its own job again in each worker."""
    script = SCRIPT.replace('if __name__ == "__main__":\n    ', "")
    (tmp_path / "script.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode and "ValueError: worker processes do not start" in done.stderr
