"""Commands that cannot write, run out of disk, or are stopped: one line, and files are whole or as they were."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from coset.data.qm9 import build
from coset.files import atomic_write, write_xyz
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
QUICK = ["sample", "-n", "20", "--steps", "1"]

# In a process of its own: Ctrl-C at a chosen moment. "compute": at the 400th call of a module of torch. "write": when a
# file in the folder, or beside it, is first opened for writing.
STOPPED = """
import os, runpy, signal, sys
moment, folder, *arguments = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background hands down a deaf ear
calls = 0

def stop():
    global calls
    calls += 1
    if calls == (400 if moment == "compute" else 1):
        os.kill(os.getpid(), signal.SIGINT)

def opened(event, details):
    if event == "open" and isinstance(details[0], (str, os.PathLike)) and details[2] & (os.O_WRONLY | os.O_RDWR):
        if os.path.abspath(details[0]).startswith(folder):
            stop()

if moment == "write":
    sys.addaudithook(opened)
else:
    import torch
    call = torch.nn.Module.__call__
    torch.nn.Module.__call__ = lambda self, *a, **k: (stop(), call(self, *a, **k))[1]
sys.argv = ["coset", *arguments]
runpy.run_module("coset", run_name="__main__")
"""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stopped(moment: str, folder: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", STOPPED, moment, str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


@pytest.mark.parametrize(
    ("moment", "arguments"),
    [
        ("compute", ["sample", "-n", "50", "-o", "out.sdf"]),
        ("write", ["sample", "-n", "1", "--steps", "1", "-o", "out.sdf"]),
        ("write", ["evaluate", "in.xyz", "--reference", "none", "--report", "out.html"]),
        ("write", ["data", "build", str(DATA / "qm9_200.npz"), "-o", "store"]),
        ("write", ["data", "reference", "built", "-o", "out.npz"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_ctrl_c_is_one_line_and_leaves_every_file_as_it_was(tmp_path: Path, moment: str, arguments: list[str]):
    write_xyz(tmp_path / "in.xyz", [Molecule(np.array([8, 1]), np.eye(3)[:2])])
    build(DATA / "qm9_200.npz", tmp_path / "built")
    for name in ("out.sdf", "out.html", "out.npz"):
        (tmp_path / name).write_text("precious")
    before = tree(tmp_path)
    ended = stopped(moment, tmp_path, arguments)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "interrupted\n" and "Traceback" not in ended.stdout
    assert tree(tmp_path) == before


QUEUE = """## tiny
- recipe: edm
- settings: size=small width=16 depth=1 sample_molecules=0 validate_molecules=8
- weights: w/tiny.safetensors
- raw: w/tiny.raw.safetensors
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "edm", "--set", "size=small", "--set", "width=16", "--set", "depth=1", "-o", "run"],
        ["leg", "--minutes", "5", "--queue", "training/QUEUE.md", "-o", "run"],
    ],
    ids=lambda value: value[0],
)
def test_ctrl_c_in_training_saves_and_says_how_to_go_on(tmp_path: Path, arguments: list[str]):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "QUEUE.md").write_text(QUEUE)
    data = ["--data", "qm9-sample"] if arguments[0] == "leg" else ["--set", "data=qm9-sample"]
    ended = stopped("compute", tmp_path, [*arguments, *data])
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "interrupted\n" and "Traceback" not in ended.stdout
    assert "go on with" in ended.stdout and (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith(".tmp")]


def test_the_module_is_the_command():
    for arguments in (["--help"], ["frobnicate"]):
        command = [sys.executable, "-m", "coset", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == (0 if arguments == ["--help"] else 2)
        assert "Usage: python -m coset" in ended.stdout + ended.stderr


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond this many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["m.sdf", "m.sdf.gz", "m.xyz"])
def test_a_full_disk_leaves_the_old_file(refused, tmp_path: Path, name: str):
    (tmp_path / name).write_text("precious")
    with room_for(2000):
        message = refused(*QUICK, "-o", tmp_path / name)
    assert re.search(rf"Cannot write .*{name}: file too large; nothing was half-written, free some space", message)
    assert tree(tmp_path) == {name: b"precious"}


def test_a_full_disk_leaves_no_report(refused, tmp_path: Path):
    write_xyz(tmp_path / "m.xyz", [Molecule(np.array([8, 1]), np.eye(3)[:2])])
    before = tree(tmp_path)
    with room_for(2000):
        message = refused("evaluate", tmp_path / "m.xyz", "--reference", "none", "--report", tmp_path / "r.html")
    assert "r.html" in message and tree(tmp_path) == before


def test_a_full_disk_is_told_from_a_full_disk_elsewhere(tmp_path: Path):
    sentence = r"Cannot write .*a: no space left on device; nothing was half-written"
    with pytest.raises(OSError, match=sentence) as error, atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="elsewhere"), atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elsewhere")
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/m.sdf", "the folder .*none does not exist; create it first"),
        ("folder.sdf", "it is a folder; give the name of a file"),
        ("device.sdf", "it is no regular file; give another name"),
        ("m.pdb", "expected a name that ends in .sdf, .sdf.gz, .xyz, .smi"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    refused, monkeypatch, tmp_path: Path, name: str, message: str
):
    (tmp_path / "folder.sdf").mkdir()
    (tmp_path / "device.sdf").symlink_to("/dev/null")
    monkeypatch.setattr("coset.model.load", lambda *_: pytest.fail("the model was loaded"))
    assert re.search(f"Cannot write .*{name}: {message}", refused(*QUICK, "-o", tmp_path / name))
    assert (tmp_path / "device.sdf").is_symlink() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("where", ["access", "mkstemp"])
def test_a_closed_folder_is_named(refused, monkeypatch, tmp_path: Path, where: str):
    """Root may write anywhere, so the system's answer is played."""

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "some.temporary.name")

    if where == "access":
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        monkeypatch.setattr(tempfile, "mkstemp", denied)
    message = refused(*QUICK, "-o", tmp_path / "m.sdf")
    assert "m.sdf: permission denied; nothing was half-written, choose another folder" in message
    assert not tree(tmp_path)


def test_a_link_is_written_through(tmp_path: Path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with atomic_write(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_a_size_never_seen_is_a_warning_and_a_result(monkeypatch, capsys, tmp_path: Path):
    from coset.cli import main

    monkeypatch.setattr(
        sys, "argv", ["coset", "sample", "-n", "1", "--steps", "1", "--atoms", "35", "-o", str(tmp_path / "m.xyz")]
    )
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    assert not end.value.code and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("warning: this model has seen molecules of 3 to 29 atoms, never one of 35")
    assert (tmp_path / "m.xyz").read_text().startswith("35\n")
